"""What is told of plans beside runs."""

from dataclasses import replace

from benchmarks.model.planner import NETWORKS, beside_plan, recipe, report, spread, typical
from ernest.planner.check import Measured
from ernest.planner.devices import Device
from ernest.planner.layout import Layout
from ernest.planner.plan import plan

HERE = Device(8e9, 1e11, 1e10, 1e9, keeps_shares=True, process=3e8)


def test_a_run_beside_its_plan():
    """One that held a quarter more than planned and took as long; of more processes than processors the time is not judged."""
    needs = plan(recipe("tiny", 2, True), Layout(2, checkpoint_activations=True), HERE, 40)
    run = Measured(recipe("tiny", 2, True), 2, 40, 1.25 * needs.peak, needs.seconds)
    found = report({"a": beside_plan(run, HERE)}, 2)
    assert [(one.row, round(one.value, 6), one.ok) for one in found.figures] == [
        ("planner: memory off, a", 0.2, False),
        ("planner: time off, a", 0.0, True),
    ]
    assert found.tables[0].rows[0][3] == "-20%"
    four = beside_plan(replace(run, recipe=recipe("tiny", 4, False), processes=4), HERE)
    assert [one.row for one in report({"b": four}, 2).figures] == ["planner: memory off, b"]


def test_a_run_taken_several_times_counts_by_its_medians():
    runs = [
        Measured(recipe("tiny", 1, False), 1, 40, memory, seconds) for memory, seconds in ((5e8, 1.0), (6e8, 4.0), (9e8, 1.5))
    ]
    assert (typical(runs).memory, typical(runs).seconds) == (6e8, 1.5)
    assert "Of 3 times the same run, the slowest took 300% longer than the quickest, at most 300%" in spread({"a": runs})
    assert spread({"a": runs[:1]}) == "Each run was taken once."


def test_networks_are_those_that_they_are_called():
    """The second has about four times the parameters of the first."""
    total = {name: plan(recipe(name, 1, False), Layout(), HERE).parameters for name in NETWORKS}
    assert 3.5 < total["4 × tiny"] / total["tiny"] < 4.5
    assert total["small"] > 4e8
