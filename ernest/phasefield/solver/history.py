"""What a run has recorded, and the checkpoints that hold it with the solver's state."""

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from torch import Tensor

from ernest.phasefield.solver.checkpoint import check_problem, load_run, save_run
from ernest.phasefield.solver.controller import Adaptive, Prescribed
from ernest.phasefield.solver.diagnostics import StepRecord
from ernest.phasefield.solver.events import EventOccurrence
from ernest.phasefield.solver.state import SolverState
from ernest.phasefield.solver.steady import Mode

SAVED = tuple(field.name for field in fields(SolverState) if field.name not in ("state", "controller"))
"""The fields of the solver's state that a checkpoint holds as they are."""


@dataclass
class History:
    """Records of a run so far: its steps, its events, and whether it has warned of a rising energy."""

    records: list[StepRecord] = field(default_factory=list)
    occurrences: list[EventOccurrence] = field(default_factory=list)
    warned: bool = False

    def forget_after(self, time: float) -> None:
        """Drops what is later than `time`."""
        self.records = [record for record in self.records if record.time <= time]
        self.occurrences = [occurrence for occurrence in self.occurrences if occurrence.time <= time]


def save_solver(path: Path | str, problem: dict[str, str], current: SolverState, history: History) -> None:
    """Writes a checkpoint of the run that the `problem` tells from others."""
    facts = {
        "problem": problem,
        "adaptive": isinstance(current.controller, Adaptive),
        "controller": asdict(current.controller),
        **{name: getattr(current, name) for name in SAVED},
        "mode": asdict(current.mode),
    }
    save_run(path, current.state, facts, asdict(history))


def load_solver(path: Path | str, problem: dict[str, str], u0: Tensor) -> tuple[SolverState, History]:
    """What a checkpoint holds, on the device of u0. Raises ValueError for one of another problem."""
    state, facts, history = load_run(path, u0.device)
    check_problem(path, facts["problem"], problem)
    if facts["adaptive"]:
        controller = Adaptive(**facts["controller"])
    else:
        controller = Prescribed(**facts["controller"] | {"graded": tuple(facts["controller"]["graded"])})
    records = [StepRecord(**record) for record in history["records"]]
    occurrences = [EventOccurrence(**occurrence) for occurrence in history["occurrences"]]
    saved = {name: facts[name] for name in SAVED}
    saved["stops"], saved["mode"] = tuple(saved["stops"]), Mode(**saved["mode"])
    current = SolverState(state, controller, **saved)
    return current, History(records, occurrences, history["warned"])
