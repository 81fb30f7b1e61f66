"""Systems that are no gradient flows, by `solve_system` and by other solvers: work against precision, and drift of an energy.

scipy's BDF, Radau and DOP853 run beside it. So do diffrax and CVODE (scikit-sundae) where they are installed:
`pip install --target build/peers/site diffrax==0.7.2 scikit-sundae==1.2.0`. Implicit solvers get the derivative of the right-hand
side, CVODE its pattern. Times are those of the processor, on one thread; diffrax is compiled before it is timed.
"""

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.integrate import solve_ivp

from benchmarks.findings import Findings, Panel
from benchmarks.phasefield.dynamical import Array, Dynamics, brusselator, chain, kuramoto_sivashinsky
from benchmarks.phasefield.peers import ENVIRONMENT
from benchmarks.phasefield.races import Curve, seconds_to
from benchmarks.tables import Figure, Table
from ernest.phasefield import SystemElements, solve_system

SITE = Path("build/peers/site")
WORKER = Path(__file__).parent / "workers" / "run_systems.py"
TOLERANCES = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9)
LARGE_END, LARGE_LIMIT = 0.1, 90.0
"""The end of the large system, and the seconds of the processor after which a solver is stopped."""
COMPARED = {"Brusselator": 1e-6, "Kuramoto": 1e-6, "chain": 1e-6}
"""Errors at which times are compared, by the first word of a problem's name."""


@dataclass(frozen=True)
class Timed:
    seconds: float
    error: float
    steps: int


Entrant = Callable[[Dynamics, float], tuple[Array, int]]
"""From a problem and a tolerance to the state at its end and the number of steps."""


def ours(problem: Dynamics, tolerance: float) -> tuple[Array, int]:
    solution = solve_system(problem.system, torch.from_numpy(problem.start), problem.end, tolerance, dense=False)
    return solution.end.numpy(), len(solution.steps)


def scipy_solver(method: str) -> Entrant:
    def run(problem: Dynamics, tolerance: float) -> tuple[Array, int]:
        known: dict[str, Any] = {} if method == "DOP853" else {"jac": problem.jacobian}
        found = solve_ivp(
            problem.rate, (0, problem.end), problem.start, method, (problem.end,), rtol=tolerance, atol=tolerance, **known
        )
        return found.y[:, -1], found.nfev

    return run


def cvode(problem: Dynamics, tolerance: float) -> tuple[Array, int]:
    """SUNDIALS' CVODE, which stops after 500 steps unless it is told otherwise."""
    from sksundae.cvode import CVODE  # pyright: ignore[reportMissingImports]

    def rate(t: float, u: Array, out: Array) -> None:
        out[:] = problem.rate(t, u)

    matrix = problem.jacobian(0.0, problem.start + 0.1) if problem.jacobian else None
    sparse = matrix is not None and not isinstance(matrix, np.ndarray)
    linear = {"linsolver": "sparse", "sparsity": matrix != 0} if sparse else {"linsolver": "dense"}
    solver = CVODE(rate, method="BDF", rtol=tolerance, atol=tolerance, max_num_steps=1_000_000, **linear)
    found = solver.solve(np.array([0.0, problem.end]), problem.start)
    return np.asarray(found.y)[-1], int(found.nfev or 0)


def has_cvode() -> bool:
    if str(SITE) not in sys.path and SITE.exists():
        sys.path.append(str(SITE))  # last: what it brings of numpy must not hide ours
    try:
        import sksundae.cvode  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError:
        return False
    return True


def timed(run: Entrant, problem: Dynamics, tolerance: float, reference: Array) -> Timed:
    begun = time.process_time()
    end, steps = run(problem, tolerance)
    seconds = time.process_time() - begun
    return Timed(seconds, float(np.sqrt(np.mean((end - reference) ** 2))), steps)


def diffrax_curve(problem: str, size: int, end: float, reference: Array, tolerances: Sequence[float]) -> Curve | None:
    """Times of diffrax, in a process of its own; None where it is not installed."""
    environ = {**os.environ, **ENVIRONMENT, "PYTHONPATH": f"{SITE.resolve()}"}
    command = [sys.executable, str(WORKER), problem, str(size), str(end), *map(str, tolerances)]
    done = subprocess.run(command, capture_output=True, text=True, env=environ, check=False)
    if done.returncode:
        return None
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    ends = [(answer["seconds"], np.array(answer["end"])) for answer in answers]
    return tuple((seconds, float(np.sqrt(np.mean((end - reference) ** 2)))) for seconds, end in ends)


