"""Results of an evaluation, as plain values that are saved to a folder and shown again without the run."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from ernest.config.media import USUAL
from ernest.storage import read_json, write_folder

FULL = "full"
"""The system that is the whole model; every other name but `BEFORE` is a sub-model."""
BEFORE = "before"
"""The system that is the model from which a run went on."""


@dataclass(frozen=True)
class Score:
    """One score, and what it is to be compared with: bar, chance, and the verifier's own ceilings.

    `bar` is what was promised, or None; `ceiling_true` and `ceiling_rebuilt` are what the verifier says of true records and of
    the tokenizers' reconstructions; `count` is the number of held-out records; `group` is the heading under which it is listed.
    """

    direction: str
    system: str
    value: float
    bar: float | None = None
    chance: str = "–"
    verifier: str = "–"
    ceiling_true: float | None = None
    ceiling_rebuilt: float | None = None
    count: int = 0
    lower_is_better: bool = False
    group: str = ""

    @property
    def ok(self) -> bool | None:
        """Whether the bar is reached, or None where there is none."""
        if self.bar is None:
            return None
        return self.value <= self.bar if self.lower_is_better else self.value >= self.bar


@dataclass(frozen=True)
class SubModelRow:
    """A sub-model, its parameters as shares of the whole model's, and its scores by direction."""

    name: str
    active_share: float
    total_share: float
    layers: int
    experts: int
    top_k: int
    scores: dict[str, float]


@dataclass(frozen=True)
class Sample:
    """One output as the report shows it: what was given, and the text, picture, sound or video that was made.

    `prompt` is what was asked in words, `text` what was answered in words. `pixels` is uint8 `[height, width, 3]` or
    `[frames, height, width, 3]`, `wave` float32 `[samples]` in [-1, 1] of `sample_rate`, `curve` float `[frames]` the energy of a
    physical video and `obeys_energy_law` whether it never rises. `correct` is whether the verifier passed it, None where none
    was asked.
    """

    kind: str
    prompt: str = ""
    text: str | None = None
    pixels: np.ndarray | None = None
    wave: np.ndarray | None = None
    curve: np.ndarray | None = None
    correct: bool | None = None
    obeys_energy_law: bool | None = None
    note: str = ""
    sample_rate: int = USUAL.sample_rate


@dataclass(frozen=True)
class EvalResult:
    """A score on `count` records, and some of the outputs that it was given for.

    `ceilings` are the scores that the verifier gives to true records, and to the tokenizers' reconstructions of them.
    """

    value: float
    count: int
    samples: tuple[Sample, ...] = ()
    ceilings: tuple[float | None, float | None] = (None, None)


@dataclass(frozen=True)
class StageTime:
    """Seconds that a stage took, by the clock and summed over processors; one `within` another is counted there already."""

    name: str
    wall: float
    cpu: float
    within: str = ""


@dataclass(frozen=True)
class Findings:
    """Everything that the report shows.

    `metrics` are the lines of the training log, oldest first; `usage` holds for every task the share of choices that went to
    each expert `[layers, experts]`; `load` counts the choices on batches of the training mixture `[batches, layers, experts]`;
    `facts` are words and figures of the run by name; `threads` is the number of processors that it used.
    """

    title: str
    scores: tuple[Score, ...] = ()
    samples: tuple[Sample, ...] = ()
    submodels: tuple[SubModelRow, ...] = ()
    metrics: tuple[Mapping[str, float], ...] = ()
    usage: Mapping[str, np.ndarray] = field(default_factory=dict)
    load: np.ndarray | None = None
    stages: tuple[StageTime, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    threads: int = 1


_ARRAYS = ("pixels", "wave", "curve")


def save(folder: Path, findings: Findings, beside: Mapping[str, Any] | None = None) -> None:
    """Writes findings as `findings.json` and `arrays.npz` in a folder that takes the place of an older one when it is whole;
    `beside` are values of further JSON files by name."""
    arrays: dict[str, np.ndarray] = {f"usage/{task}": share for task, share in findings.usage.items()}
    if findings.load is not None:
        arrays["load"] = findings.load
    samples = []
    for number, sample in enumerate(findings.samples):
        samples.append({name: value for name, value in vars(sample).items() if name not in _ARRAYS})
        arrays |= {f"samples/{number}/{name}": getattr(sample, name) for name in _ARRAYS if getattr(sample, name) is not None}
    tree = {f.name: getattr(findings, f.name) for f in fields(findings) if f.name not in ("samples", "usage", "load")}
    tree |= {name: [vars(entry) for entry in tree[name]] for name in ("scores", "submodels", "stages")}
    tree |= {"samples": samples, "usage": list(findings.usage)}

    with write_folder(folder) as aside:
        (aside / "findings.json").write_text(json.dumps(tree, indent=1, default=_plain))
        for name, value in (beside or {}).items():
            (aside / name).write_text(json.dumps(value, indent=1))
        with (aside / "arrays.npz").open("wb") as file:
            np.savez_compressed(file, **arrays)  # pyright: ignore[reportArgumentType]


def load(folder: Path) -> Findings:
    """The findings that `save` kept. Raises ValueError where `folder` holds none."""
    if not (folder / "findings.json").is_file():
        raise ValueError(f"{folder} holds no findings: findings.json is missing")
    tree: Any = read_json(folder / "findings.json")
    with np.load(folder / "arrays.npz", allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    samples = tuple(
        Sample(**(entry | {name: arrays.get(f"samples/{number}/{name}") for name in _ARRAYS}))
        for number, entry in enumerate(tree["samples"])
    )
    lists = {name: tuple(kind(**entry) for entry in tree[name]) for name, kind in _LISTS.items()}
    usage = {task: arrays[f"usage/{task}"] for task in tree["usage"]}
    rest = {"metrics": tuple(tree["metrics"]), "samples": samples, "usage": usage, "load": arrays.get("load")}
    return Findings(**(tree | lists | rest))


_LISTS: Mapping[str, type] = {"scores": Score, "submodels": SubModelRow, "stages": StageTime}


def _plain(value: Any) -> Any:
    """A numpy number, or a mapping that is no dict, as JSON knows it."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"findings hold a {type(value).__name__}, which JSON does not know: {value!r}")
