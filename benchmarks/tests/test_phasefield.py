"""The measurements: how times are read off, that every part writes its rows, and how tables reach the documentation."""

import json
import math
import sys
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import findings, runner
from benchmarks.phasefield import audit, peers
from benchmarks.phasefield.etd34 import Etd34, functions
from benchmarks.phasefield.parts import WING
from benchmarks.phasefield.problems import RECIPES
from benchmarks.phasefield.races import Timed, order, seconds_to
from ernest.phasefield import AllenCahn, GaussSeidel, march
from ernest.phasefield.compiled.workspace import make_workspace
from ernest.phasefield.grid import Grid

FAST = pytest.mark.skipif(find_spec("numba") is None or find_spec("pyfftw") is None, reason="needs numba and pyfftw")


def test_the_time_to_an_error_lies_on_the_line_between_two_runs() -> None:
    curve = ((1.0, 1e-2), (2.0, 1e-4), (4.0, 1e-6))
    assert seconds_to(1e-4, curve) == pytest.approx(2.0)
    assert seconds_to(1e-5, curve) == pytest.approx(math.sqrt(8.0))
    assert seconds_to(0.1, curve) == 1.0
    assert seconds_to(1e-7, curve) == math.inf


def test_nothing_is_read_off_before_a_run_is_on_its_way() -> None:
    assert seconds_to(1e-3, ((1.0, 0.9), (2.0, 1e-4))) == 2.0
    assert seconds_to(1e-3, ((1.0, math.inf), (2.0, 1e-4))) == 2.0


def test_an_order_is_the_slope_of_the_errors() -> None:
    runs = [Timed(n, 3.0 * n**-4.0, [1.0]) for n in (8, 16, 32, 64)]
    assert order(runs) == pytest.approx(4.0)


def test_the_first_run_warms_and_does_not_count() -> None:
    timed = Timed(8, 1e-6, [9.0, 1.0, 2.0, 4.0])
    assert timed.time() == 2.0
    assert timed.time(least=True) == 1.0
    assert Timed(8, 1e-6, [9.0]).time() == 9.0


@pytest.mark.parametrize("name", RECIPES)
def test_first_fields_are_the_same_function_on_every_grid(name: str) -> None:
    recipe = RECIPES[name]
    coarse, fine = (recipe.first(Grid.cube(points, 2 * math.pi)) for points in (16, 32))
    assert torch.allclose(coarse, fine[::2, ::2], atol=1e-12)
    assert coarse.abs().max() <= 1


def test_the_functions_of_the_pair_are_the_integrals_that_define_them() -> None:
    """phi_k(z) = integral of exp((1 - s) z) s^(k-1) / (k-1)! from 0 to 1, on both sides of where the formula changes."""
    x, (points, weights) = np.array([0.0, 1e-6, 0.3, 0.999, 1.001, 7.0, 60.0]), np.polynomial.legendre.leggauss(60)
    s = (points + 1) / 2
    for k, found in enumerate(functions(x)[1:], 1):
        right = (np.exp(-np.outer(x, 1 - s)) * s ** (k - 1) / math.factorial(k - 1)) @ weights / 2
        assert found == pytest.approx(right, rel=1e-12)


@FAST
@pytest.mark.parametrize(("ahead", "claimed"), [(0.0, 4), (1.0, 3)], ids=["the method", "its companion"])
def test_the_pair_has_the_orders_that_it_is_published_with(ahead: float, claimed: int) -> None:
    grid, flow, end = Grid.cube(16, 2 * math.pi), AllenCahn(0.1), 2.0
    x, y = grid.coordinates()
    start = 0.4 * torch.sin(x) * torch.cos(y) + 0.3 * torch.cos(x + 2 * y)
    *_, last = march(flow, grid, start, [end / 64] * 64, GaussSeidel(6, 6, 6))
    work = make_workspace(flow, grid, 0.0, 1)
    assert work is not None
    pair, runs = Etd34(work), []
    for steps in (16, 32, 64):
        v = work.modes(start)
        N = work.explicit_of(v)
        for _ in range(steps):
            v, N, moved = pair.ends(v, N, end / steps)
            if ahead:
                v = v - moved
                N = work.explicit_of(v)
        runs.append(Timed(steps, float((work.field_of(v) - last.end).square().mean().sqrt()), []))
    assert order(runs) == pytest.approx(claimed, abs=0.15)


