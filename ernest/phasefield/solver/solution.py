"""The result of a run: its fields at any time, its events, and the table of its steps."""

import math
import shutil
import tempfile
import weakref
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ernest.device import HOST
from ernest.phasefield.compiled.tables import LRUCache
from ernest.phasefield.element import Element
from ernest.phasefield.flows import Flow
from ernest.phasefield.grid import Space
from ernest.phasefield.numeric import number, whole
from ernest.phasefield.schemes.refinement import refine
from ernest.phasefield.schemes.splitting import Splitting
from ernest.phasefield.solver.diagnostics import StepRecord
from ernest.phasefield.solver.events import EventOccurrence
from ernest.phasefield.solver.units import Units
from ernest.phasefield.stepping import Scheme


class DenseOutput:
    """The elements of a run in the order of time. Beyond `memory` bytes, the oldest elements are kept in temporary files."""

    def __init__(self, splitting: Splitting, memory: float) -> None:
        self._splitting, self._grid, self._memory, self._held = splitting, splitting.grid, number("memory", memory), 0
        if not self._memory >= 0:
            raise ValueError(f"memory: expected bytes, 0 or more, got {memory}")
        self._refined: LRUCache[int, Element] = LRUCache(2)
        self._spans: list[tuple[float, float]] = []
        self._tensors: list[Tensor | Path] = []
        self.moved = 0  # how many elements lie in files
        self._folder: Path | None = None

    def __len__(self) -> int:
        return len(self._spans)

    @property
    def span(self) -> tuple[float, float]:
        """The first and the last time covered, for one element or more."""
        return self._spans[0][0], sum(self._spans[-1])

    def append(self, element: Element) -> None:
        """Adds the element, as a copy of its modes."""
        axis = -1 - self._grid.dimensions
        tensor = torch.cat([element.start_modes.unsqueeze(axis), element.coefficients], axis).detach()
        self._spans.append((float(element.time), float(element.tau)))
        self._tensors.append(tensor)
        self._held += tensor.nbytes
        while self._held > self._memory and self.moved < len(self._tensors) - 1:
            self._move_oldest()

    def forget_after(self, time: float) -> None:
        """Drops the elements that begin at `time` or later."""
        while self._spans and self._spans[-1][0] >= time:
            self._spans.pop()
            tensor = self._tensors.pop()
            if isinstance(tensor, Tensor):
                self._held -= tensor.nbytes
        self.moved, self._refined = min(self.moved, len(self)), LRUCache(2)

    def __getstate__(self) -> dict[str, Any]:
        """What a copy in another process needs: all elements, since files that this one removes are no use to it."""
        tensors = [self._tensor(index) for index in range(len(self))]
        held = sum(tensor.nbytes for tensor in tensors)
        return self.__dict__ | {"_tensors": tensors, "_held": held, "moved": 0, "_folder": None, "_refined": LRUCache(2)}

    def covering(self, time: float) -> Element:
        """The element that `time` lies in, of the order at its ends all through. Raises ValueError outside of the run."""
        index = self._index(time)
        return self._refined.get(index, lambda: refine(self._element(index), self._splitting))

    def _index(self, time: float) -> int:
        first, last = self.span
        slack = 1e-9 * (last - first)
        if not first - slack <= time <= last + slack:
            raise ValueError(f"time: the solution covers {first} to {last}, got {time}")
        return min(bisect_left([start + tau for start, tau in self._spans], time), len(self) - 1)

    def _element(self, index: int) -> Element:
        axis, (time, tau) = -1 - self._grid.dimensions, self._spans[index]
        kept = self._tensor(index)
        start, coefficients = kept.select(axis, 0), kept.narrow(axis, 1, kept.shape[axis] - 1)
        return Element(time, tau, start, start + 2 * coefficients.select(axis, 0), self._grid, lambda: coefficients)

    def _tensor(self, index: int) -> Tensor:
        from safetensors.torch import load_file

        kept = self._tensors[index]
        if isinstance(kept, Tensor):
            return kept
        real = load_file(kept)["modes"]
        return torch.view_as_complex(real) if "periodic" in self._grid.boundaries else real

    def _move_oldest(self) -> None:
        from safetensors.torch import save_file

        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="phasefield-"))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        tensor = self._tensors[self.moved]
        assert isinstance(tensor, Tensor)
        path = self._folder / f"{self.moved}.safetensors"
        save_file({"modes": torch.view_as_real(tensor).contiguous() if tensor.is_complex() else tensor}, path)
        self._tensors[self.moved], self._held, self.moved = path, self._held - tensor.nbytes, self.moved + 1


