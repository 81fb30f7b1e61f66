"""Targets: what is run once, what goes on where it was stopped, and what is left out."""

import pytest

from ernest.results import run as running
from ernest.results.marching.forms import FIELD, IMPLICIT, TERM
from ernest.results.run import Place, Target, run_targets
from ernest.results.units import based_on, kept


def test_work_is_done_once_and_again_under_other_settings(tmp_path):
    calls = []
    make = lambda: calls.append(1) or {"value": (1, 2)}
    assert kept(tmp_path / "a/unit.json", {"n": (1,)}, make) == {"value": [1, 2]}
    assert kept(tmp_path / "a/unit.json", {"n": [1]}, make) == {"value": [1, 2]}
    assert len(calls) == 1
    kept(tmp_path / "a/unit.json", {"n": [2]}, make)
    assert len(calls) == 2
    (tmp_path / "a/unit.json").write_text("{")
    with pytest.raises(ValueError, match=r"unit\.json: damaged: .*; remove it, and its work is done again"):
        kept(tmp_path / "a/unit.json", {"n": [2]}, make)


def test_work_on_another_checkpoint_is_not_taken_for_this_ones(tmp_path):
    """Examples, runs and films behind the tokenizer are kept without a word of what they were made of."""
    for _ in range(2):
        based_on(tmp_path / "rl", {"model": "a", "judges": "b"})
    with pytest.raises(ValueError, match=r"rl holds work on another checkpoint \(another judges\): name a new folder, --build"):
        based_on(tmp_path / "rl", {"model": "a", "judges": "c"})


def test_a_run_that_was_stopped_goes_on_to_the_same_tables(tmp_path, monkeypatch):
    done: list[int] = []

    def orders(degree: int):
        if len(done) == 2 and degree == 4 and 4 not in done:
            done.append(4)
            raise KeyboardInterrupt
        done.append(degree)
        row = {"scheme": IMPLICIT, "degree": degree, "sweeps": 0}
        others = [row | {"scheme": name} for name in (FIELD, TERM)]
        slopes = {"ends": float(degree), "between": 1.5, "corrected": 2.5}
        return {
            "errors": [one | {"steps": 8.0, "ends": 1e-3} for one in (row, *others)],
            "orders": [one | slopes for one in (row, *others)],
        }

    monkeypatch.setattr("ernest.results.marching.superconvergence_page.orders", orders)
    place = Place(tmp_path / "build/claims", tmp_path / "out", tmp_path / "model")
    with pytest.raises(KeyboardInterrupt):
        run_targets(["superconvergence"], place)
    run_targets(["superconvergence"], place)
    assert done == [2, 3, 4, 4, 5]
    read = lambda: {file.name: file.read_bytes() for file in (tmp_path / "out/superconvergence").glob("*.csv")}
    tables = read()
    run_targets(["superconvergence"], place)
    assert done == [2, 3, 4, 4, 5]
    assert tables == read()


def test_what_cannot_be_run_is_refused_by_name_and_left_out_otherwise(tmp_path, monkeypatch):
    told: list[str] = []
    ran: list[str] = []
    targets = {
        "one": Target("runs", lambda place: ran.append("one")),
        "two": Target("lacks", lambda place: ran.append("two"), lambda place: "no model"),
    }
    monkeypatch.setattr(running, "TARGETS", targets)
    place = Place(tmp_path / "build", tmp_path / "out", tmp_path / "model", told.append)
    with pytest.raises(ValueError, match="two: no model"):
        run_targets(["two"], place)
    with pytest.raises(ValueError, match="three: expected one of one, two"):
        run_targets(["three"], place)
    assert ran == []
    run_targets([], place)
    assert ran == ["one"]
    assert "two: left out: no model" in told
