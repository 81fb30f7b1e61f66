"""Parts of the policy gradient: what is trained, what is measured of it, and when the report's claims hold."""

from dataclasses import replace

import numpy as np
import pytest

from ernest.config.rl import HintConfig, ObjectiveConfig
from ernest.generation.engine import Engine
from ernest.results.outcome import read_outcomes
from ernest.results.rl import methods_page, replay
from ernest.results.rl.methods import (
    BOUNDS,
    FILMS,
    HINTS,
    LOGGED,
    NOISE,
    PAIRS,
    WITHOUT_HINTS,
    WITHOUT_WPSM,
    WORKED,
    WPSM,
    Arm,
    arms,
)
from ernest.results.rl.methods_judged import (
    FIG_6,
    HARD_HINTS,
    HARD_WPSM,
    REPLAY,
    before,
    drift,
    gain,
    hard,
    judge,
    trial_of,
    windows,
)
from ernest.results.rl.study import BEFORE, Study
from ernest.rl.rollout import Response, run_rollouts
from tests.rl.small import LIMITS, asks, model
from tests.small import tokenizers

APART = {pair: {task: [6e-3, 1e-3] for task in replay.MADE} for pair in replay.PAIRS}


def arm(end: float = 1.0, removed: float = 0.0, hard_share: float = 0.0, prompts: int = 5, updates: int = FILMS.updates) -> Arm:
    """Entropy from 1 to its end; two prompts are hard and pass with `hard_share`, the others always."""
    curves = {name: [0.0] * updates for name in LOGGED}
    curves["entropy"] = np.linspace(1.0, end, updates).tolist()
    curves["removed"] = [removed] * updates
    return Arm(curves, [hard_share] * 2 + [1.0] * (prompts - 2))


def worked(hard_share: float = 0.0) -> Arm:
    return arm(hard_share=hard_share, prompts=WORKED.task.pool, updates=WORKED.updates)


def study(**changed: Arm) -> dict[str, Arm]:
    found = dict.fromkeys((*BOUNDS, WPSM, WITHOUT_WPSM), arm()) | dict.fromkeys((HINTS, WITHOUT_HINTS), worked())
    found |= {before(WITHOUT_WPSM): Arm({}, arm().pool), before(WITHOUT_HINTS): Arm({}, worked().pool)}
    names = {"GSPO_IcePop": "GSPO+IcePop", "without_hints": WITHOUT_HINTS, "wpsm": WPSM, "hints": HINTS}
    return found | {names.get(name, name): one for name, one in changed.items()}


def verdict(claim: str, *seeds: dict[str, Arm], apart=APART) -> str:
    return next(one.verdict for one in judge(seeds, apart) if one.claim == claim)


def test_arms_differ_in_one_thing():
    found = {name: recipe for name, (_, recipe) in arms(2).items()}
    assert list(found) == ["GSPO", "GSPO+IcePop", "MISC", WITHOUT_HINTS, HINTS, WITHOUT_WPSM, WPSM]
    assert {found[name].rollout.noise for name in BOUNDS} == {NOISE}
    assert [found[name].objective for name in BOUNDS] == [
        ObjectiveConfig(method, *(bounds or (None, None))) for method, bounds in BOUNDS.items()
    ]
    assert len({replace(found[name], objective=ObjectiveConfig()) for name in BOUNDS}) == 1
    for name, without in PAIRS.items():
        trial, one = trial_of(name), found[name]
        assert (one.rollout.noise, one.tasks, one.update.steps) == (0.0, (trial.task,), trial.updates)
        plain = replace(one.objective, wpsm_alpha=0.0, wpsm_entropy=0.3)
        assert found[without] == replace(one, objective=plain, hints=HintConfig()) != one
    assert {one.seed for one in found.values()} == {2}


def test_figures_of_a_run():
    assert windows(range(13)).tolist() == [2.0, 7.0]
    assert drift(arm(0.5)) == pytest.approx(-0.417, abs=1e-3)
    assert drift(arm(1.6)) == pytest.approx(0.445, abs=1e-3)
    one = study(wpsm=arm(hard_share=0.25))
    assert hard(one, WPSM).tolist() == hard(one, WITHOUT_WPSM).tolist() == [True, True, False, False, False]
    assert gain(one, WPSM) == (0.25, pytest.approx(2 * (0.25 * 0.75 / (2 * FILMS.answers)) ** 0.5))


def test_misc_must_stay_and_the_masked_mean_must_not():
    wild = study(GSPO_IcePop=arm(1.6))
    assert verdict(FIG_6, wild) == "holds in part"  # of one seed
    assert verdict(FIG_6, wild, wild, wild) == "holds"
    assert verdict(FIG_6, study()) == "holds in part"  # both stay
    assert verdict(FIG_6, study(MISC=arm(1.6))) == "doesn't hold here"
    assert verdict(FIG_6, study(MISC=arm(removed=0.1))) == "doesn't hold here"