def test_references_and_verdicts_of_the_audit_are_kept_until_their_code_changes(tmp_path: Path, monkeypatch) -> None:
    one = audit.draw(4)
    right = audit.reference(one, tmp_path)
    monkeypatch.setattr(audit.System, "at", lambda *_: pytest.fail("computed again"))
    assert np.array_equal(audit.reference(one, tmp_path), right)
    judged = audit.Verdict("this", 0, "", 1e-6, 0.5, 0.5, False, 3, 0, 0.1)
    monkeypatch.setattr(audit, "judge", lambda one, folder, engine: audit.replace(judged, number=one.number, engine=engine))
    asked: list[str] = []
    for engine, count in (("this", 2), ("this", 3), ("that", 1), ("this", 3)):
        monkeypatch.setattr(audit, "fingerprint", lambda engine=engine: engine)
        assert [one.engine for one in audit.verdicts(tmp_path, count, asked.append)] == [engine] * count
    assert [words.split(": ")[1] for words in asked] == ["draw 1 of 2", "draw 2 of 2", "draw 3 of 3", "draw 1 of 1"]


WORKER = """
import sys
sys.path.insert(0, {workers!r})
from serve import serve

def off(by):
    return lambda start, end: lambda: start + end + by

print("not an answer")
serve("numpy", {{"shift": {{"rough": off(1e-2), "fine": off(1e-6), "lost": off(float("nan"))}}}})
"""


def test_a_worker_answers_with_errors_and_times(tmp_path: Path) -> None:
    (tmp_path / "run_shift.py").write_text(WORKER.format(workers=str(peers.HERE / "workers")))
    np.savez(tmp_path / "shift.npz", start=np.zeros((4, 4)), reference=np.ones((4, 4)), end=1.0)
    peer = peers.Peer("shift", str(tmp_path / "run_shift.py"), None, 1.0)
    with peers.start(Path(sys.executable), peer, "shift", tmp_path / "shift.npz") as worker:
        worker.turn()
        worker.turn()
    assert worker.settings == ("rough", "fine", "lost")
    assert worker.version == np.__version__
    assert [len(runs) for runs in worker.runs.values()] == [2, 2, 1]
    assert [error for _, error in worker.curve()[1:]] == pytest.approx([1e-2, 1e-6])
    assert worker.seconds_to(1e-5) < math.inf
    assert worker.seconds_to(1e-7) == math.inf
    assert worker.process.returncode == 0


@FAST
def test_the_quick_command_writes_rows_tables_and_the_plot(tmp_path: Path) -> None:
    runner.main(WING, ["--quick", "--part", "baselines", "--part", "steps", "--folder", str(tmp_path)])
    runner.main(WING, ["--quick", "--part", "orders", "--folder", str(tmp_path)])
    rows = [json.loads(line) for line in (tmp_path / "phasefield.jsonl").read_text().splitlines()]
    assert all(set(row) == {"row", "value", "bar", "ok", "threads", "command"} for row in rows)
    assert {row["command"].split()[-1] for row in rows} == {"steps", "orders"}
    orders = {row["row"]: row["value"] for row in rows if row["row"].startswith("13")}
    assert len(orders) == 2
    assert all(3.9 < value < 4.2 for value in orders.values())
    assert "several waves, N = 64" in (tmp_path / "phasefield.md").read_text()
    assert (tmp_path / "phasefield-work-precision.png").stat().st_size > 10_000
    panel = findings.read("phasefield", ["baselines"], tmp_path)["baselines"].panels[0]
    assert all(error < before for curve in panel.curves.values() for (_, before), (_, error) in pairwise(curve))
    assert "two threads" in (tmp_path / "phasefield.md").read_text().lower()
