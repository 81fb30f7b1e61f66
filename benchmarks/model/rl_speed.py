"""Reinforcement learning against the clock: an iteration beside that of the prototype on an earlier commit, and rollouts, which
keep odds and experts, beside the engine alone. Seconds of the processor, on one thread, in turns."""

from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.findings import Findings
from benchmarks.model.decoding import BEFORE, ROOT, Side, unpack
from benchmarks.tables import Figure, Table

WORKER = Path(__file__).with_name("rl_worker.py")
KINDS = {"video": 60, "text": 64, "audio": 64, "image": 64}
"""What is sampled at once."""
ITERATION, BATCH = 0.5, 0.85
"""An iteration as a share of the prototype's, and the speed of rollouts as a share of the engine's."""


def measure(folder: Path, rounds: int, quick: bool, progress: Callable[[str], None]) -> Findings:
    del folder
    rounds = 1 if quick else rounds
    with TemporaryDirectory() as scratch:
        earlier = unpack(Path(scratch))
        with closing(Side(earlier, "before", WORKER)) as before, closing(Side(ROOT, "now", WORKER)) as now:
            progress("iterations")
            spent = _turns(rounds, {"before": lambda: before.ask("iteration"), "now": lambda: now.ask("iteration")})
            ratio = median(one / other for one, other in zip(spent["now"], spent["before"], strict=True))
            figures = [Figure("rl: an iteration of 60 films ÷ the prototype's", ratio, ITERATION, less=True)]
            rows = [("an iteration of 60 films", *(f"{median(spent[side]):.2f}" for side in ("before", "now")), f"{ratio:.3g}")]
            for kind, count in KINDS.items():
                progress(kind)
                asked = {way: partial(now.ask, f"{way} {kind} {count}") for way in ("batch", "rollouts")}
                spent = _turns(rounds, asked)
                share = median(one / other for one, other in zip(spent["batch"], spent["rollouts"], strict=True))
                figures.append(Figure(f"rl: speed of rollouts ÷ the engine's batch, {kind}", share, BATCH))
                rows.append((f"{count} of {kind}, s", *(f"{median(spent[way]):.2f}" for way in asked), f"{share:.3g}"))
    note = f"Random networks of the demo's sizes. First {BEFORE}, now, and now ÷ then; then engine, rollouts, engine ÷ rollouts."
    return Findings(tuple(figures), (Table("Reinforcement learning", ("what", "one", "other", "ratio"), tuple(rows), note),))


def _turns(rounds: int, ways: dict[str, Callable[[], dict[str, float]]]) -> dict[str, list[float]]:
    """Seconds of each way so many times, in turns, behind one that warms up."""
    spent: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(1 + rounds):
        for way, run in ways.items():
            seconds = run()["seconds"]
            spent[way] += [seconds] if turn else []
    return spent
