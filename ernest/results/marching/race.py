"""Races the two schemes of the time-marching paper against IMEX-BDF4 and ETDRK4, to three errors on six problems.

All are torch's operations on one thread, with the same transforms, the same splitting and the same loop, so that what is compared
is the schemes. Whole runs are timed by the processor's clock, their first elements charged; coefficients that depend on the step
alone are made before. The start of IMEX-BDF4 is a method of ours and is not charged. Transforms are counted beside, since
they do not depend on whose kernels run.
"""

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from ernest.phasefield.flows import AllenCahn, ConservativeAllenCahn, Flow
from ernest.phasefield.grid import Grid
from ernest.phasefield.schemes.exponential import ETDRK4, IMEXBDF4
from ernest.phasefield.schemes.gaussseidel import GaussSeidel
from ernest.phasefield.schemes.implicit import Implicit
from ernest.phasefield.schemes.semiimplicit import SemiImplicit
from ernest.phasefield.stepping import Scheme, march
from ernest.results.marching.extrapolation import ExtrapolatedTerm
from ernest.results.marching.forms import FIELD, IMPLICIT, TERM, rms

POINTS, END, TURNS = 128, 4.0, 2
FLOWS: dict[str, type[AllenCahn] | type[ConservativeAllenCahn]] = {
    "Allen–Cahn": AllenCahn,
    "conservative Allen–Cahn": ConservativeAllenCahn,
}
WIDTHS = (0.2, 0.1, 0.05)
"""ε, with kappa = ε² beside a double well of depth 1/4."""
LEVELS = (1e-4, 1e-6, 1e-8)
"""Errors that are raced to: root mean squares over the points at the end."""
FEW, MANY = (2, 4, 8, 16, 32), (4, 8, 16, 32, 64, 128, 256, 512)
FAR = 0.2
"""Errors above are those of runs that are not on their way."""
PEERS = ("ETDRK4", "IMEX-BDF4")


@dataclass(frozen=True)
class Entrant:
    """A scheme of a family (a reading of the paper, or a peer), and the numbers of steps that it runs in, few to many."""

    name: str
    family: str
    scheme: Scheme
    counts: tuple[int, ...] = MANY


ENTRANTS = (
    *(Entrant(f"implicit, solved to {tol:.0e}", IMPLICIT, Implicit(3, iteration="picard", tolerance=tol), FEW)
      for tol in (1e-6, 1e-8, 1e-10)),
    *(Entrant(f"{FIELD}, {K} sweeps", FIELD, SemiImplicit(3, K)) for K in range(4)),
    *(Entrant(f"{TERM}, {K} sweeps", TERM, ExtrapolatedTerm(3, K)) for K in range(4)),
    Entrant("ETDRK4", "ETDRK4", ETDRK4()),
    Entrant("IMEX-BDF4", "IMEX-BDF4", IMEXBDF4()),
)  # fmt: skip
"""Degree 3 throughout. Each scheme has its own usual stabilisation: half of s, and none for ETDRK4."""


@dataclass(frozen=True)
class Run:
    """A whole run: `seconds` of the processor, and real transforms of the grid."""

    name: str
    steps: int
    error: float
    seconds: float
    transforms: int


def settings() -> dict[str, object]:
    """What a race depends on, for results that are kept."""
    return {
        "points": POINTS, "end": END, "turns": TURNS, "levels": LEVELS, "entrants": [repr(entrant) for entrant in ENTRANTS],
        "torch": torch.__version__,
    }  # fmt: skip


def waves(grid: Grid) -> Tensor:
    """Long and short waves of small amplitude about .1, from which phases form before the end."""
    x, y = grid.coordinates()
    long = 0.05 * torch.sin(x) * torch.sin(y) + 0.02 * torch.cos(2 * x + y)
    return 0.1 + long + 0.1 * torch.cos(5 * x - 3 * y) + 0.1 * torch.sin(7 * y + 2 * x)


