"""The entry: a flow, a grid, a first field and an end in; the solution at any time out."""

import math
import tempfile
import time as clock
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from ernest.phasefield.flows import Flow, check_flow
from ernest.phasefield.grid import Space
from ernest.phasefield.solver.checkpoint import Checkpoint, check_problem, load_run, problem_of, save_run
from ernest.phasefield.solver.controller import Adaptive, Prescribed
from ernest.phasefield.solver.diagnostics import Gauge, Row
from ernest.phasefield.solver.events import Event, Happening, check_events, happenings
from ernest.phasefield.solver.initial_step import first_length, graded, speed_of, unsettled
from ernest.phasefield.solver.progress import shown
from ernest.phasefield.solver.scheme_selection import plan_for
from ernest.phasefield.solver.solution import Elements, Solution
from ernest.phasefield.solver.try_step import Crew, Setback, Standing, attempt, begin, more_patient
from ernest.phasefield.stepping import Scheme


class EnergyRise(RuntimeWarning):
    """The energy rose on an element by more than round-off."""


class RunFailed(ArithmeticError):
    """No step can be made to work. `path` holds the last good state, as a checkpoint."""

    def __init__(self, time: float, step: int, iteration: int, tau: float, path: Path) -> None:
        super().__init__(
            f"the run fails at time {time:.9g} in step {step}, iteration {iteration}: elements of every length down to {tau:.2e} "
            f"diverge or miss the tolerance; the last good state is in {path}"
        )
        self.time, self.step, self.iteration, self.tau, self.path = time, step, iteration, tau, path


@dataclass
class Journal:
    """What a run has seen so far: the rows of its table, its events, and whether it has warned of a rising energy."""

    rows: list[Row] = field(default_factory=list)
    happenings: list[Happening] = field(default_factory=list)
    warned: bool = False


def solve(
    flow: Flow,
    grid: Space,
    start: Tensor,
    end: float,
    tolerance: float = 1e-6,
    *,
    step: float | None = None,
    scheme: Scheme | None = None,
    strict: bool = False,
    events: Event | Sequence[Event] = (),
    checkpoint: Checkpoint | None = None,
    resume: bool = False,
    dense: bool = True,
    memory: float = 4e9,
    progress: bool = True,
) -> Solution:
    """Marches the fields `start` `[..., *points]` from time 0 to `end`; leading axes are an ensemble with common steps.

    The scheme, its stabilisation, the treatment of a rough start and the lengths of the elements are chosen such that the
    estimated error grows by `tolerance` per unit time (root of the mean square over the box). With `step` the elements have
    that length, with `scheme` they are that scheme's, and `strict` asks for the implicit scheme, whose energy law is exact.

    The solution can be evaluated at any time; elements beyond `memory` bytes wait in temporary files, and with
    `dense=False` only both ends are kept. With `resume` a run goes on from its checkpoint if there is one: its steps and
    fields are bit for bit those of a run that never stopped, and the solution then covers the time from there.

    Raises ValueError for input that does not fit together, and RunFailed where no step works. Warns of a rising energy.
    """
    events = (events,) if isinstance(events, Event) else tuple(events)
    _check_input(flow, grid, start, end, tolerance, step, events, resume, checkpoint)
    plan = plan_for(flow, grid, start, tolerance, scheme, strict)
    crew, gauge = Crew(plan, flow, grid, start, tolerance), Gauge(flow, grid, start)
    problem = problem_of(flow, grid, start, tolerance=tolerance, step=step, scheme=scheme, strict=strict)
    if resume and checkpoint is not None and Path(checkpoint.path).exists():
        standing, journal = _resumed(checkpoint.path, problem, start)
    else:
        standing, row = begin(crew, gauge, start, _controller(crew, start, end, tolerance, step))
        journal = Journal([row])
    first, elements = grid.field(standing.state.modes), Elements(grid, memory) if dense else None
    shortest = step / 2**16 if step else 1e-11 * end
    saved, saved_at = standing.state.count, clock.monotonic()

    with shown(progress, float(standing.state.time), end) as show:
        while not _over(events, journal) and end - float(standing.state.time) > 1e-10 * end:
            outcome = attempt(crew, gauge, standing, standing.controller.propose(end - float(standing.state.time)))
            if isinstance(outcome, Setback):
                standing = more_patient(standing, outcome)
                if standing.controller.tau < shortest:
                    raise _failure(checkpoint, problem, standing, journal, outcome)
                continue
            standing, element, row = outcome
            journal.rows.append(row)
            journal.happenings += happenings(events, element)
            _warn_of_rise(journal, gauge, standing.noise)
            if elements is not None:
                elements.append(element)
            show(row)
            if checkpoint and checkpoint.due(standing.state.count - saved, clock.monotonic() - saved_at):
                _write(checkpoint.path, problem, standing, journal)
                saved, saved_at = standing.state.count, clock.monotonic()
    if checkpoint:
        _write(checkpoint.path, problem, standing, journal)
    final = grid.field(standing.state.modes)
    return Solution(flow, grid, plan.scheme, first, final, tuple(journal.rows), tuple(journal.happenings), elements)


