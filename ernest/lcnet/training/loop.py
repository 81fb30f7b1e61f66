"""The training loop: every batch a function of seed, epoch and step, every step a function of the state before it."""

import hashlib
import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import torch
from torch import Tensor, nn

from ernest.lcnet.training.losses import Objective, kept
from ernest.lcnet.training.pictures import Pictures, batches, steps_per_epoch
from ernest.lcnet.training.precision import choose_bf16
from ernest.lcnet.training.recipe import Recipe, dump, peak_rate, preprocessing
from ernest.lcnet.training.schedule import follow, learning_rate, make_optimizer, set_rate
from ernest.lcnet.training.scores import Scores, evaluate
from ernest.lcnet.training.state import Progress, load_state, save_state
from ernest.lcnet.weights.native import save

SAVE_SECONDS = 120.0
"""A long epoch is saved this often, besides every finished one."""


@dataclass(frozen=True)
class Report:
    """What is told after every step and, with `scores`, after every epoch; `speed` is in images a second."""

    epoch: int
    step: int
    steps: int
    loss: float
    accuracy: float
    speed: float
    scores: Scores | None = None


Show = Callable[[Report], None]


def fit(
    network: nn.Module,
    objective: Objective,
    learn: Pictures,
    score: Pictures,
    recipe: Recipe,
    out: Path | None = None,
    show: Show | None = None,
    start: str = "",
) -> Progress:
    """Trains `network` in place to the recipe's last epoch and scores it after each; with `out`, saves and goes on from there.

    `score` holds pictures in the form `as_seen`. `start` tells runs from different first weights or teachers apart. In `out`:
    `best.safetensors` and `last.safetensors` (`files.save`), and `state.safetensors`, from which the same call goes on and
    makes bitwise what it would have made unbroken (on one thread). Ctrl-C saves the state after the step under way, then raises
    KeyboardInterrupt. With `recipe.ema`, scores and files are those of the averaged weights, which `network` holds at the end.
    Raises ValueError if the loss is no longer a number, or if the state in `out` belongs to another run.
    """
    optimizer = make_optimizer(network, recipe)
    average = deepcopy(network).requires_grad_(False) if recipe.ema else None
    mark, path = _fingerprint(recipe, learn, score, start), out / "state.safetensors" if out else None
    progress = load_state(path, network, optimizer, average, mark) if path else None
    progress = progress or Progress(mark, choose_bf16(network, objective, recipe))
    per_epoch = steps_per_epoch(learn, recipe)
    peak = peak_rate(recipe, min(recipe.batch, len(learn)))
    saved = time.monotonic()
    # Dropout draws from torch's own generator, which every step seeds: a resumed run needs no state of it, the caller's stays.
    with torch.random.fork_rng(devices=[]), _interruptible() as stopped:
        while progress.epoch < recipe.epochs:
            network.train()
            begun = time.perf_counter()
            for images, targets in batches(learn, recipe, progress.epoch, progress.step):
                done = progress.epoch * per_epoch + progress.step
                torch.manual_seed(recipe.seed * 1_000_003 + done)
                set_rate(optimizer, learning_rate(done, recipe.epochs * per_epoch, per_epoch, peak, recipe.warmup))
                counts = update(network, objective, optimizer, images, targets, progress.bf16)
                if average is not None:
                    follow(average, network, recipe.ema, done)
                progress = progress.after_step(*counts)
                if show:
                    show(_report(progress, per_epoch, len(images) / (time.perf_counter() - begun)))
                begun = time.perf_counter()
                if path and (stopped.is_set() or time.monotonic() - saved > SAVE_SECONDS):
                    save_state(path, network, optimizer, average, progress)
                    saved = time.monotonic()
                if stopped.is_set():
                    raise KeyboardInterrupt
            scores = evaluate(kept(average or network), score, preprocessing(recipe))
            if show:
                show(_report(progress, per_epoch, 0.0, scores))
            progress = progress.after_epoch({"top1": scores.top1, "top5": scores.top5})
            if out and path:
                _save_networks(out, kept(average or network), learn.labels, recipe, progress)
                save_state(path, network, optimizer, average, progress)
                saved = time.monotonic()
    if average is not None:
        network.load_state_dict(average.state_dict())
    network.eval()
    return progress


def update(
    network: nn.Module, objective: Objective, optimizer: torch.optim.Optimizer, images: Tensor, targets: Tensor, bf16: bool
) -> tuple[float, int, int, int]:
    """One step; returns the loss and how many pictures were right, had a label, and were there."""
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        loss, logits = objective(network, images, targets)
    value = float(loss.detach())
    if not math.isfinite(value):
        raise ValueError(f"rate: the loss is {value}; a lower learning rate may help")
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    right, labelled = int((logits.detach().argmax(1) == targets).sum()), int((targets >= 0).sum())
    return value, right, labelled, len(targets)


def best_epoch(progress: Progress) -> int:
    """The place in the history of the first epoch with the highest top-1."""
    top = [line["top1"] for line in progress.history]
    return top.index(max(top))


def _save_networks(out: Path, network: nn.Module, labels: tuple[str, ...], recipe: Recipe, progress: Progress) -> None:
    about = {"recipe": dump(recipe), **progress.history[-1]}
    rule, plain = preprocessing(recipe), kept(network)
    save(out / "last.safetensors", plain, labels, rule, about)
    if best_epoch(progress) == len(progress.history) - 1:
        save(out / "best.safetensors", plain, labels, rule, about)


def _report(progress: Progress, steps: int, speed: float, scores: Scores | None = None) -> Report:
    loss, accuracy = progress.means()
    return Report(progress.epoch, progress.step, steps, loss, accuracy, speed, scores)


def _fingerprint(recipe: Recipe, learn: Pictures, score: Pictures, start: str) -> str:
    parts = [json.dumps(dump(recipe), sort_keys=True), learn.fingerprint, score.fingerprint, start]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """The first Ctrl-C sets the event, so that a step can end; the second interrupts at once. Only the main thread hears them."""
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return
    before = signal.getsignal(signal.SIGINT)

    def stop(number: int, frame: FrameType | None) -> None:
        stopped.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, stop)
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGINT, before)
