"""Parts of the policy gradient: what is trained, what is measured of it, and when the report's claims hold."""

import numpy as np
import pytest

from ernest.config.rl import HintConfig
from ernest.generation.engine import Engine
from ernest.results import methods_page, replay
from ernest.results.methods import BOUNDS, HINTS, LOGGED, MASKED_UPDATES, NOISE, PLAIN, POOL, POOL_UPDATES, WPSM, Arm, arms
from ernest.results.methods_page import FIG_6, HARD_HINTS, HARD_WPSM, REPLAY, drift, gain, hard, judge, windows
from ernest.results.outcome import read_outcomes
from ernest.results.together import BEFORE
from ernest.rl.rollout import Response, run_rollouts
from tests.rl.small import LIMITS, asks, model
from tests.small import tokenizers

APART = {pair: {task: [6e-3, 1e-3] for task in replay.MADE} for pair in replay.PAIRS}


def arm(entropy_end: float = 1.0, removed: float = 0.0, pool: float = 0.5, hard_share: float = 0.0) -> Arm:
    """Entropy from 1 to its end; half of the prompts are hard and pass with `hard_share`, the others with `pool`."""
    curves = {name: [0.0] * MASKED_UPDATES for name in LOGGED}
    curves["entropy"] = np.linspace(1.0, entropy_end, MASKED_UPDATES).tolist()
    curves["removed"] = [removed] * MASKED_UPDATES
    return Arm(curves, 0.6, [hard_share] * (POOL // 2) + [pool] * (POOL // 2))


def study(**changed: Arm) -> dict[str, Arm]:
    found = {name: arm() for name in (*BOUNDS, PLAIN, WPSM, HINTS)} | {BEFORE: Arm({}, 0.5, arm().pool)}
    return found | {{"GSPO_IcePop": "GSPO+IcePop", "plain": PLAIN, "wpsm": WPSM, "hints": HINTS}.get(n, n): a
                    for n, a in changed.items()}  # fmt: skip


def verdict(claim: str, *seeds: dict[str, Arm], apart=APART) -> str:
    return next(one.verdict for one in judge(seeds, apart) if one.claim == claim)


def test_arms_differ_in_one_thing():
    found = arms(2)
    assert list(found) == ["GSPO", "GSPO+IcePop", "MISC", PLAIN, WPSM, HINTS]
    masks, pools = [found[name] for name in BOUNDS], [found[name] for name in (PLAIN, WPSM, HINTS)]
    assert {(one.rollout.noise, one.tasks[0].pool) for one in masks} == {(NOISE, 0)}
    assert {(one.rollout.noise, one.tasks[0].pool) for one in pools} == {(0.0, POOL)}
    assert [one.objective.method for one in masks] == list(BOUNDS)
    assert [one.objective.bounds for one in masks] == list(BOUNDS.values())
    assert [(one.objective.wpsm_alpha > 0, one.hints != HintConfig()) for one in pools] == [
        (False, False), (True, False), (False, True)
    ]  # fmt: skip
    assert [one.update.steps for one in found.values()] == [MASKED_UPDATES] * 3 + [POOL_UPDATES] * 3
    assert {one.seed for one in found.values()} == {2}


def test_figures_of_a_run():
    assert windows(range(25)).tolist() == [4.5, 14.5]
    assert drift(arm(0.5)) == pytest.approx(-0.44, abs=0.01)
    assert drift(arm(1.6)) == pytest.approx(0.486, abs=0.01)
    one = study(wpsm=arm(hard_share=0.25))
    assert hard(one).sum() == POOL // 2
    assert gain(one, WPSM, PLAIN) == (0.25, 0.0)


def test_misc_must_stay_and_the_masked_mean_must_not():
    wild = study(GSPO_IcePop=arm(1.6))
    assert verdict(FIG_6, wild) == "holds in part"  # of one seed
    assert verdict(FIG_6, wild, wild, wild) == "holds"
    assert verdict(FIG_6, study()) == "holds in part"  # both stay
    assert verdict(FIG_6, study(MISC=arm(1.6))) == "doesn't hold here"
    assert verdict(FIG_6, study(MISC=arm(removed=0.1))) == "doesn't hold here"


def test_hard_prompts_must_gain_by_well_learned_ones_and_by_hints():
    assert verdict(HARD_WPSM, study(wpsm=arm(hard_share=0.1))) == "holds in part"
    assert verdict(HARD_WPSM, *[study(wpsm=arm(hard_share=0.1))] * 3) == "holds"
    assert verdict(HARD_WPSM, study(wpsm=arm(hard_share=0.02))) == "doesn't hold here"
    scattered = Arm(arm().curves, 0.6, [1.0, *[0.0] * (POOL // 2 - 1), *[0.5] * (POOL // 2)])
    assert verdict(HARD_WPSM, study(wpsm=scattered)) == "can't be judged here"
    learnt = study(hints=arm(hard_share=0.4))
    assert verdict(HARD_HINTS, learnt) == "holds in part"
    assert verdict(HARD_HINTS, learnt, learnt, learnt) == "holds"
    assert verdict(HARD_HINTS, study(hints=arm(hard_share=0.4), plain=arm(hard_share=0.4))) == "holds in part"
    assert verdict(HARD_HINTS, study(plain=arm(hard_share=0.4))) == "doesn't hold here"


def test_replayed_experts_must_bring_the_trainer_five_times_closer():
    assert verdict(REPLAY, study()) == "holds"
    near = APART | {"bf16, fp32": {task: [2e-3, 1e-3] for task in replay.MADE}}
    assert verdict(REPLAY, study(), apart=near) == "holds in part"


def test_everything_is_written_after_a_seed(tmp_path):
    methods_page._write([study(GSPO_IcePop=arm(1.6, removed=0.2))], APART, tmp_path)
    page = (tmp_path / "rl.md").read_text()
    assert "| GSPO+IcePop | 0.0000 | 0.2000 | 1.046 | 1.554 | +49% | 0.000 | 0.000 | 0.600 |" in page
    assert f"| {HINTS} | 0.000 | 0.500 | 0.600 | 1.000 |" in page
    assert "| bf16, fp32 | text→image | 6.0e-03 | 1.0e-03 | 6.0 |" in page
    assert len((tmp_path / "rl-methods/curves.csv").read_text().splitlines()) == 1 + 6 * MASKED_UPDATES
    assert (tmp_path / "rl-methods/curves.png").stat().st_size > 1000
    assert len(read_outcomes(tmp_path / "rl-methods")) == 4


def test_on_equal_terms_trainer_and_sampler_are_one():
    made = model()
    engine = Engine(made, tokenizers(), max_lengths=LIMITS, rows=8)
    responses = list(run_rollouts(engine, {(n, 0): Response(ask, ()) for n, ask in enumerate(asks())}, 0, 0).values())
    same = replay.divergence(made, tokenizers(), responses, bf16=False, replays=True)
    assert 0 <= same < 1e-10
    assert replay.divergence(made, tokenizers(), responses, bf16=True, replays=True) > 100 * same