def race(flow: Flow, entrants: Sequence[Entrant] = ENTRANTS, points: int = POINTS, turns: int = TURNS) -> dict[str, object]:
    """Every run of every entrant, and in `doubt` how far two references in steps of different lengths lie apart.

    An entrant stops at the first number of steps that beats the least of `LEVELS`. Runs on their way are timed in turns.
    """
    grid = Grid.cube(points, 2 * math.pi)
    start = waves(grid)
    reference, other = (_end(flow, grid, start, steps, GaussSeidel(6, 6, 4)) for steps in (64, 48))
    runs: list[Run] = []
    for entrant in entrants:
        for steps in entrant.counts:
            end, seconds, transforms = timed(entrant, flow, grid, start, steps)
            error = rms(end - reference)
            runs.append(Run(entrant.name, steps, error if math.isfinite(error) else math.inf, seconds, transforms))
            if error < LEVELS[-1]:
                break
    by_name = {entrant.name: entrant for entrant in entrants}
    for _ in range(turns - 1):
        runs = [
            run if run.error > FAR else _quicker(run, timed(by_name[run.name], flow, grid, start, run.steps)[1]) for run in runs
        ]
    return {"doubt": rms(reference - other), "runs": [vars(run) | {"error": repr(run.error)} for run in runs]}


def read_runs(kept: Iterable[dict[str, Any]]) -> list[Run]:
    """The runs of a race from what was kept of them."""
    return [replace(Run(**one), error=float(one["error"])) for one in kept]


def timed(entrant: Entrant, flow: Flow, grid: Grid, start: Tensor, steps: int) -> tuple[Tensor, float, int]:
    """The field at the end of a whole run, its seconds of the processor and its transforms."""
    tau, stepper = END / steps, entrant.scheme.stepper(flow, grid, start)
    first, _, _ = stepper.step(stepper.init(start), tau)
    if first.history is not None:
        stepper.step(first, tau)  # its windows and factors are made as well
    uncharged = 3 if isinstance(entrant.scheme, IMEXBDF4) else 0
    state, transforms, begun = stepper.init(start), 1, time.process_time()
    for number in range(steps):
        if number == uncharged:
            begun = time.process_time()
        has_past = state.has_history
        state, _, stats = stepper.step(state, tau)
        transforms += step_transforms(entrant.scheme, stats.iterations, has_past)
        if not math.isfinite(float(state.modes.abs().max())):
            return grid.field(state.modes), math.inf, transforms
    end = grid.field(state.modes)
    seconds = time.process_time() - begun
    return end, seconds * steps / (steps - uncharged), transforms + 1


def step_transforms(scheme: Scheme, iterations: int, has_past: bool) -> int:
    """Real transforms of the grid in a step: two for each evaluation of N at a point in time."""
    match scheme:
        case ETDRK4():
            return 8
        case IMEXBDF4():
            return 2
        case Implicit():  # the first guess at p times and the start become fields as well
            return 2 * scheme.degree * iterations + 1 + (scheme.degree if has_past else 0)
        case SemiImplicit() | ExtrapolatedTerm():
            return 2 * scheme.degree * iterations
    raise ValueError(f"{scheme}: its transforms are not known")


def cost_at(level: float, runs: Sequence[Run], cost: str) -> float:
    """The `cost` ("seconds" or "transforms") at which an entrant's runs, few steps to many, pass an error.

    Straight between runs on logarithmic axes; infinite where they never do. Nothing is read between a run that is far off and
    the next.
    """
    if runs[0].error <= level:
        return getattr(runs[0], cost)
    for before, after in pairwise(runs):
        if before.error > level >= after.error:
            low, high = getattr(before, cost), getattr(after, cost)
            if before.error > FAR or after.error == 0 or not math.isfinite(low):
                return high
            return low * (high / low) ** (math.log(before.error / level) / math.log(before.error / after.error))
    return math.inf


def _quicker(run: Run, seconds: float) -> Run:
    return replace(run, seconds=min(run.seconds, seconds))


def _end(flow: Flow, grid: Grid, start: Tensor, steps: int, scheme: Scheme) -> Tensor:
    *_, last = march(flow, grid, start, [END / steps] * steps, scheme)
    return last.end