def test_hard_prompts_must_gain_by_well_learned_ones_and_by_hints():
    assert verdict(HARD_WPSM, study(wpsm=arm(hard_share=0.2))) == "holds in part"
    assert verdict(HARD_WPSM, *[study(wpsm=arm(hard_share=0.2))] * 3) == "holds"
    assert verdict(HARD_WPSM, study(wpsm=arm(hard_share=0.04))) == "can't be judged here"  # two standard errors are .044
    learnt = study(hints=worked(0.4))
    assert verdict(HARD_HINTS, learnt) == "holds in part"
    assert verdict(HARD_HINTS, learnt, learnt, learnt) == "holds"
    assert verdict(HARD_HINTS, study(hints=worked(0.4), without_hints=worked(0.4))) == "holds in part"
    assert verdict(HARD_HINTS, study(without_hints=worked(0.4))) == "doesn't hold here"


def test_replayed_experts_must_bring_the_trainer_five_times_closer():
    assert verdict(REPLAY, study()) == "holds"
    near = APART | {"bf16, fp32": APART["bf16, fp32"] | {"text→image": [2e-3, 1e-3]}}
    assert verdict(REPLAY, study(), apart=near) == "holds in part"


def test_what_has_been_run_is_written_and_judged(tmp_path):
    some = {name: one for name, one in study(GSPO_IcePop=arm(1.6, removed=0.2)).items() if name in BOUNDS}
    methods_page._write([some], APART, tmp_path)
    page = (tmp_path / "rl.md").read_text()
    assert "| GSPO+IcePop | 0.0000 | 0.2000 | 1.063 | 1.537 | +45% | 0.000 | 0.000 | 0.600 |" in page
    assert "Hard prompts" not in page
    assert set(read_outcomes(tmp_path / "rl-methods")) == {FIG_6, REPLAY}
    methods_page._write([study(hints=worked(0.25))], APART, tmp_path)
    page = (tmp_path / "rl.md").read_text()
    assert f"| worked solution | {HINTS} | 2 of 16 | 0.250 | 1.000 | 1.000 | 0.000 |" in page
    assert f"| text→video | {BEFORE} | 2 of 5 | 0.000 | 1.000 | – | – |" in page
    assert "| bf16, fp32 | text→image | 6.0e-03 | 1.0e-03 | 6.0 |" in page
    assert len((tmp_path / "rl-methods/curves.csv").read_text().splitlines()) == 1 + 5 * FILMS.updates + 2 * WORKED.updates
    assert (tmp_path / "rl-methods/curves.png").stat().st_size > 1000
    assert len(read_outcomes(tmp_path / "rl-methods")) == 4


def test_arms_are_trained_once_and_told_as_they_come(tmp_path, monkeypatch):
    trained, written = [], []

    def train(study, build, begun, name, trial, recipe) -> Arm:
        trained.append((begun, name, recipe.seed))
        return worked() if trial is WORKED else arm()

    monkeypatch.setattr(methods_page, "SEEDS", (0,))
    monkeypatch.setattr(methods_page, "train_arm", train)
    monkeypatch.setattr(methods_page, "before_training", train)
    monkeypatch.setattr(methods_page, "_write", lambda found, apart, out: written.append(len(found[0])))
    monkeypatch.setattr(replay, "divergences", lambda begun, judges: APART)
    model_folder = tmp_path / "build/sft/model"
    model_folder.mkdir(parents=True)
    (model_folder / "model.json").write_text("{}")
    (model_folder / "model.safetensors").write_bytes(b"weights")
    methods_page.run_methods(Study(tmp_path / "demo/model", tmp_path / "build"), tmp_path / "methods", tmp_path / "out")
    names = ["GSPO", "GSPO+IcePop", "MISC", WITHOUT_HINTS, WITHOUT_HINTS, HINTS, WITHOUT_WPSM, WITHOUT_WPSM, WPSM]
    assert trained == [(model_folder, name, 0) for name in names]
    assert written == [1, 2, 3, 5, 6, 8, 9]


def test_on_equal_terms_trainer_and_sampler_are_one():
    made = model()
    engine = Engine(made, tokenizers(), max_lengths=LIMITS, rows=8)
    responses = list(run_rollouts(engine, {(n, 0): Response(ask, ()) for n, ask in enumerate(asks())}, 0, 0).values())
    same = replay.divergence(made, tokenizers(), responses, bf16=False, replays=True)
    assert 0 <= same < 1e-10
    assert replay.divergence(made, tokenizers(), responses, bf16=True, replays=True) > 100 * same
