"""The race in time marching: transforms that are counted, costs that are read, and who wins."""

import math

import pytest

from ernest.phasefield import AllenCahn, Grid, Implicit, SemiImplicit
from ernest.phasefield.schemes.exponential import ETDRK4, IMEXBDF4
from ernest.results.marching.extrapolation import ExtrapolatedTerm
from ernest.results.marching.race import ENTRANTS, PEERS, Entrant, Run, cost_at, race, read_runs, step_transforms, timed, waves
from ernest.results.marching.race_page import judge as judge_race
from ernest.results.marching.superconvergence import long_waves

FLOW, GRID = AllenCahn(0.1), Grid.cube(16, 2 * math.pi)


@pytest.mark.parametrize(
    "scheme", [Implicit(3, iteration="picard"), *(form(3, K) for form in (SemiImplicit, ExtrapolatedTerm) for K in (0, 2)),
               ETDRK4(), IMEXBDF4()], ids=str,
)  # fmt: skip
def test_transforms_are_counted_as_they_are_taken(scheme, monkeypatch):
    """Fields that go through the grid's transforms, one by one."""
    taken = 0
    forward, inverse = Grid.modes, Grid.field

    def counted(transform):
        def count(self, tensor):
            nonlocal taken
            taken += math.prod(tensor.shape[: tensor.ndim - 2])
            return transform(self, tensor)

        return count

    stepper = scheme.stepper(FLOW, GRID, long_waves(GRID))
    state = stepper.init(long_waves(GRID))
    for _ in range(4):
        state, _, _ = stepper.step(state, 0.1)
    monkeypatch.setattr(Grid, "modes", counted(forward))
    monkeypatch.setattr(Grid, "field", counted(inverse))
    _, _, stats = stepper.step(state, 0.1)
    assert taken == step_transforms(scheme, stats.iterations, state.has_history)


def test_a_cost_is_read_between_two_runs_on_logarithmic_axes():
    runs = [Run("a", 8, 0.5, 1.0, 10), Run("a", 16, 1e-2, 2.0, 20), Run("a", 32, 1e-6, 8.0, 80)]
    assert cost_at(1e-4, runs, "seconds") == pytest.approx(4.0)
    assert cost_at(1e-2, runs, "transforms") == 20  # nothing is read between a run that is far off and the next
    assert cost_at(1e-7, runs, "seconds") == math.inf
    assert cost_at(0.6, runs, "seconds") == 1.0
    blown_up = [Run("a", 8, math.inf, math.inf, 10), Run("a", 16, 1e-6, 2.0, 20)]
    assert cost_at(1e-4, blown_up, "seconds") == 2.0


def test_a_race_stops_where_the_least_error_is_beaten_and_comes_back_from_json():
    entrants = (Entrant("u", "u", SemiImplicit(3, 2), (16, 64, 256, 1024)), Entrant("etd", "etd", ETDRK4(), (4, 8)))
    found = race(FLOW, entrants, points=16, turns=1)
    runs = read_runs(found["runs"])
    by_name = {name: [run for run in runs if run.name == name] for name in ("u", "etd")}
    assert [run.steps for run in by_name["etd"]] == [4, 8]
    assert by_name["u"][-1].error < 1e-8 < by_name["u"][-2].error
    assert all(run.seconds > 0 for run in runs)
    assert found["doubt"] < 1e-9


def test_a_run_that_blows_up_is_told_as_such():
    entrant = Entrant("u", "u", SemiImplicit(3, 0, 0.0))
    field, seconds, _ = timed(entrant, AllenCahn(0.1, s=400.0), GRID, waves(GRID), 16)
    assert not bool(field.isfinite().all())
    assert seconds == math.inf


def test_a_race_is_won_where_a_form_of_the_paper_is_first():
    """By time at one error of two, by transforms at none."""

    def costs(ours: float, peer: float) -> dict[str, dict[str, float]]:
        return {
            one.name: {"seconds": peer if one.family in PEERS else ours, "transforms": 1.0 if one.family in PEERS else 2.0}
            for one in ENTRANTS
        }

    found = judge_race({(("f", 0.1), 1e-4): costs(2.0, 1.0), (("f", 0.1), 1e-6): costs(1.0, 2.0)})
    assert [one.verdict for one in found] == ["holds in part", "doesn't hold here", *["holds in part"] * 3]
    assert found[0].ours == "a form of the paper is first in 1 of 2 (0 at 1e-04, 1 at 1e-06, 0 at 1e-08)"
