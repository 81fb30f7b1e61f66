"""Holds `solve` to its tolerance on randomly drawn problems, at the end of the run and at twenty times between.

Every draw is a flow with its constants, a grid, boundaries, a box, a start, an end and a tolerance, all made from one number. The
field must stay within tolerance x amplitude x time / own time of the reference, whose code is not the engine's; a few
round-offs are granted on top.

What costs most are the references. They are kept by number in the folder, and so are the verdicts, with a fingerprint of the
engine's code: a run goes on where it was stopped, and after a change of the engine only the engine's part is done again.
"""

import hashlib
import json
import math
import os
import time as clock
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.findings import Findings, Panel
from benchmarks.phasefield.report import AUDIT
from benchmarks.tables import Figure, Table
from ernest.phasefield import flows
from ernest.phasefield.grid import Grid
from ernest.phasefield.solver.solve import solve
from tests.references.gradient_flows import Array, Box, System

DRAWS, QUICK_DRAWS = 500, 12
BETWEEN = 20
FLOOR = 3e-13
"""Round-off of both runs, as a share of the field's amplitude: what is granted beyond the tolerance."""
WORK = 1e4
"""Most of stiffness x time in a draw: the reference is explicit."""
LARGE_WORK = 2e3
"""The same on grids of more than 5,000 points."""

SHORTEST = 0.1
"""Draws whose reference could not go so far, in own times, are drawn anew."""

SHAPES = (
    ((32,), (48,), (64,), (100,), (128,), (192,), (256,)),
    ((16, 24), (24, 24), (32, 32), (32, 48), (64, 48), (64, 64), (96, 96), (96, 128), (128, 128)),
)


@dataclass(frozen=True)
class Draw:
    """One problem. `own_time` is the reciprocal of the flow's fastest linear growth, by which the end is drawn."""

    number: int
    name: str
    flow: flows.Flow
    system: System
    start: Array
    end: float
    tolerance: float
    own_time: float

    @property
    def words(self) -> str:
        box = self.system.box
        points = " x ".join(map(str, box.points))
        return f"{self.number}: {self.name}, {points} {'/'.join(sorted(set(box.boundaries)))}, {self.start_words}"

    @property
    def start_words(self) -> str:
        return f"start {self.start.min():.2g} to {self.start.max():.2g}, end {self.end:.3g}, tolerance {self.tolerance:.1e}"


ENGINE = ("solver", "schemes", "compiled", "grid.py", "flows.py", "potentials.py", "timeelement.py", "element.py", "stepping.py")
"""What of ernest/phasefield the numbers of a run come from."""


@dataclass(frozen=True)
class Verdict:
    """What a draw came to. `at_end` and `between` are error / allowed, the greatest of the times; `floor` tells that what is
    allowed, or the error itself, is so little that the share says nothing. `engine` is the fingerprint of the code."""

    engine: str
    number: int
    words: str
    tolerance: float
    at_end: float
    between: float
    floor: bool
    steps: int
    rejected: int
    seconds: float
    failure: str = ""

    @property
    def missed(self) -> bool:
        return bool(self.failure) or not max(self.at_end, self.between) <= 1


def draw(number: int) -> Draw:
    """The problem that this number stands for."""
    random = np.random.default_rng([20240616, number])
    while True:
        box = _box(random)
        name, flow, mobility, linear, f = _flow(random, box)
        if name in ("Swift-Hohenberg", "crystal"):  # whose waves have the length 2 pi
            box = replace(box, lengths=tuple(4 * length for length in box.lengths))
        system = System(box, mobility, linear, f)
        own, work = _own_time(system), WORK if math.prod(box.points) <= 5000 else LARGE_WORK
        if work > SHORTEST * own * system.stiffness():
            break
    end = min(own * 10 ** random.uniform(-1.3, 1.0), work / system.stiffness())
    start = _start(random, box, mean=0.0 if "dirichlet" in box.boundaries else random.choice([0.0, random.uniform(-0.4, 0.4)]))
    if "Flory" in name:
        start = 0.85 * start / max(1.0, float(abs(start).max()))
    return Draw(number, name, flow, system, start, float(end), float(10 ** random.uniform(-11, -3)), float(own))


def _own_time(system: System) -> float:
    """The reciprocal of the fastest growth about u = 0, or of the slowest decay where that is faster."""
    k2 = system.box.squares()
    rates = system.mobility(k2) * (float(system.f(np.array([1e-6]))[0]) / 1e-6 + system.linear(k2))
    return 1 / max(float(-rates.min()), float(rates[rates > 1e-9].min()))


def _box(random: np.random.Generator) -> Box:
    shapes = SHAPES[int(random.random() < 0.65)]
    points = shapes[random.integers(len(shapes))]
    axes = range(len(points))
    kind = random.random()
    one = str(random.choice(["neumann", "dirichlet"]))
    boundaries = tuple("periodic" if kind < 0.6 else one if kind < 0.85 else str(random.choice(["periodic", one])) for _ in axes)
    lengths = tuple(float(2 * math.pi * random.uniform(0.6, 1.8) * (0.5 if b != "periodic" else 1)) for b in boundaries)
    return Box(points, (lengths[0],) * len(points) if random.random() < 0.4 else lengths, boundaries)


