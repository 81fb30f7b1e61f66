"""All modalities in one run: both orders from one fine-tuning, what is written, and when the claims hold."""

from pathlib import Path

import pytest

from ernest.config.rl import load_rl_recipe
from ernest.results.outcome import read_outcomes
from ernest.results.rl import together
from ernest.results.rl.study import Study
from ernest.results.rl.together import ALL, AT_ONCE, ORDERS, STAGES, WORDS_FIRST, judge, recipe, run_together

TASKS = [task.task for task in recipe(AT_ONCE, 0).tasks]


def passed(share: float, **changed: float) -> dict[str, float]:
    return dict.fromkeys("abcde", share) | changed


def test_orders_differ_in_when_tasks_begin_and_hold_every_modality():
    first, once = recipe(WORDS_FIRST, 3), recipe(AT_ONCE, 3)
    assert {task.begin for task in once.tasks} == {0}
    words = {"worked solution", "questions in words"}
    assert {task.task for task in first.tasks if not task.begin} == words
    assert {task.task for task in first.tasks} >= {"text→image", "text→video", "text→speech", "image→text", "speech→text"}
    assert (first.seed, first.update, first.rollout) == (3, once.update, once.rollout)


def test_a_direction_that_falls_and_one_at_its_ceiling_count():
    """Two standard errors of a difference of shares of 500 are .063 at .5."""
    verdict = lambda before, after: judge(before, {order: [after] for order in ORDERS})[0].verdict
    assert verdict(passed(0.5), passed(0.6)) == "holds"
    assert verdict(passed(0.5), passed(0.6, a=0.52)) == "holds in part"  # within what draws scatter
    assert verdict(passed(0.5, a=0.96), passed(0.6, a=0.955)) == "holds"
    assert verdict(passed(0.5), passed(0.6, a=0.47)) == "doesn't hold here"
    assert verdict(passed(0.5), passed(0.5, a=0.9, b=0.9)) == "doesn't hold here"  # two are up, three are wanted


def test_an_order_is_better_where_every_seed_says_so():
    def verdict(*gaps: float) -> str:
        after = {WORDS_FIRST: [passed(0.6 + gap) for gap in gaps], AT_ONCE: [passed(0.6) for _ in gaps]}
        return judge(passed(0.5), after)[1].verdict

    assert verdict(0.005) == "can't be judged here"
    assert verdict(0.05) == "holds in part"
    assert verdict(0.05, 0.05, 0.06) == "holds"
    assert verdict(0.05, -0.05, 0.2) == "can't be judged here"
    assert verdict(-0.05) == "doesn't hold here"


def test_one_order_alone_is_told():
    found = judge(passed(0.5), {AT_ONCE: [passed(0.6)], WORDS_FIRST: []})
    assert [one.verdict for one in found] == ["holds", "not run yet"]
    assert "| a | 0.500 | 0.600 | +0.100 | 0.063 |" in together._block(
        passed(0.5), {AT_ONCE: [passed(0.6)], WORDS_FIRST: []}, found
    )


def test_both_orders_begin_with_one_fine_tuning_and_are_written_seed_by_seed(tmp_path, monkeypatch):
    trained, looked, tuned = [], [], []

    def reinforce(begun: Path, judges: Path, run: Path, settings, on_step) -> Path:
        trained.append((begun, judges, run.name, settings.seed))
        on_step(9, {"passed": 0.5})
        return run / "model"

    def look(study: Study, begun: Path, model: Path, folder: Path, seed: int) -> dict[str, float]:
        looked.append((model, seed))
        return dict.fromkeys(TASKS, 0.5 if model == begun else 0.62 if "all" in str(model) else 0.58)

    monkeypatch.setattr(together, "SEEDS", (0, 1))
    monkeypatch.setattr(
        "ernest.results.rl.study.fine_tune", lambda checkpoint, run, counts, settings: tuned.append(run) or run / "model"
    )
    monkeypatch.setattr("ernest.results.rl.study.reinforce", reinforce)
    monkeypatch.setattr(together, "_looked", look)
    told: list[str] = []
    study = Study(tmp_path / "demo/model", tmp_path / "build", told.append)
    run_together(study, tmp_path / "out")
    begun = tmp_path / "build/sft/model"
    assert tuned == [tmp_path / "build/sft"]
    names = ["all-at-once-0", "words-first-0", "all-at-once-1", "words-first-1"]
    assert trained == [(begun, tmp_path / "demo/judges", name, int(name[-1])) for name in names]
    assert looked == [(begun, 0), *((tmp_path / "build" / name / "model", int(name[-1])) for name in names)]
    page = (tmp_path / "out/rl.md").read_text()
    assert "| text→video | 0.500 | 0.620 | 0.580 | +0.120 | +0.080 | 0.063 |" in page
    assert "2 seeds of 2" in page
    outcomes = read_outcomes(tmp_path / "out/rl-together")
    assert (outcomes[ALL].verdict, outcomes[STAGES].verdict) == ("holds", "doesn't hold here")
    assert f"words-first-0: update 10 of {recipe(WORDS_FIRST, 0).update.steps}, passed 0.50" in told


def test_a_fine_tuning_that_is_there_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr("ernest.results.rl.study.fine_tune", lambda *arguments: pytest.fail("it was there"))
    (tmp_path / "build/sft/model").mkdir(parents=True)
    (tmp_path / "build/sft/model/model.json").write_text("{}")
    assert Study(tmp_path / "demo/model", tmp_path / "build").fine_tuned() == tmp_path / "build/sft/model"


def test_the_shipped_areas_differ_from_laws_in_what_is_rewarded():
    from ernest.config.recipe import find_recipe

    laws, areas = (load_rl_recipe(find_recipe(name, "rl"), ()) for name in ("laws", "areas"))
    assert (*laws.tasks[0].verifiers, "coarse area law") == areas.tasks[0].verifiers
    assert (laws.rollout, laws.objective, laws.update.steps) == (areas.rollout, areas.objective, areas.update.steps)
