"""Looks at what a policy has come to: fresh draws of every task, sampled as users do, with all verdicts and their variety."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from ernest.generation.engine import Engine
from ernest.generation.request import Request
from ernest.generation.sampling import DEFAULTS
from ernest.rl.rollout import Response
from ernest.rl.tasks import Trained, outputs, verdicts
from ernest.sequence.record import Segment
from ernest.storage import load_tensors, save_tensors, write_text
from ernest.verifiers.verdict import Verdict, given_text
from ernest.world.split import HELD_OUT


@dataclass(frozen=True)
class Look:
    """One task at a step: the share of `count` fresh draws that pass `all` verifiers that reward, and each of the task's by
    itself. `failed` verdicts are those that none was given for, and pass nothing. Of pictures and films, `distance` is the mean
    difference between first frames of one prompt, in levels of 255, and `distinct` the share of different ones."""

    task: str
    step: int
    count: int
    passed: float
    verifiers: Mapping[str, float]
    distance: float | None = None
    distinct: float | None = None
    failed: int = 0


def look(engine: Engine, tasks: Sequence[Trained], seed: int, step: int, count: int) -> tuple[list[Look], dict]:
    """Every task on `count` held-out prompts; and samples as tensors, by name."""
    looks, samples = [], {}
    for task in tasks:
        prompts = [task.task.record(seed, HELD_OUT + number) for number in range(count)]
        asks = [task.ask(prompt, engine.tokenizers, DEFAULTS[task.task.kind]) for prompt in prompts]
        requests = [
            Request(ask.prompt, (ask.kind,), ask.sampling, (seed, HELD_OUT + n, step), frames=ask.frames)
            for n, ask in enumerate(asks)
        ]
        answers = [answer for (answer,) in engine.generate(requests)]
        made = outputs([Response(ask, (), a.segments, a.end) for ask, a in zip(asks, answers, strict=True)], engine)
        said = {
            name: verdicts([(verifier, prompt, output) for prompt, output in zip(prompts, made, strict=True)], task.at_once)
            for name, verifier in task.known.items()
        }
        passes = {name: [isinstance(one, Verdict) and one.passed for one in of_name] for name, of_name in said.items()}
        passed = [all(of_one) for of_one in zip(*(passes[name] for name in task.config.verifiers), strict=True)]
        by_name = {name: float(np.mean(of_name)) for name, of_name in passes.items()}
        failed = sum(isinstance(one, str) for of_name in said.values() for one in of_name)
        words = [given_text(prompt) for prompt in prompts]
        looks.append(Look(task.name, step, count, float(np.mean(passed)), by_name, *_variety(words, made), failed))
        shown = [output[0].data for output in made[:10] if output and output[0].kind in ("image", "video")]
        samples |= {f"{task.name}/{n}/{int(passed[n])}/{words[n]}": torch.from_numpy(data) for n, data in enumerate(shown)}
    return looks, samples


def _variety(words: Sequence[str], made: Sequence[Sequence[Segment]]) -> tuple[float | None, float | None]:
    firsts: dict[str, list[np.ndarray]] = {}
    for word, output in zip(words, made, strict=True):
        if output and output[0].kind in ("image", "video"):
            data = output[0].data
            firsts.setdefault(word, []).append((data[0] if output[0].kind == "video" else data).astype(np.float32))
    several = [np.stack(frames) for frames in firsts.values() if len(frames) > 1]
    if not several:
        return None, None
    distances = [
        np.abs(frames[i] - frames[j]).mean() for frames in several for i in range(len(frames)) for j in range(min(i, 20))
    ]
    distinct = sum(len(np.unique(frames.reshape(len(frames), -1), axis=0)) for frames in several)
    return float(np.mean(distances)), distinct / sum(map(len, several))


def write_looks(run: Path, looks: Sequence[Look], samples: Mapping[str, torch.Tensor]) -> None:
    """Writes `run/looks/STEP.json`, and the samples beside it."""
    folder = run / "looks"
    folder.mkdir(exist_ok=True)
    name = f"{looks[0].step:07d}"
    save_tensors(folder / f"{name}.safetensors", dict(samples))
    write_text(folder / f"{name}.json", json.dumps([asdict(one) for one in looks], indent=1, ensure_ascii=False))


def has_look(run: Path, step: int) -> bool:
    """Whether the look at a step has been written whole."""
    return (run / "looks" / f"{step:07d}.json").is_file()


def cut_looks(run: Path, step: int) -> None:
    """Removes looks at steps that a run is about to take again; of one that begins anew, all."""
    for path in (run / "looks").glob(f"{'[0-9]' * 7}.*"):
        if not step or int(path.stem) > step:
            path.unlink()


def read_looks(run: Path) -> list[tuple[list[Look], dict[str, np.ndarray]]]:
    """What was written, oldest first."""
    found = []
    for path in sorted((run / "looks").glob("*.json")):
        looks = [Look(**one) for one in json.loads(path.read_text())]
        found.append((looks, {name: value.numpy() for name, value in load_tensors(path.with_suffix(".safetensors")).items()}))
    return found