def _flow(random: np.random.Generator, box: Box) -> tuple[str, flows.Flow, Callable, Callable, Callable]:
    """Name, the engine's flow, and G, L and f in numpy."""
    spacing = max(length / n for n, length in zip(box.points, box.lengths, strict=True))
    kappa = float(max(10 ** random.uniform(-2.3, -0.9), 0.4 * spacing**2))
    s, gamma = float(random.choice([1.0, 1.0, 0.5, 2.0])), float(random.choice([1.0, 1.0, 0.3, 3.0]))
    r, A, theta = float(random.uniform(0.1, 0.5)), float(random.uniform(0.5, 4.0)), float(random.uniform(0.5, 0.9))

    def well(u: Array) -> Array:
        return s * (u**3 - u)

    def driven(u: Array) -> Array:
        return u**3 - r * u

    def logarithm(u: Array) -> Array:
        return theta / 2 * np.log((1 + u) / (1 - u)) - u

    def flat(k2: Array) -> Array:
        return gamma * np.ones_like(k2)

    def moving(k2: Array) -> Array:
        return gamma * (k2 > 0)

    def diffusing(k2: Array) -> Array:
        return gamma * k2

    def surface(k2: Array) -> Array:
        return kappa * k2

    def repelling(k2: Array) -> Array:
        return kappa * k2 + A * np.where(k2 > 0, 1 / np.where(k2 > 0, k2, 1), 0)

    def pattern(k2: Array) -> Array:
        return (1 - k2) ** 2

    choices = [
        ("Allen-Cahn", flows.AllenCahn(kappa, s, gamma), flat, surface, well),
        ("Allen-Cahn", flows.AllenCahn(kappa, s, gamma), flat, surface, well),
        ("Cahn-Hilliard", flows.CahnHilliard(kappa, s, gamma), diffusing, surface, well),
        ("Cahn-Hilliard", flows.CahnHilliard(kappa, s, gamma), diffusing, surface, well),
        ("conservative Allen-Cahn", flows.ConservativeAllenCahn(kappa, s, gamma), moving, surface, well),
        ("Swift-Hohenberg", flows.SwiftHohenberg(r, gamma), flat, pattern, driven),
        ("crystal", flows.PhaseFieldCrystal(r, gamma), diffusing, pattern, driven),
        ("Ohta-Kawasaki", flows.OhtaKawasaki(kappa, A, s, gamma), diffusing, repelling, well),
        ("Flory-Huggins Allen-Cahn", flows.FloryHugginsAllenCahn(kappa, theta, 1.0, gamma), flat, surface, logarithm),
        ("Flory-Huggins Cahn-Hilliard", flows.FloryHugginsCahnHilliard(kappa, theta, 1.0, gamma), diffusing, surface, logarithm),
    ]
    if "dirichlet" in box.boundaries:
        choices = [choice for choice in choices if choice[0] != "conservative Allen-Cahn"]
    return choices[random.integers(len(choices))]


def _start(random: np.random.Generator, box: Box, mean: float) -> Array:
    """A sum of random waves, smooth; some as steep as interfaces, and some with a little noise on every point."""
    kind, amplitude, most = random.random(), 10 ** random.uniform(-1.7, 0), int(random.integers(1, 7))
    field = np.zeros(box.points)
    for _ in range(8):
        wave = np.ones(())
        for x, length, boundary in zip(box.coordinates(), box.lengths, box.boundaries, strict=True):
            k = int(random.integers(0, most + 1))
            if boundary == "periodic":
                wave = wave * np.cos(2 * np.pi * k * x / length + random.uniform(0, 6.3))
            else:
                wave = wave * (np.cos(np.pi * k * x / length) if boundary == "neumann" else np.sin(np.pi * (k + 1) * x / length))
        field = field + random.normal() * wave
    field = field / math.sqrt(float((field**2).mean()) + 1e-30)
    if kind < 0.25:
        return mean + np.tanh(2 * field) * (1 - abs(mean)) if "dirichlet" not in box.boundaries else np.tanh(2 * field)
    if kind > 0.93:
        field = field + 0.3 * random.uniform(-1, 1, box.points)
    return mean + amplitude * field


