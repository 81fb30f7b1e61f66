"""Two stages of one run (row 30): the table of the schedule, rows that grow in number and in length, what they mean elsewhere."""

import json
import re
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ernest.checkpoint import load_learnt
from ernest.config.recipe import Recipe, find_recipe, load_recipe, to_tree
from ernest.config.stages import fewest_rows, in_longest_rows, longest, part_at, parts, sequence_at, steps_by_rows
from ernest.config.tables import SequenceConfig, TrainingConfig
from ernest.planner.devices import read_devices
from ernest.planner.layout import Layout
from ernest.planner.plan import plan
from ernest.planner.search import search, tried
from ernest.planner.table import show
from ernest.training.group import check_group, process_count
from ernest.training.run_settings import unusual_settings
from ernest.training.schedule import schedule_values

RECIPE = load_recipe(find_recipe("two-stages"))
TABLE = [
    # step, share of the peak, bias speed, weight of the token after next, stage, rows, length
    (0, 1 / 40, 2e-3, 0.3, 1, 8, 256),
    (39, 1.0, 2e-3, 0.3, 1, 14, 256),
    (75, 1.0, 2e-3, 0.3, 1, 20, 256),
    (149, 1.0, 2e-3, 0.3, 1, 31, 256),
    (150, 1.0, 2e-3, 0.3, 1, 32, 256),
    (599, 1.0, 2e-3, 0.3, 1, 32, 256),
    (600, None, 2e-4, 0.1, 2, 16, 512),
    (799, 0.1 + 0.9 / 2, 2e-4, 0.1, 2, 16, 512),
    (800, None, 2e-4, 0.1, 2, 8, 1024),
    (999, 0.1, 2e-4, 0.1, 2, 8, 1024),
]


@pytest.mark.parametrize(("step", "share", "speed", "weight", "stage", "rows", "length"), TABLE)
def test_the_table_of_the_schedule(step, share, speed, weight, stage, rows, length):
    """At the end of warm-up and ramp, on both sides of the border, where rows grow, and at the end."""
    now, part = schedule_values(step, RECIPE.training), part_at(RECIPE, step)
    if share is not None:
        assert now.learning_rate == pytest.approx(2e-3 * share, rel=1e-12)
    assert now.bias_speed == pytest.approx(speed, rel=1e-12)
    assert now.mtp_weight == pytest.approx(weight, rel=1e-12)
    assert (part.stage, part.sequence.rows, part.sequence.length) == (stage, rows, length)


def test_the_rate_falls_from_the_border_on_and_never_before():
    rates = [schedule_values(step, RECIPE.training).learning_rate for step in range(1000)]
    assert set(rates[39:600]) == {2e-3}
    assert all(a > b for a, b in pairwise(rates[599:]))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.floats(0, 1), st.integers(0, 80), st.sampled_from([(), (240,), (240, 480), (180, 360, 480)]))
def test_parts_follow_one_another_and_rows_only_grow(steps, share, ramp, grows_to):
    assume(round(steps * share) >= len(grows_to))
    rows = SequenceConfig(rows=12, length=120, grows_to=grows_to)
    recipe = Recipe(sequence=rows, training=TrainingConfig(steps=steps, decay_share=share, ramp=ramp))
    found = parts(recipe)
    assert [part.begin for part in found] == [0, *(part.end for part in found[:-1])]
    assert found[-1].end == steps
    read = [sequence_at(recipe, step) for step in range(steps)]
    assert read[-1].length == longest(recipe).length == max(120, *grows_to, 0)
    assert min(one.rows for one in read) == fewest_rows(recipe) or steps < 2
    assert steps_by_rows(recipe) == Counter((one.rows, one.length) for one in read)
    positions = [one.rows * one.length for one in read]
    assert positions == sorted(positions)
    assert positions[-1] == 12 * 120 or ramp >= recipe.training.border == steps
    assert all(positions[step] == 12 * 120 for step in range(recipe.training.border, steps))


def test_without_stages_a_run_is_what_it_was():
    recipe = Recipe()
    assert {sequence_at(recipe, step) for step in range(recipe.training.steps)} == {recipe.sequence}
    assert in_longest_rows(recipe) == recipe
    assert unusual_settings(recipe) == {}
    assert unusual_settings(RECIPE)["sequence.grows_to"] == (512, 1024)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sequence.grows_to=[256]", "sequence.grows_to: 256 must be more than 256, the length of the rows before"),
        ("sequence.grows_to=[512, 300]", "sequence.grows_to: 300 must be more than 512"),
        ("sequence.grows_to=[500]", "sequence.grows_to: 500 must divide sequence.rows x sequence.length = 8192"),
        ("training.decay_share=0", "sequence.grows_to: each of 2 lengths needs a step while the rate falls"),
        ("training.ramp=-1", "training.ramp = -1 must be at least 0"),
        ("sequence.grows_to=512", "sequence.grows_to = 512: expected a list, got int"),
    ],
)
def test_mistakes_are_named_in_one_line(override, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        load_recipe(find_recipe("two-stages"), [override])
    assert "\n" not in str(caught.value)


def test_as_many_processes_as_the_fewest_rows(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setattr("ernest.training.group.count_processors", lambda: 64)
    few = replace(
        RECIPE, training=replace(RECIPE.training, ramp=0), sequence=replace(RECIPE.sequence, rows=12, grows_to=(512, 1024))
    )
    assert process_count(few) == fewest_rows(few) == 3
    check_group(replace(few, parallel=replace(few.parallel, replicate=3)))
    with pytest.raises(ValueError, match=r"^4 processes: some steps have 3 rows, and each process takes one$"):
        check_group(replace(few, parallel=replace(few.parallel, replicate=4)))


def test_plans_are_of_the_longest_rows():
    _, device = read_devices("1xH100")
    needs, whole = search(RECIPE, 1, device)[0], replace(RECIPE.sequence, rows=8, length=1024, grows_to=())
    assert needs.plan is not None
    flat = replace(RECIPE, sequence=whole, training=replace(RECIPE.training, ramp=0))
    assert needs.plan == plan(flat, needs.layout, device)
    assert needs.plan.flops > plan(replace(flat, sequence=SequenceConfig()), needs.layout, device).flops
    assert "8,192 positions a step, in mid-training 8 rows of 1,024, as planned here" in show(RECIPE, [needs])
    assert "mid-training" not in show(Recipe(), [needs])
    against = tried(RECIPE, Layout(16), 16, device).against
    assert against == "16 ranks with rows of their own do not share steps of as few as 8 rows"


def test_a_checkpoint_without_words_knows_the_longest_rows(tmp_path):
    (tmp_path / "recipe.json").write_text(json.dumps(to_tree(RECIPE)))
    assert load_learnt(tmp_path).positions == 1024
    (tmp_path / "recipe.json").write_text(json.dumps(to_tree(Recipe())))
    assert load_learnt(tmp_path).positions == 256
