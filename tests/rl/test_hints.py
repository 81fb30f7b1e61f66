"""Hints for prompts that no answer passes: when there is one, how long it is, and that nobody is rewarded for it."""

import itertools
import math
from dataclasses import replace

import pytest
import torch

from ernest.config.rl import HintConfig, RLRecipe, RolloutConfig, TaskConfig, UpdateConfig
from ernest.rl import tasks
from ernest.rl.hints import check_hints, hint_length, hint_share, note_turn, true_groups
from ernest.rl.loop import Policy
from ernest.sequence.record import Record, given, made
from ernest.verifiers.verdict import Verdict
from tests.rl.small import model
from tests.rl.test_loop import equal, log_of, timeless, weights
from tests.small import CONFIG, tokenizers

TASK, JUDGE = "questions in words", "answer in words"
HINTS = HintConfig(share=0.6)


# ------------------------------------------------------------------ the schedule


@pytest.mark.parametrize("rate", [0.0, 0.02, 0.1, 0.5, 1.0])
@pytest.mark.parametrize(("share", "decay", "floor"), [(0.6, 1.0, 0.05), (0.9, 0.3, 0.2)])
def test_with_a_constant_rate_the_share_is_that_of_the_report(rate, share, decay, floor):
    """Eq. 5, p = p_0 exp(-gamma t pass), with a floor under pass."""
    config, hard = HintConfig(share, decay, floor), {"x": 0.0}
    for turn in range(80):
        assert hint_share(hard, "x", config) == pytest.approx(share * math.exp(-decay * turn * max(rate, floor)))
        note_turn(hard, "x", True, [True] * round(100 * rate) + [False] * round(100 * (1 - rate)), config)
    assert hint_share(hard, "x", config) < 0.05


def test_the_share_falls_with_every_turn_and_faster_with_more_success():
    shares = []
    for passes in range(5):
        hard = {"x": 0.0}
        falling = []
        for _ in range(10):
            falling.append(hint_share(hard, "x", HINTS))
            note_turn(hard, "x", True, [True] * passes + [False] * (4 - passes), HINTS)
        assert falling[0] == 0.6
        assert all(later < earlier for earlier, later in itertools.pairwise(falling))
        shares.append(falling[-1])
    assert all(easy < hard for hard, easy in itertools.pairwise(shares))


@pytest.mark.parametrize(
    ("before", "hinted", "passed", "after"),
    [
        ({}, False, [False, False], {"x": 0.0}),  # pass@k is 0: hard
        ({}, False, [False, True], {}),
        ({"x": 0.4}, True, [False, True], {"x": 0.9}),
        ({"x": 0.4}, True, [False, False], {"x": 0.45}),  # the floor
        ({"x": 0.4}, False, [False, False], {"x": 0.45}),  # of a hint that came to no group
        ({"x": 0.4}, False, [False, True], {}),  # passed without: hard no longer
        ({"x": 0.4}, True, [], {"x": 0.4}),  # no verdict says anything
        ({"y": 0.4}, False, [True], {"y": 0.4}),
    ],
)
def test_what_a_turn_changes(before, hinted, passed, after):
    note_turn(before, "x", hinted, passed, HINTS)
    assert before == pytest.approx(after)


@pytest.mark.parametrize(
    ("share", "groups", "most", "length"),
    [(0.6, 10, 48, 6), (0.59, 10, 48, 5), (0.99, 1, 48, 0), (0.99, 3, 48, 2), (0.05, 10, 48, 0), (0.9, 100, 48, 47)],
)
def test_a_hint_is_a_part_and_never_all(share, groups, most, length):
    assert hint_length(share, groups, most) == length


# ------------------------------------------------------------------ runs


def recipe(steps, hints=HINTS, order="synchronous", ahead=1, pool=2) -> RLRecipe:
    return RLRecipe(
        (TaskConfig(TASK, (JUDGE,), pool=pool),),
        hints=hints,
        rollout=RolloutConfig(2, 6, order, ahead, rows=0 if ahead == 1 else 6),
        update=UpdateConfig(steps=steps, learning_rate=1e-3, bf16=False, save_every=1, assess=0),
    )


ANSWER = "the answer is a long one"