def times_of(one: Draw) -> list[float]:
    """The rising times at which a draw is looked at, the last of them its end."""
    random = np.random.default_rng([7, one.number])
    shares = np.concatenate([random.uniform(0, 1, BETWEEN // 2), 10 ** random.uniform(-3, 0, BETWEEN - BETWEEN // 2)])
    return [*np.unique(shares * one.end).tolist(), one.end]


def reference(one: Draw, folder: Path) -> Array:
    """The right fields at these times, `[times, *points]`: those in the folder, or computed and left there."""
    times, file = times_of(one), folder / "references" / f"{one.number}.npz"
    problem = hashlib.sha256(f"{one.words} {times} {one.system.box}".encode() + one.start.tobytes()).hexdigest()
    if file.exists():
        with np.load(file) as kept:
            if str(kept["problem"]) == problem:
                return kept["right"]
    right = one.system.at(one.start, times)
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_name(f"aside-{file.name}")
    np.savez(aside, right=right, problem=problem)
    os.replace(aside, file)
    return right


def fingerprint() -> str:
    """Of the engine's code."""
    root = Path(flows.__file__).parent
    files = sorted(file for name in ENGINE for file in ((root / name).rglob("*.py") if (root / name).is_dir() else [root / name]))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


def judge(one: Draw, folder: Path | None = None, engine: str = "") -> Verdict:
    """Solves the draw by default, and compares; with a folder the reference is kept there."""
    times, box = times_of(one), one.system.box
    grid = Grid(box.points, box.lengths, box.boundaries)  # pyright: ignore[reportArgumentType]
    begun = clock.process_time()
    try:
        solution = solve(one.flow, grid, torch.from_numpy(one.start), one.end, one.tolerance, progress=False)
        found = np.stack([*(solution(t).numpy() for t in times[:-1]), solution.end.numpy()])
    except ArithmeticError as error:
        return Verdict(engine, one.number, one.words, one.tolerance, math.inf, math.inf, False, 0, 0, 0.0, str(error))
    seconds = clock.process_time() - begun
    right = one.system.at(one.start, times) if folder is None else reference(one, folder)
    errors = np.sqrt(((found - right) ** 2).reshape(len(times), -1).mean(1))
    units = solution.units
    allowed = np.array([one.tolerance * units.field * t / units.time for t in times])
    used = np.maximum(errors - FLOOR * units.field, 0) / allowed
    floor = bool(allowed[-1] < 10 * FLOOR * units.field or errors[-1] <= FLOOR * units.field)
    shares, cost = (float(used[-1]), float(used[:-1].max())), (len(solution.steps), solution.rejected, seconds)
    return Verdict(engine, one.number, one.words, one.tolerance, *shares, floor, *cost)


def verdicts(folder: Path, draws: int, progress: Callable[[str], None]) -> Iterator[Verdict]:
    """Those on this engine that the folder holds, and the others one by one, each of which is kept as it comes."""
    file, engine, known = folder / "audit.jsonl", fingerprint(), {}
    if file.exists():
        kept = (json.loads(line) for line in file.read_text().splitlines())
        known = {row["number"]: Verdict(**row) for row in kept if row.get("engine") == engine}
    file.parent.mkdir(parents=True, exist_ok=True)
    for number in range(draws):
        if number not in known:
            progress(f"audit: draw {number + 1} of {draws}")
            known[number] = judge(draw(number), folder, engine)
            with file.open("a") as keeps:
                keeps.write(json.dumps(asdict(known[number])) + "\n")
        yield known[number]


def geometric_mean(values: list[float]) -> float:
    return math.exp(sum(math.log(max(value, 1e-12)) for value in values) / len(values)) if values else math.nan


def measure(folder: Path, quick: bool, progress: Callable[[str], None]) -> Findings:
    """The audit's table: by ranges of the tolerance, how many draws missed it, the worst, and how much of it was used."""
    draws = QUICK_DRAWS if quick else DRAWS
    all_of_them = list(verdicts(folder / "phasefield" / "audit", draws, progress))
    rows = []
    for high in range(-3, -11, -2):
        some = [one for one in all_of_them if 10 ** (high - 2) <= one.tolerance < 10.0**high]
        rows.append((f"1e{high - 2} to 1e{high}", *_summary(some)))
    rows.append(("all", *_summary(all_of_them)))
    header = ("tolerance", "draws", "missed", "worst at the end", "worst between", "geometric mean used")
    missed = [one for one in all_of_them if one.missed]
    used = geometric_mean([one.at_end for one in all_of_them if not one.floor and not one.failure])
    figures = (
        Figure("audit: draws", len(all_of_them), None if quick else 500.0),
        Figure("audit: draws that miss their tolerance", len(missed), 0.0, less=True),
        Figure("audit: geometric mean of error ÷ allowed at the end", used, 0.1),
    )
    note = "Error ÷ (tolerance × amplitude × time ÷ own time); draws at the floor of round-off are left out of the mean."
    words = tuple(
        f"missed: {one.words}: {one.failure or f'{one.at_end:.2g} at the end, {one.between:.2g} between'}" for one in missed
    )
    # Of draws at the floor the share says nothing.
    judged = [one for one in all_of_them if not one.floor and not one.failure]
    curves = {
        "at the end": tuple((one.tolerance, one.at_end) for one in judged),
        "greatest of 20 times between": tuple((one.tolerance, one.between) for one in judged),
    }
    table = Table(AUDIT, header, tuple(rows), note)
    return Findings(figures, (table,), notes=words, panels=(Panel(AUDIT, curves),))


def _summary(some: list[Verdict]) -> tuple[str, ...]:
    if not some:
        return ("0", "", "", "", "")
    used = geometric_mean([one.at_end for one in some if not one.floor and not one.failure])
    ends, between = max(one.at_end for one in some), max(one.between for one in some)
    return str(len(some)), str(sum(one.missed for one in some)), f"{ends:.2g}", f"{between:.2g}", f"{used:.2g}"