def _check_input(
    flow: Flow,
    grid: Space,
    start: Tensor,
    end: float,
    tolerance: float,
    step: float | None,
    events: tuple[Event, ...],
    resume: bool,
    checkpoint: Checkpoint | None,
) -> None:
    """One clear error for what would fail later, or give nonsense."""
    check_flow(flow, grid, start)
    check_events(events, grid)
    if not 0 < end < math.inf:
        raise ValueError(f"end: expected a time after the start at 0, got {end}")
    least = 100 * torch.finfo(start.dtype).eps
    if not least <= tolerance < 1:
        raise ValueError(f"tolerance: expected {least:.1e} (the round-off of {start.dtype}) to 1, got {tolerance}")
    if step is not None and not 0 < step <= end:
        raise ValueError(f"step: expected a length between 0 and the end {end}, got {step}")
    if resume and checkpoint is None:
        raise ValueError("resume: a run goes on from its checkpoint; say which with checkpoint=Checkpoint(path, ...)")


def _controller(crew: Crew, start: Tensor, end: float, tolerance: float, step: float | None) -> Adaptive | Prescribed:
    """The lengths of the elements; they begin short, and prescribed ones do so where the start is rough."""
    modes = crew.grid.modes(start)
    speed = speed_of(crew.flow, crew.grid, modes, 0.0)
    first = first_length(crew.grid, modes, speed, end)
    if step is None:
        # An element of this order errs by about the tolerance where the fields change by such a share. A start whose stiff modes
        # have a tenth of it to lose is rough, and begins short.
        share, whole = min(tolerance ** (1 / (crew.plan.order + 1)), 0.25), first_length(crew.grid, modes, speed, end, 1.0)
        settled = unsettled(crew.flow, crew.grid, speed, whole) <= 0.1 * float(crew.grid.norm(modes).max())
        return Adaptive(tolerance, crew.plan.order, share * whole if settled else first)
    rough = unsettled(crew.flow, crew.grid, speed, step) > tolerance
    return Prescribed(step, *graded(step, first, crew.flow.forcing is not None)) if rough else Prescribed(step)


def _over(events: tuple[Event, ...], journal: Journal) -> bool:
    """Whether an event that ends the run has happened."""
    last = {event.name for event in events if event.terminal}
    return any(happening.name in last for happening in journal.happenings)


def _warn_of_rise(journal: Journal, gauge: Gauge, noise: float) -> None:
    """Warns once in a run."""
    if journal.warned or not gauge.falls:
        return
    before, after = (torch.as_tensor(row.energy, dtype=torch.float64) for row in journal.rows[-2:])
    rise = float((after - before).max())
    if rise > noise:
        journal.warned = True
        row = journal.rows[-1]
        text = f"the energy rises by {rise:.2e} from time {row.time - row.tau:.9g} to {row.time:.9g}; shorter steps would help"
        warnings.warn(text, EnergyRise, stacklevel=3)


def _write(path: Path | str, problem: dict[str, str], standing: Standing, journal: Journal) -> None:
    facts = {
        "problem": problem,
        "adaptive": isinstance(standing.controller, Adaptive),
        "controller": asdict(standing.controller),
        **{name: getattr(standing, name) for name in ("energy", "noise", "extra", "coarse", "rejected")},
    }
    save_run(path, standing.state, facts, asdict(journal))


def _resumed(path: Path | str, problem: dict[str, str], start: Tensor) -> tuple[Standing, Journal]:
    state, facts, journal = load_run(path, start.device)
    check_problem(path, facts["problem"], problem)
    if facts["adaptive"]:
        controller = Adaptive(**facts["controller"])
    else:
        controller = Prescribed(**facts["controller"] | {"graded": tuple(facts["controller"]["graded"])})
    standing = Standing(state, controller, *(facts[name] for name in ("energy", "noise", "extra", "coarse", "rejected")))
    rows, seen = [Row(**row) for row in journal["rows"]], [Happening(**one) for one in journal["happenings"]]
    return standing, Journal(rows, seen, journal["warned"])


def _failure(
    checkpoint: Checkpoint | None, problem: dict[str, str], standing: Standing, journal: Journal, setback: Setback
) -> RunFailed:
    """Writes the last good state beside the checkpoint, or into a temporary file."""
    if checkpoint is None:
        path = Path(tempfile.mkdtemp(prefix="phasefield-")) / "failed.safetensors"
    else:
        path = Path(checkpoint.path).with_name(Path(checkpoint.path).stem + "-failed.safetensors")
    _write(path, problem, standing, journal)
    return RunFailed(float(standing.state.time), standing.state.count + 1, setback.iteration, standing.controller.tau, path)