def race(
    problem: Dynamics, entrants: Mapping[str, Entrant], tolerances: Sequence[float], reference: Array, rounds: int
) -> dict[str, Curve]:
    """Every entrant at every tolerance, in turn; the medians of its times."""
    runs: dict[tuple[str, float], list[Timed]] = {}
    for _ in range(rounds):
        for tolerance in tolerances:
            for name, run in entrants.items():
                runs.setdefault((name, tolerance), []).append(timed(run, problem, tolerance, reference))
    return {
        name: tuple(
            (float(np.median([one.seconds for one in runs[name, tolerance]])), runs[name, tolerance][0].error)
            for tolerance in tolerances
        )
        for name in entrants
    }


def compared(problem: Dynamics, curves: Mapping[str, Curve]) -> Findings:
    """Times to one error, and the table of all runs."""
    error = COMPARED[problem.name.split()[0].rstrip(",").split("-")[0]]
    mine, figures = seconds_to(error, curves["ours"]), []
    for name, curve in curves.items():
        if name != "ours":
            label = f"general: {name} ÷ ours, {problem.name}, error {error:.0e}"
            figures.append(Figure(label, seconds_to(error, curve) / mine))
    rows = [(name, *(f"{1e3 * seconds_to(10.0**-k, curve):.0f}" for k in range(3, 10))) for name, curve in curves.items()]
    header = ("solver", *(f"1e-{k}" for k in range(3, 10)))
    table = Table(f"{problem.name}: milliseconds to an error", header, tuple(rows))
    return Findings(tuple(figures), (table,), panels=(Panel(problem.name, dict(curves)),))


def work_precision(quick: bool, rounds: int) -> Findings:
    stiff = {"ours": ours, "scipy BDF": scipy_solver("BDF"), "scipy Radau": scipy_solver("Radau")}
    found, notes = Findings(), []
    if not quick and has_cvode():
        stiff["CVODE"] = cvode
    elif not quick:
        notes.append(f"CVODE is not there: pip install --target {SITE} scikit-sundae")
    smooth = {"ours": ours, "scipy DOP853": scipy_solver("DOP853"), "scipy Radau": stiff["scipy Radau"]}
    sizes = (16, 128, 16) if quick else (32, 256, 32)
    ends = (1.0, 5.0, 50.0) if quick else (3.0, 10.0, 400.0)
    cases = (
        ("brusselator", brusselator(sizes[0], ends[0]), stiff, scipy_solver("Radau"), 1e-10),
        ("sivashinsky", kuramoto_sivashinsky(sizes[1], ends[1]), stiff, scipy_solver("Radau"), 1e-10),
        (
            "chain",
            chain(sizes[2], ends[2]),
            smooth | ({"CVODE": cvode} if "CVODE" in stiff else {}),
            scipy_solver("DOP853"),
            1e-13,
        ),
    )
    tolerances = TOLERANCES[::3] if quick else TOLERANCES[::2]
    for (key, problem, entrants, exact, least), size in zip(cases, sizes, strict=True):
        reference, _ = exact(problem, least)
        curves = race(problem, entrants, tolerances, reference, rounds)
        if not quick and key != "sivashinsky":  # compiling Kvaerno5 for a field takes it longer than all the others together
            curve = diffrax_curve(key, size, problem.end, reference, tolerances)
            if curve is None:
                notes.append(f"diffrax is not there, or fails, for {problem.name}: pip install --target {SITE} diffrax==0.7.2")
            else:
                curves[f"diffrax {'Tsit5' if key == 'brusselator' else 'Dopri8'}"] = curve
        found += compared(problem, curves)
    return found + Findings(notes=tuple(notes))


class OutOfTime(Exception):
    """A peer has had its time."""


def limited(problem: Dynamics, seconds: float) -> Dynamics:
    """The problem, whose right-hand side gives up when so many seconds of the processor have passed."""
    begun = time.process_time()

    def rate(t: float, u: Array) -> Array:
        if time.process_time() - begun > seconds:
            raise OutOfTime(f"stopped at t = {t:.2g}")
        return problem.rate(t, u)

    return replace(problem, rate=rate)


