import importlib.util
import math
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_spinodal_example_draws_what_it_solves(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    solution = example("spinodal").main(tmp_path, points=32, t1=0.05)
    assert {path.name for path in tmp_path.iterdir()} == {"spinodal.png", "spinodal-laws.png", "spinodal.gif"}
    assert solution.steps.max() > 100 * solution.steps.min()
    assert (solution.energy[1:] < solution.energy[:-1]).all()
    assert capsys.readouterr().out.startswith(f"{len(solution.steps)} steps of")


def test_the_circle_example_finds_its_time(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    # On 64 points the disk vanishes at 197.728; what the example adds to that is its error in time.
    time = example("benchmark_circle").main(tmp_path, points=64)
    assert math.isclose(time, 197.728, abs_tol=2e-3)
    assert {path.name for path in tmp_path.iterdir()} == {"circle.png", "circle-laws.png"}
    assert "gone at t = 197.72" in capsys.readouterr().out
