"""Samples a run at chosen times, with the histories of its steps and how it was made, for data files and pictures."""

import json
import math
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ernest.phasefield.grid import Grid
from ernest.phasefield.numeric import whole
from ernest.phasefield.solver.solution import Solution

MOMENT, INTERVAL = "moment", "interval"
"""Names in files: of the history `time`, where `time` are the times of the snapshots, and of the dimension of steps."""

_FIELDS, _HISTORIES = ("float64", "float32"), ("float64", "float32", "int64", "int32")
"""The types of numbers that every format holds."""


@dataclass(frozen=True)
class Snapshots:
    """Fields `[n, *points]` at n rising `times`, on `grid`.

    `histories` are arrays `[steps]` or `[steps + 1]` by name, such as the energy after every step; `facts` say how the run was
    made, in numbers, words, arrays, paths, and lists and dictionaries of them. Raises ValueError where shapes do not match, and
    for types of numbers and names that not every format can hold.
    """

    times: np.ndarray
    fields: np.ndarray
    grid: Grid
    histories: Mapping[str, np.ndarray] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        wanted = (len(self.times), *self.grid.points)
        if self.fields.shape != wanted:
            raise ValueError(f"snapshots: expected fields {wanted} for {len(self.times)} times, got {self.fields.shape}")
        if len(self.times) == 0 or not (np.diff(self.times) > 0).all():
            raise ValueError(f"snapshots: expected one time or more, and rising ones, got {self.times}")
        if self.fields.dtype not in _FIELDS:
            raise ValueError(f"snapshots: expected fields of type {' or '.join(_FIELDS)}, got {self.fields.dtype}")
        for name, values in self.histories.items():
            if not re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII) or name in (MOMENT, INTERVAL):
                raise ValueError(
                    f"histories: expected a name of letters, digits and _, other than {MOMENT} and {INTERVAL}, got {name!r}"
                )
            if values.ndim != 1 or values.dtype not in _HISTORIES:
                wanted = f"an array [steps] of type {', '.join(_HISTORIES)}"
                raise ValueError(f"histories: {name}: expected {wanted}, got {list(values.shape)} of {values.dtype}")

    def header(self) -> str:
        """Grid, facts and the names of the histories as JSON, which every data file carries."""
        known = {"grid": asdict(self.grid), "facts": as_json(self.facts), "histories": list(self.histories)}
        return json.dumps(known, ensure_ascii=True)


def take_snapshots(
    solution: Solution, times: Sequence[float] | np.ndarray | None = None, member: int = 0, **facts: Any
) -> Snapshots:
    """Samples a run at `times`, by default six of `representative_times`, with its histories, flow, scheme and package versions.

    Of a batch one `member` is taken. Further `facts`, such as tolerance=1e-6, are kept with the others. The histories of a run
    resumed from a checkpoint reach back to its beginning, its fields to the checkpoint. Raises ValueError for times that
    the solution does not cover, and for a run that is not on a `Grid`.
    """
    grid = even_grid(solution, "snapshots")
    member = whole("snapshots: member", member)
    members = solution.start.ndim - grid.dimensions and math.prod(solution.start.shape[: -grid.dimensions])
    if not 0 <= member < max(members, 1):
        raise ValueError(f"snapshots: expected member 0 to {max(members, 1) - 1}, got {member}")
    # The fields of a coupled flow have their energy in common.
    rows = (history.reshape(len(solution.times), -1) for history in (solution.energy, solution.mass))
    energy, mass = (history[:, member * history.shape[1] // max(members, 1)] for history in rows)
    first = solution.dense_output.span[0] if solution.dense_output else solution.times[-1]
    covered = solution.times >= first * (1 - 1e-12)
    chosen = representative_times(solution.times[covered], energy[covered]) if times is None else times
    try:
        chosen = np.atleast_1d(np.asarray(chosen, dtype=float))
    except (TypeError, ValueError):
        chosen = np.empty(0)
    if not chosen.size or chosen.ndim > 1:
        raise ValueError(f"snapshots: expected one time or more, in a row, got {times!r}")
    shown = [solution(float(time)).reshape(-1, *grid.points)[member].detach().cpu().numpy() for time in chosen]
    histories = {
        "time": solution.times,
        "energy": energy,
        "mass": mass,
        "step": solution.steps,
        "iterations": solution.iterations,
    }
    known = {"flow": as_json(solution.flow), "scheme": as_json(solution.scheme), "versions": versions()}
    return Snapshots(chosen, np.stack(shown), grid, histories, known | facts)


def even_grid(solution: Solution, what: str) -> Grid:
    """The grid of a run. Raises ValueError for one on points that are not evenly spaced, which files and pictures do not know."""
    if not isinstance(solution.grid, Grid):
        raise ValueError(f"{what}: expected a run on the even spacing of a Grid, got {type(solution.grid).__name__}")
    return solution.grid


def representative_times(time: np.ndarray, energy: np.ndarray, count: int = 6) -> np.ndarray:
    """`count` times `[count]` from the first to the last, evenly spaced in the mean of elapsed time and energy lost.

    Both are shares of their whole. Energy lost in the first hundredth of the time does not count: that is noise on the grid.
    """
    if len(time) < 2:
        return time
    begun = np.interp(time[0] + (time[-1] - time[0]) / 100, time, energy)
    lost = np.maximum.accumulate(np.clip(begun - energy, 0, None))
    share = (time - time[0]) / (time[-1] - time[0]) + lost / max(lost[-1], np.finfo(float).tiny)
    times = np.interp(np.linspace(0, share[-1], count), share, time)
    times[[0, -1]] = time[[0, -1]]
    return times


def read_header(header: str) -> tuple[Grid, dict[str, Any], list[str]]:
    """Grid, facts and names of histories from the JSON of `Snapshots.header`."""
    known = json.loads(header)
    shape = {name: tuple(value) if isinstance(value, list) else value for name, value in known["grid"].items()}
    return Grid(**shape), known["facts"], known["histories"]


def as_json(value: Any) -> Any:
    """A value in types that JSON can hold: a dataclass as its name and fields, an object of another class as its repr."""
    if is_dataclass(value) and not isinstance(value, type):
        return {"name": type(value).__name__} | {part.name: as_json(getattr(value, part.name)) for part in fields(value)}
    if isinstance(value, np.floating):
        return float(value)  # of a long one, `tolist` would be itself again
    if isinstance(value, np.complexfloating):
        return repr(complex(value))
    if isinstance(value, Tensor | np.ndarray | np.generic):
        return as_json(value.tolist())
    if isinstance(value, tuple | list):
        return [as_json(part) for part in value]
    if isinstance(value, Mapping):
        return {str(name): as_json(part) for name, part in value.items()}
    if isinstance(value, Path):
        return str(value)
    return value if value is None or isinstance(value, bool | int | float | str) else repr(value)


def versions() -> dict[str, str]:
    """Versions of Ernest, Python and the numerical packages, and the git commit if Ernest runs from its own working tree."""
    known = {"python": platform.python_version()}
    for package in ("ernest-ai", "torch", "numpy", "numba", "pyfftw"):
        try:
            known[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    commit = _commit()
    return known | ({"git": commit} if commit else {})


def _commit() -> str | None:
    """The commit that is checked out, "+" after it where files differ, or None outside of Ernest's own repository."""
    root = Path(__file__).parents[3]
    if not (root / ".git").exists():  # an installed package may lie inside another repository
        return None
    said = []
    for words in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no")):
        try:
            done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=True, timeout=10)
        except (OSError, subprocess.SubprocessError):
            return None
        said.append(done.stdout.strip())
    return said[0] + ("+" if said[1] else "")
