"""Simulated pipelines: closed forms where all passes are alike, a slow reference where they are not; more uneven is slower."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ernest.cli import planner as commands
from ernest.config.recipe import find_recipe, load_recipe
from ernest.planner.devices import DEVICES
from ernest.planner.layout import Layout, read_layout
from ernest.planner.pipeline import expert_share, order, simulate, step_seconds
from ernest.planner.plan import plan

REPORT = Layout(expert=64, tensor=4, pipeline=12, checkpoint_activations=True)
TRILLION = load_recipe(find_recipe("trillion"))


@given(st.integers(1, 6), st.integers(1, 9))
def test_equal_passes_take_all_rows_and_as_many_as_the_other_stages(stages, rows):
    assert step_seconds(np.ones((stages, rows)), np.full((stages, rows), 2.0)) == 3 * (rows + stages - 1)


@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_uneven_passes_end_when_what_they_wait_for_has_ended(stages, rows, seed):
    forward, backward = np.random.default_rng(seed).integers(1, 9, (2, stages, rows)).astype(float)
    assert step_seconds(forward, backward) == relaxed(forward, backward)


def relaxed(forward, backward) -> float:
    """Ends of all passes, moved back until each begins behind the stage's one before and behind the one it needs."""
    stages, rows = forward.shape
    end = {(stage, *one): 0.0 for stage in range(stages) for one in order(stage, stages, rows)}
    for _ in range(len(end)):
        for stage in range(stages):
            plan = [(stage, *one) for one in order(stage, stages, rows)]
            for before, here in pairwise([(stage, True, -1), *plan]):  # nothing stands before the first
                _, ahead, row = here
                need = (stage - 1, True, row) if ahead else (stage + 1, False, row) if stage + 1 < stages else (stage, True, row)
                end[here] = max(end.get(before, 0.0), end.get(need, 0.0)) + (forward if ahead else backward)[stage, row]
    return max(end.values())


@given(st.integers(1, 6), st.integers(1, 9))
def test_each_pass_once_and_no_more_rows_held_than_stages_are_left(stages, rows):
    for stage in range(stages):
        passes = list(order(stage, stages, rows))
        assert sorted(passes) == sorted((ahead, row) for ahead in (True, False) for row in range(rows))
        held = np.cumsum([1 if ahead else -1 for ahead, _ in passes])
        assert held.max() == min(rows, stages - stage)


def test_the_more_uneven_the_slower():
    recipe = load_recipe(find_recipe("small"), ["sequence.rows=16"])
    layout = Layout(expert=4, pipeline=4)
    steps = [simulate(recipe, layout, uneven) for uneven in (0.0, 0.5, 1.0)]
    assert steps == sorted(steps, key=lambda step: step.time)
    assert steps[0].time >= (4 + 3) / 4
    assert steps[0].waiting == pytest.approx(3 / 7, abs=0.05)
    assert all(1 <= step.busiest_rank <= step.busiest_expert for step in steps)
    alone = simulate(recipe, Layout(), 1.0)
    assert (alone.time, alone.waiting, alone.busiest_rank) == pytest.approx((1.0, 0.0, 1.0))
    assert 0 < expert_share(recipe) < 1


def test_a_pipeline_keeps_a_row_for_each_stage_and_waits_for_the_others():
    one = plan(TRILLION, Layout(expert=64, tensor=4), DEVICES["H100"])
    twelve = plan(TRILLION, Layout(expert=64, tensor=4, pipeline=12), DEVICES["H100"])
    assert twelve.activations == pytest.approx(one.activations / 32)  # 12 of 32 rows, a twelfth of the layers
    assert twelve.parameters == pytest.approx(one.parameters / 12)
    assert twelve.compute_seconds == pytest.approx(one.compute_seconds / 12)
    assert twelve.waiting_seconds == pytest.approx(11 / 43 * twelve.seconds)
    assert one.waiting_seconds == 0


def test_the_command_shows_the_layout_of_the_report(capsys):
    commands.plan("trillion", "3072xH100", layout="expert=64,tensor=4,pipeline=12,checkpoint_activations=true")
    shown = capsys.readouterr().out
    assert read_layout("expert=64,tensor=4,pipeline=12,checkpoint_activations=true") == REPORT
    for told in ("1 of 1 layouts fit", "(2.5%)", "pipeline 12", "on paper", "through 12 stages", "Megatron", "DeepSpeed"):
        assert told in shown
    with pytest.raises(ValueError, match=r"unknown field 'layout\.pipelines'; did you mean 'pipeline'"):
        commands.plan("trillion", "3072xH100", layout="pipelines=12")
