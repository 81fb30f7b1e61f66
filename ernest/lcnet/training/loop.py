"""The training loop of classifiers, which resumes bit by bit: a batch is a function of seed, epoch and step alone."""

import hashlib
import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

import torch
from torch import Tensor, nn

from ernest.device import autocast
from ernest.lcnet.decision import Decision
from ernest.lcnet.native.norms import fused_norms
from ernest.lcnet.training.dataset import PictureDataset, batches, steps_per_epoch
from ernest.lcnet.training.losses import Objective, student
from ernest.lcnet.training.precision import choose_bf16
from ernest.lcnet.training.recipe import Recipe, dump, peak_rate, preprocessing_of
from ernest.lcnet.training.schedule import Descent, learning_rate, make_optimizer, set_rate, update_average
from ernest.lcnet.training.scores import Scores, evaluate
from ernest.lcnet.training.sets import SetScores, evaluate_sets
from ernest.lcnet.training.state import TrainerState, load_state, save_state
from ernest.lcnet.weights.native import save

SAVE_SECONDS = 120.0
"""Seconds between saves within a long epoch; every finished epoch is saved as well."""


@dataclass(frozen=True)
class Report:
    """Progress after a step or, with `scores`, after an epoch: the running means of the epoch, and `speed` in images a second."""

    epoch: int
    step: int
    steps: int
    loss: float
    accuracy: float
    speed: float
    scores: Scores | SetScores | None = None


ReportCallback = Callable[[Report], None]


def fit(
    network: nn.Module,
    objective: Objective,
    training_set: PictureDataset,
    validation_set: PictureDataset,
    recipe: Recipe,
    out: Path | None = None,
    on_report: ReportCallback | None = None,
    origin: str = "",
) -> TrainerState:
    """Trains `network` in place to the recipe's last epoch and scores it after each one; with `out`, saves and resumes there.

    `validation_set` has been through `evaluation_transform`. `origin` tells runs from different first weights or teachers
    apart. Files in `out`: `best.safetensors` and `last.safetensors` (`weights.native.save`), and `state.safetensors`, from
    which the same call resumes and makes bitwise what it would have made unbroken (on one thread); more epochs, or another
    patience, go on from there too, at the rate where the longer curve stands. Ctrl-C saves the state after the step under way,
    then raises KeyboardInterrupt. With `recipe.ema`, scores and files are those of the averaged weights, which `network` holds at
    the end.
    Raises ValueError if the loss is no longer a number, or if the state in `out` belongs to another run.
    """
    optimizer = make_optimizer(network, recipe)
    average = deepcopy(network).requires_grad_(False) if recipe.ema else None
    fingerprint, path = _fingerprint(recipe, training_set, validation_set, origin), out / "state.safetensors" if out else None
    state = load_state(path, network, optimizer, average, fingerprint) if path else None
    state = state or TrainerState(fingerprint, choose_bf16(network, objective, recipe))
    per_epoch = steps_per_epoch(training_set, recipe)
    peak = peak_rate(recipe, min(recipe.batch, len(training_set)))
    last_save = time.monotonic()
    # Dropout draws from torch's own generator, which every step seeds: a resumed run needs no state of it, the caller's stays.
    with torch.random.fork_rng(devices=[]), _interruptible() as stopped:
        while state.epoch < recipe.epochs and not _is_stuck(state, recipe.patience):
            network.train()
            started = time.perf_counter()
            for images, targets in batches(training_set, recipe, state.epoch, state.step):
                done = state.epoch * per_epoch + state.step
                torch.manual_seed((recipe.seed * 1_000_003 + done) % 2**63)
                set_rate(optimizer, learning_rate(done, recipe.epochs * per_epoch, per_epoch, peak, recipe.warmup))
                counts = update(network, objective, optimizer, images, targets, state.bf16, recipe.at_once)
                if average is not None:
                    update_average(average, network, recipe.ema, done)
                state = state.after_step(*counts)
                if on_report:
                    on_report(_report(state, per_epoch, len(images) / (time.perf_counter() - started)))
                started = time.perf_counter()
                if path and (stopped.is_set() or time.monotonic() - last_save > SAVE_SECONDS):
                    save_state(path, network, optimizer, average, state)
                    last_save = time.monotonic()
                if stopped.is_set():
                    raise KeyboardInterrupt
            scores = score(student(average or network), validation_set, recipe)
            if on_report:
                on_report(_report(state, per_epoch, 0.0, scores))
            state = state.after_epoch(scores.line)
            if out and path:
                _save_networks(out, student(average or network), training_set.labels, recipe, state, scores.decision)
                save_state(path, network, optimizer, average, state)
                last_save = time.monotonic()
    if average is not None:
        network.load_state_dict(average.state_dict())
    network.eval()
    return state


