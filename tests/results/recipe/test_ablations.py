"""Ablations: that a run is measured once, what arms differ in, and what differences say of claims."""

import json
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest

from ernest.config.recipe import to_tree
from ernest.data.store import ExampleStore
from ernest.results import small_runs
from ernest.results.outcome import read_outcomes
from ernest.results.recipe import ablations, arms, codec, precision, watched
from ernest.results.recipe.ablations import measure
from ernest.results.recipe.ablations_judged import CODECS, judge
from ernest.results.recipe.ablations_page import write
from ernest.results.recipe.arms import ALL, ARMS, BASE, CNN, EQUAL, FOUR, MIXTURES, MLP, NO_FLIPS, PICTURES, SOUNDS, recipe_of
from ernest.results.small_runs import Study
from tests.results.small import TASKS
from tests.small import documents, recipe, tokenizers


@pytest.fixture
def study(tmp_path, monkeypatch) -> Study:
    """A demo of a document of every direction, which is held out as well."""
    demo = tmp_path / "demo"
    demo.mkdir()
    small = recipe(rows=1)
    (demo / "recipe.json").write_text(json.dumps(to_tree(small)))
    ExampleStore.write(demo / "examples/own", documents())
    ExampleStore.write(tmp_path / "work/held-out/own", documents(1))
    tokenizers().save(demo / "tokenizers")
    for name, one in MIXTURES.items():
        monkeypatch.setitem(arms.MIXTURES, name, replace(one, steps=4))
    monkeypatch.setattr(arms, "ROWS", 1)
    monkeypatch.setattr(watched, "LAST", 2)
    monkeypatch.setattr(ablations, "_drawn", lambda study, arm, network, seed: {"score, text→image": 0.5})
    return Study(demo, tmp_path / "work")


def test_an_arm_is_trained_and_measured_once(study, monkeypatch):
    some = [arm for arm in ARMS if (arm.base, arm.name) in {(PICTURES, BASE), (PICTURES, MLP), (ALL, FOUR)}]
    monkeypatch.setattr(arms, "sized", lambda size: {})
    found = measure(study, 0, some)
    assert found[PICTURES][BASE]["bits, text→image"] != found[PICTURES][MLP]["bits, text→image"]
    assert found[ALL][FOUR]["swing of the bias"] > 0
    assert found[ALL][FOUR]["text, text"] != found[ALL][FOUR]["text, text, one expert"]
    shares = [found[ALL][FOUR][f"share of the gradient, {name}"] for name in ("text", "vision", "audio")]
    assert sum(shares) == pytest.approx(1)
    assert not (study.build / "seed-0" / some[0].folder).exists()
    monkeypatch.setattr(small_runs, "train", None)
    assert measure(study, 0, some) == found


def test_arms_differ_from_their_base_in_one_thing(study, monkeypatch):
    """By one field of the recipe, or by what is replaced in code; four of the last kind need the recipe too."""
    tree = lambda arm: json.dumps(to_tree(recipe_of(study, arm, 0)), sort_keys=True, indent=0).splitlines()
    bases = {arm.base: tree(arm) for arm in ARMS if arm.name == BASE}
    changed = {arm: sum(a != b for a, b in zip(tree(arm), bases[arm.base], strict=True)) for arm in ARMS if arm.name != BASE}
    assert set(changed.values()) == {0, 1}
    assert all(arm.within is not nullcontext for arm, count in changed.items() if count == 0)
    assert len({(arm.base, arm.folder) for arm in ARMS}) == len(ARMS)


def made_up(seed: int) -> dict:
    """Measures in which every arm costs .2 more than its base, beside a noise that all share."""
    noise = np.random.default_rng(seed).normal(0, 0.3)
    names = {
        f"{kind}{more}"
        for kind in (
            *(f"bits, text→image{scale}" for scale in ("", ", scale 1", ", scale 2", ", scale 3", ", flipped history")),
            *(f"text, {task}" for task in TASKS), "bits, text→video", *(f"codes, level {q}" for q in (1, 2, 3, 4)),
        )
        for more in ("", ", one expert")
    }  # fmt: skip
    found: dict = {}
    for arm in ARMS:
        cost = 0.0 if arm.name == BASE else 0.2
        one = dict.fromkeys(names, 2 + noise + cost)
        one |= {"score, text→image": 0.9, "score, image→text": 0.9, "score, text→image, flipped bits": 0.8 - 2 * cost}
        one |= {"codes, level 2, wrong first code": one["codes, level 2"] + 0.3}
        one |= {"entropy, worst layer": 0.99, "largest ÷ mean load, of a batch": 1.5 + 3 * (arm.name.endswith("no bias")),
                "experts never chosen": 0.0, "swing of the bias": 6.0 if "full speed" in arm.name else 1.0,
                "largest share of the gradient": 0.8 if arm.name == EQUAL else 0.5}  # fmt: skip
        one |= {f"share of the gradient, {name}": 1 / 3 for name in ("text", "vision", "audio")}
        found.setdefault(arm.base, {})[arm.name] = one
    probes = {f"{fact}, {place}": 0.95 for fact in ("word", "voice") for place in ("code 1", "the others")}
    hidden = probes | {"voice, code 1": 0.2}
    return found | {CODECS: {codec.TAUGHT: hidden, codec.UNTAUGHT: hidden | {"word, code 1": 0.4}}}


def test_claims_hold_where_every_part_is_missed(tmp_path):
    found = [made_up(seed) for seed in range(3)]
    verdicts = {one.claim: one.verdict for one in judge(found)}
    assert len(verdicts) == 10
    assert set(verdicts.values()) == {"holds"}, verdicts
    assert {one.verdict for one in judge(found[:1])} == {"can't be judged here"}
    del found[2][PICTURES][CNN], found[2][SOUNDS], found[1][PICTURES][NO_FLIPS]
    write(found, tmp_path)
    assert len(read_outcomes(tmp_path / "ablations")) == 10
    assert (tmp_path / "ablations/costs.png").is_file()
    assert "| no flips | 2 |" in (tmp_path / "ablations.md").read_text()
    assert judge([{}]) == []


def test_rounding_is_all_that_differs_from_the_ablations_own_base(study):
    base, rounded = precision.SIDES
    assert base in ARMS
    one, other = (recipe_of(study, side, 0) for side in precision.SIDES)
    assert other.training.fp8
    assert replace(other, training=replace(other.training, fp8=False)) == one
    assert len({side.folder for side in (*ARMS, rounded)}) == len(ARMS) + 1


@pytest.mark.parametrize(("gap", "verdict"), [(0.005, "holds"), (0.05, "doesn't hold here"), (-0.02, "holds")])
def test_rounding_may_cost_a_hundredth(gap, verdict, tmp_path):
    base = [dict.fromkeys(precision.ALL_LOSSES, 2.0 + seed) for seed in range(3)]
    costs = [gap + 0.0001 * seed for seed in range(3)]
    rounded = [{name: value * (1 + cost) for name, value in one.items()} for one, cost in zip(base, costs, strict=True)]
    precision.write([{BASE: one, precision.FP8: two} for one, two in zip(base, rounded, strict=True)], tmp_path)
    (outcome,) = read_outcomes(tmp_path / "precision").values()
    assert outcome.verdict == verdict
    assert f"| text, text | 3.000 ± 1.000 | {3 * (1 + gap):.3f}" in (tmp_path / "precision.md").read_text()