@pytest.fixture
def judged(monkeypatch):
    """Of two prompts with the same long answer, one passes by a coin and the other never; whoever has a hint passes by a coin."""
    prompt = lambda seed, number: Record((given("text", f"question {number}"), made("text", ANSWER)), TASK)
    monkeypatch.setitem(tasks.TASKS, TASK, replace(tasks.TASKS[TASK], record=prompt))

    def verify(record, output):
        words = output[0].data if output else ""
        may_pass = record.segments[0].data == "question 0" or words.startswith("th")
        passed = may_pass and len(words) % 2 == 0
        return Verdict(float(passed), passed)

    monkeypatch.setitem(tasks.RULES, JUDGE, verify)


def policy(folder, settings) -> Policy:
    folder.mkdir(exist_ok=True)
    return Policy(model(), tokenizers(), None, settings, folder, torch.ones(CONFIG.layers, CONFIG.experts))


@pytest.mark.usefixtures("judged")
def test_a_hard_prompt_is_given_the_first_groups_and_nobody_is_rewarded_for_them(tmp_path):
    run = policy(tmp_path / "run", recipe(2))
    first = run.take_step()
    run.step += 1
    assert "hinted" not in first
    assert run.state.hard == {f"{TASK}: 1": 0.0}
    second = run.take_step()
    truth = true_groups(run.prompts[1][1], tokenizers())
    length = int(0.6 * len(truth))
    assert second["hinted"] == 0.5
    assert second["hint groups"] == length > 2
    for (number, _), response in run.taken.items():
        hint = response.ask.hint
        assert hint == (truth[:length] if number % 2 else ())
        ids = tuple(response.segments[0].value)
        assert ids[: len(hint)] == hint
        assert len(response.choices) == len(ids) - len(hint) + (response.end == "end")
    assert second["mismatch"] <= 1e-5  # the trainer scores what was chosen behind the hint as the sampler did
    assert second["missing routes"] == 0
    assert run.state.success[f"{TASK}: 1"] == 0.0  # a success with a hint is none of the model's own


@pytest.mark.usefixtures("judged")
@pytest.mark.parametrize(
    "changed", [HintConfig(share=0.3), HintConfig(share=0.6, decay=2.0), HintConfig(share=0.6, floor=0.9), HintConfig()], ids=str
)
def test_every_option_changes_a_number(tmp_path, changed):
    told = []
    for n, hints in enumerate((HINTS, changed)):
        run = policy(tmp_path / str(n), recipe(3, hints))
        run.train(lambda step, measures: None)
        told.append([entry.get("hint groups") for entry in log_of(tmp_path / str(n))])
    assert told[0][0] is None
    assert told[0][1] > told[0][2] >= 0
    assert told[0] != told[1]


@pytest.mark.usefixtures("judged")
@pytest.mark.parametrize(("order", "ahead"), [("synchronous", 1), ("U-RB", 3)])
def test_a_run_with_hints_goes_on_bit_for_bit(tmp_path, order, ahead):
    """Rollouts in U-RB overlap with updates, so that states hold some that are taken and have hints."""
    settings = recipe(5, order=order, ahead=ahead)
    settings = replace(settings, rollout=replace(settings.rollout, overlap=order == "U-RB"))
    whole = policy(tmp_path / "whole", settings)
    whole.train(lambda step, measures: None)
    assert any("hinted" in entry for entry in log_of(tmp_path / "whole"))
    for stop in (2, 4):
        policy(tmp_path / "cut", replace(settings, update=replace(settings.update, steps=stop))).train(
            lambda step, measures: None
        )
    resumed = policy(tmp_path / "cut", settings)
    assert resumed.step == 4
    resumed.train(lambda step, measures: None)
    assert timeless(log_of(tmp_path / "cut")) == timeless(log_of(tmp_path / "whole"))
    assert equal(weights(resumed), weights(whole))


def test_hints_are_refused_where_there_can_be_none():
    for settings in (recipe(1, pool=0), replace(recipe(1), tasks=(TaskConfig("text→image", ("digit",), pool=9),))):
        with pytest.raises(ValueError, match="give a task that makes texts a pool"):
            check_hints(settings)
    check_hints(recipe(1))
    for fields, message in (
        ({"share": 1.0}, "hints.share = 1.0 must lie from 0 to below 1"),
        ({"share": 0.5, "floor": 0.0}, "hints.floor = 0.0 must be more than 0"),
        ({"floor": 0.1}, "need a share of more than 0"),
    ):
        with pytest.raises(ValueError, match=message):
            HintConfig(**fields)
    with pytest.raises(ValueError, match=r"pool = -1 must be at least 0"):
        TaskConfig(TASK, (JUDGE,), pool=-1)