def large(quick: bool) -> Findings:
    """A hundred thousand unknowns; scipy's BDF and Radau have the sparse matrix too, DOP853 with a tight tolerance is right.

    The engine is given the pattern of the matrix, or makes none: its linear systems are solved by GMRES then, with the diffusion
    as preconditioner.
    """
    points = 32 if quick else 224
    problem, pattern, free = (brusselator(points, LARGE_END, known=known) for known in ("jacobian", "pattern", "preconditioner"))
    entrants = (
        ("scipy DOP853", scipy_solver("DOP853"), problem, (1e-9,)),
        ("ours, pattern of the matrix", ours, pattern, (1e-4, 1e-6)),
        ("ours, no matrix", ours, free, (1e-4,)),
        ("scipy BDF", scipy_solver("BDF"), problem, (1e-4,)),
        ("scipy Radau", scipy_solver("Radau"), problem, (1e-4,)),
    )
    right, rows, figures = problem.start, [], []
    for name, run, given, tolerances in entrants:
        for tolerance in tolerances:
            begun = time.process_time()
            try:
                end, count = run(limited(given, LARGE_LIMIT), tolerance)
                work = f"{count} {'steps' if name.startswith('ours') else 'right-hand sides'}"
            except OutOfTime as stopped:
                end, work = np.full_like(right, math.inf), str(stopped)
            seconds = time.process_time() - begun
            right = end if name == "scipy DOP853" else right
            error = float(np.sqrt(np.mean((end - right) ** 2)))
            rows.append((name, f"{tolerance:.0e}", work, f"{error:.1e}" if name != "scipy DOP853" else "–", f"{seconds:.1f}"))
            where = f"{name}, {problem.name}, tolerance {tolerance:.0e}"
            figures.append(Figure(f"general: seconds of {where}", seconds))
            if name.startswith("ours"):
                figures.append(Figure(f"general: error of {where}", error, 10 * tolerance, less=True))
    title = f"{problem.name}, to t = {LARGE_END:g}"
    return Findings(tuple(figures), (Table(title, ("solver", "tolerance", "work", "error", "seconds"), tuple(rows)),))


def verlet(problem: Dynamics, step: float) -> Array:
    """States at the ends of the steps of the leapfrog, `[steps + 1, n]`."""
    half = len(problem.start) // 2
    state, states = problem.start.copy(), [problem.start]
    for _ in range(round(problem.end / step)):
        state[half:] += step / 2 * problem.rate(0.0, state)[half:]
        state[:half] += step * state[half:]
        state[half:] += step / 2 * problem.rate(0.0, state)[half:]
        states.append(state.copy())
    return np.array(states)


def drift(end: float) -> Findings:
    """How far the energy of the chain strays, as a share of it: elements of given steps, and adaptive solvers."""
    problem = chain(32, end)
    rows, figures = [], []
    energy_of = problem.system.invariant
    assert energy_of is not None

    def told(name: str, states: Array | None, energies: Array | None, seconds: float, bar: float | None) -> None:
        energy = energy_of(torch.from_numpy(states)).numpy() if states is not None else energies
        assert energy is not None
        strays = float(abs(energy / energy[0] - 1).max())
        rows.append((name, f"{strays:.1e}", f"{seconds:.1f}"))
        figures.append(Figure(f"general: energy drift, {name}", strays, bar, less=True))

    for degree, points in ((2, 2), (2, 4), (3, 6), (4, 8)):
        begun = time.process_time()
        scheme = SystemElements(degree, points)
        run = solve_system(problem.system, torch.from_numpy(problem.start), end, step=1.0, scheme=scheme, dense=False)
        name = f"ours, p = {degree}, {points} points, step 1"
        told(name, None, run.energy, time.process_time() - begun, 1e-12 if points == 2 * degree else None)
    begun = time.process_time()
    told("leapfrog, step 0.1", verlet(problem, 0.1)[::10], None, time.process_time() - begun, None)
    for method, tolerance in (("DOP853", 1e-6), ("DOP853", 1e-9), ("Radau", 1e-6), ("BDF", 1e-6)):
        begun = time.process_time()
        known: dict[str, Any] = {} if method == "DOP853" else {"jac": problem.jacobian}
        found = solve_ivp(problem.rate, (0, end), problem.start, method, rtol=tolerance, atol=tolerance, **known)
        told(f"scipy {method}, tolerance {tolerance:.0e}", found.y.T.copy(), None, time.process_time() - begun, None)
    title = f"Energy of the chain of 32 masses, greatest drift to t = {end:g}"
    return Findings(tuple(figures), (Table(title, ("solver", "drift", "seconds"), tuple(rows)),))


def measure(rounds: int, quick: bool) -> Findings:
    """All of it; a quick run has small systems and no peers but scipy's."""
    if quick:
        return work_precision(True, 1) + drift(50.0)
    return work_precision(False, min(rounds, 3)) + drift(1000.0)