def update(
    network: nn.Module,
    objective: Objective,
    optimizer: Descent | torch.optim.Optimizer,
    images: Tensor,
    targets: Tensor,
    bf16: bool,
    at_once: int | None = None,
) -> tuple[float, int, int, int]:
    """One optimizer step; returns the loss and the numbers of pictures classified correctly, with a label, and in the batch.

    With `at_once` the gradients of so many pictures at a time are summed, or of one less where the batch does not divide evenly;
    normalisation then sees no more than these.
    """
    optimizer.zero_grad()
    value, correct, count = 0.0, 0, len(targets)
    parts = -(-count // (at_once or count))
    for some, wanted in zip(images.tensor_split(parts), targets.tensor_split(parts), strict=True):
        with autocast(enabled=bf16), fused_norms():
            loss, logits = objective(network, some, wanted)
        share = len(wanted) / count
        value += share * float(loss.detach())
        if not math.isfinite(value):
            raise ValueError(f"rate: the loss is {value}; a lower learning rate may help")
        (loss if share == 1 else share * loss).backward()
        correct += count_right(logits.detach(), wanted)
    optimizer.step()
    return value, correct, count if targets.ndim == 2 else int((targets >= 0).sum()), count


def count_right(logits: Tensor, targets: Tensor) -> int:
    """Pictures whose class is the likeliest, or, for targets `[N, classes]`, whose labels are just those above one half."""
    if targets.ndim == 2:
        return int(((logits > 0) == (targets > 0)).all(1).sum())
    return int((logits.argmax(1) == targets).sum())


def score(network: nn.Module, pictures: PictureDataset, recipe: Recipe) -> Scores | SetScores:
    """Of pictures as `evaluation_transform` leaves them: by their class, or by the sets of their labels."""
    if pictures.targets.ndim == 2:
        return evaluate_sets(network, pictures, preprocessing_of(recipe))
    return replace(evaluate(network, pictures, preprocessing_of(recipe)), by_class=recipe.balance > 0)


def best_epoch(state: TrainerState) -> int:
    """The index in the history of the epoch with the highest score; of several, the one with the lowest loss on what is held out.

    Few pictures are often all right after a few epochs already, while the network still grows surer of them.
    """
    keys = [(line["score"], -line["held_out_loss"]) for line in state.history]
    return keys.index(max(keys))


def _is_stuck(state: TrainerState, patience: int) -> bool:
    """Whether the last `patience` epochs brought no better network."""
    return patience > 0 and len(state.history) > 0 and len(state.history) - 1 - best_epoch(state) >= patience


def _save_networks(
    out: Path, network: nn.Module, labels: tuple[str, ...], recipe: Recipe, state: TrainerState, decision: Decision
) -> None:
    about = {"recipe": dump(recipe), **state.history[-1]}
    preprocessing, plain = preprocessing_of(recipe), student(network)
    save(out / "last.safetensors", plain, labels, preprocessing, about, decision=decision)
    if best_epoch(state) == len(state.history) - 1:
        save(out / "best.safetensors", plain, labels, preprocessing, about, decision=decision)


def _report(state: TrainerState, steps: int, speed: float, scores: Scores | SetScores | None = None) -> Report:
    loss, accuracy = state.means()
    return Report(state.epoch, state.step, steps, loss, accuracy, speed, scores)


def _fingerprint(recipe: Recipe, training_set: PictureDataset, validation_set: PictureDataset, origin: str) -> str:
    # How long it lasts is no part of it: a run that is over goes on with more epochs.
    fields = {name: value for name, value in dump(recipe).items() if name not in ("epochs", "patience")}
    parts = [json.dumps(fields, sort_keys=True), training_set.fingerprint, validation_set.fingerprint, origin]
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