@dataclass(frozen=True)
class Solution:
    """The fields of a run at any time, and the measurements of every step.

    Call it with a time to get the fields there. `start` and `end` are the fields `[..., *points]` at both ends of the run,
    `records` the table of its steps and `occurrences` its events, both in the order of time. With `dense=False` only the
    fields at both ends are kept. `units` are those of the tolerance. `steady_at` is the time at which the run ended because
    nothing moved any more, as asked for.
    """

    flow: Flow
    grid: Space
    scheme: Scheme
    start: Tensor
    end: Tensor
    records: tuple[StepRecord, ...]
    occurrences: tuple[EventOccurrence, ...] = ()
    dense_output: DenseOutput | None = field(default=None, repr=False)
    units: Units = field(default_factory=Units)
    steady_at: float | None = None

    def __call__(self, time: float | Sequence[float] | np.ndarray | Tensor) -> Tensor:
        """The fields at a time, `[..., *points]`, or at times, `[times, ..., *points]`, as exact as at the ends of the steps.

        The first time in a step costs about as much as two or three steps, others in the same step next to nothing.
        Raises ValueError for times that the run does not cover, and where the run has kept no elements.
        """
        try:
            times = torch.as_tensor(time, dtype=torch.float64, device=HOST)
        except (TypeError, ValueError, RuntimeError, OverflowError):
            raise ValueError(f"time: expected a number, or several, got {time!r}") from None
        if times.ndim:
            fields = [self(float(t)) for t in times.flatten()]
            return torch.stack(fields or [self.end]).narrow(0, 0, len(fields)).reshape(*times.shape, *self.end.shape)
        if self.dense_output is None:
            raise ValueError("solution: this run kept its ends only; solve with dense=True for the times between them")
        if not self.dense_output:  # a run resumed from a checkpoint at its end
            end = self.records[-1].time
            if abs(float(times) - end) > 1e-9 * abs(end):
                raise ValueError(f"time: the solution covers {end} to {end}, got {float(times)}")
            return self.end.clone()
        return self.dense_output.covering(float(times)).at_time(float(times))

    @property
    def times(self) -> np.ndarray:
        """Start time of the run and end times of its steps, `[steps + 1]`."""
        return np.array([record.time for record in self.records])

    @property
    def steps(self) -> np.ndarray:
        """Lengths of the steps, `[steps]`."""
        return np.array([record.tau for record in self.records[1:]])

    @property
    def energy(self) -> np.ndarray:
        """Energy at `times`, `[steps + 1]` or `[steps + 1, batch]`."""
        return np.array([record.energy for record in self.records])

    @property
    def mass(self) -> np.ndarray:
        """Integral of u at `times`, `[steps + 1]` or `[steps + 1, batch]`."""
        return np.array([record.mass for record in self.records])

    @property
    def iterations(self) -> np.ndarray:
        """Sweeps of each step, `[steps]`."""
        return np.array([record.iterations for record in self.records[1:]])

    @property
    def rejected(self) -> int:
        """How many steps were rejected."""
        return sum(record.rejected for record in self.records)

    def events(self, name: str, member: int = 0) -> list[float]:
        """Times at which the event of this name happened."""
        return [event.time for event in self.occurrences if event.name == name and event.member == member]

    def table(self, lines: int | None = 20) -> str:
        """The records as text, one line for each step; at most `lines` of them, evenly chosen (None: all)."""
        count, lines = len(self.records), None if lines is None else whole("lines", lines)
        if lines is not None and lines < 0:
            raise ValueError(f"lines: expected how many lines of the table at most, or None for all, got {lines}")
        chosen = range(count) if lines is None or count <= lines else np.linspace(0, count - 1, lines).round().astype(int)
        head = " ".join(f"{name:>{width}}" for name, width, _ in _COLUMNS)
        return "\n".join([head, *(_line(int(index), self.records[index]) for index in chosen)])


_COLUMNS = (
    ("step", 6, "d"),
    ("time", 12, ".6g"),
    ("tau", 10, ".3e"),
    ("energy", 14, ".8g"),
    ("mass", 14, ".8g"),
    ("max|u|", 9, ".6f"),
    ("defect", 9, ".1e"),
    ("sweeps", 6, "d"),
    ("rho", 8, ".1e"),
    ("rejected", 8, "d"),
)
"""Name, width and form of the columns of the table."""


def _line(index: int, record: StepRecord) -> str:
    """One line; of an ensemble it shows the first member."""
    measured = (record.energy, record.mass, record.largest, record.defect)
    energy, mass, largest, defect = (np.ravel(value)[0] if isinstance(value, list) else value for value in measured)
    values = (index, record.time, record.tau, energy, mass, largest, defect)
    values += (record.iterations, record.contraction, record.rejected)
    cells = zip(values, _COLUMNS, strict=True)
    return " ".join(f"{math.nan if value is None else value:{width}{form}}" for value, (_, width, form) in cells)
