"""Ablations: what each changes and that it is put back, that a run is measured once, and what differences say of claims."""

import json
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch

from ernest.config.recipe import SequenceConfig, to_tree
from ernest.data import collate as collating
from ernest.data.store import ExampleStore
from ernest.evaluation.run import CURVE_DIRECTIONS
from ernest.model import encoder
from ernest.model.cost import active_parameters
from ernest.model.encoder import PatchMerger
from ernest.model.router import Router
from ernest.results import ablations, changes, codec, held_out, precision
from ernest.results.ablations import ALL, ARMS, BASE, CNN, EQUAL, FOUR, MLP, NO_FLIPS, PICTURES, SOUNDS, Study, measure
from ernest.results.ablations_judged import CODECS, judge
from ernest.results.ablations_page import write
from ernest.results.held_out import losses
from ernest.results.inference_page import judge as judge_inference
from ernest.results.outcome import read_outcomes
from ernest.results.paired import difference
from ernest.results.sparse import DENSE, ULTRA, USUAL, networks
from ernest.results.sparse import judge as judge_sparse
from ernest.sequence.positions import rotary_angles
from ernest.training import loop, makers
from ernest.training.loss import LossBalancer
from tests.small import documents, network, placed, recipe, tokenizers

TASKS = ("text→image", "image→text", "text→speech", "speech→text", "text", "text→video", "video→text")


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
    monkeypatch.setattr(ablations, "MIXTURES", {name: replace(one, steps=4) for name, one in ablations.MIXTURES.items()})
    for name, value in {"ROWS": 1, "LAST": 2}.items():
        monkeypatch.setattr(ablations, name, value)
    monkeypatch.setattr(ablations, "_drawn", lambda study, arm, network, seed: {"score, text→image": 0.5})
    return Study(demo, tmp_path / "work")


# ------------------------------------------------------------------ changes


def test_places_in_order_are_those_of_ordinary_rotary_embedding():
    rows = [[placed(documents()[1]), placed(documents()[7])]]
    length = sum(len(one.layout) for one in rows[0]) + 2
    with changes.places(changes.in_order):
        batch, of_a_run = collating.collate(rows, length, tokenizers()), makers.collate(rows, length, tokenizers())
    first = len(rows[0][0].layout)
    assert batch.position[0, :first, 1].tolist() == list(range(first))
    assert batch.position[0, first : first + 3, 0].tolist() == [0, 1, 2]
    assert torch.equal(batch.position, of_a_run.position)
    cos, _ = rotary_angles(batch.position, 16, 1e4)
    assert torch.equal(cos[0, 1], cos[0, first + 1])
    with changes.places(changes.in_time):
        batch = collating.collate(rows, length, tokenizers())
    plain = collating.collate(rows, length, tokenizers())
    assert torch.equal(batch.position[..., 1], plain.position[..., 0])
    assert not torch.equal(batch.position, plain.position)


def test_without_feedback_no_code_reaches_a_later_level():
    model = network()
    wrong = lambda: losses(model, store_of(2), tokenizers(), ("text→speech",), wrong_first_codes=True)
    right = lambda: losses(model, store_of(2), tokenizers(), ("text→speech",))
    assert wrong()["codes, level 1"] == right()["codes, level 1"]
    assert wrong()["codes, level 2"] != right()["codes, level 2"]
    with changes.without_feedback():
        assert wrong() == right()


def test_each_path_alone_hears_nothing_of_the_other():
    cnn, vit = torch.randn(3, 4, 12), torch.randn(3, 4, 16)
    for kind, same, other in (
        (changes.CnnAlone, (cnn, 2 * vit), (2 * cnn, vit)),
        (changes.VitAlone, (2 * cnn, vit), (cnn, 2 * vit)),
    ):
        torch.manual_seed(0)
        merge = kind(12, 16, 8)
        assert torch.equal(merge(cnn, vit), merge(*same))
        assert not torch.equal(merge(cnn, vit), merge(*other))
        merge(cnn, vit).sum().backward()
        assert all(parameter.grad is not None for parameter in merge.parameters())
    with changes.merger(changes.MlpMerger):
        assert encoder.PatchMerger is changes.MlpMerger
        assert network().encoder.merger(cnn[:, :, :1].expand(-1, -1, network().spec.features), vit).shape == (3, 64)
    assert encoder.PatchMerger is PatchMerger


def test_weights_of_scales_and_losses_and_the_balance_are_put_back():
    scales = ((1, 1), (2, 2))
    with changes.even_scales(), changes.equal_losses(), changes.steady_balance(), changes.skewed_routers():
        assert collating.scale_weights(scales).tolist() == pytest.approx([0.2] * 5)
        assert set(LossBalancer({"text": 5.0, "vision": 0.1}).weights().values()) == {1.0}
        late = loop.schedule_values(6, recipe().training)
        skewed = loop.build_network(recipe().model, network().spec, recipe().parallel).backbone
        weights = [one.weight.abs() for one in skewed.modules() if isinstance(one, Router)]
    assert late.bias_speed == recipe().training.bias_speed
    assert all(one[: changes.SKEWED].mean() > 5 * one[changes.SKEWED :].mean() for one in weights)
    assert collating.scale_weights(scales)[0] > 0.2
    assert LossBalancer({"text": 5.0, "vision": 0.1}).weights()["vision"] > 1
    assert loop.schedule_values(6, recipe().training).bias_speed == pytest.approx(late.bias_speed / 10)


# ------------------------------------------------------------------ runs


def store_of(*places: int) -> ExampleStore:
    """Some of the documents, without a file."""
    examples = [documents()[place] for place in places]

    class Some(list):
        @property
        def tasks(self) -> dict[str, list[int]]:
            return {task: [i for i, one in enumerate(examples) if one.task == task] for task in TASKS}

    return Some(examples)  # pyright: ignore[reportReturnType]


def test_an_arm_is_trained_and_measured_once(study, monkeypatch):
    arms = [arm for arm in ARMS if (arm.base, arm.name) in {(PICTURES, BASE), (PICTURES, MLP), (ALL, FOUR)}]
    monkeypatch.setattr(ablations, "sized", lambda size: {})
    found = measure(study, 0, arms)
    assert found[PICTURES][BASE]["bits, text→image"] != found[PICTURES][MLP]["bits, text→image"]
    assert found[ALL][FOUR]["swing of the bias"] > 0
    assert found[ALL][FOUR]["text, text"] != found[ALL][FOUR]["text, text, one expert"]
    shares = [found[ALL][FOUR][f"share of the gradient, {name}"] for name in ("text", "vision", "audio")]
    assert sum(shares) == pytest.approx(1)
    assert not (study.build / "seed-0" / arms[0].folder).exists()
    monkeypatch.setattr(ablations, "train", None)
    assert measure(study, 0, arms) == found


def test_arms_differ_from_their_base_in_one_thing(study, monkeypatch):
    """By one field of the recipe, or by what is replaced in code; four of the last kind need the recipe too."""
    tree = lambda arm: json.dumps(to_tree(study.recipe(arm, 0)), sort_keys=True, indent=0).splitlines()
    bases = {arm.base: tree(arm) for arm in ARMS if arm.name == BASE}
    changed = {arm: sum(a != b for a, b in zip(tree(arm), bases[arm.base], strict=True)) for arm in ARMS if arm.name != BASE}
    assert set(changed.values()) == {0, 1}
    assert all(arm.within is not nullcontext for arm, count in changed.items() if count == 0)
    assert len({(arm.base, arm.folder) for arm in ARMS}) == len(ARMS)


# ------------------------------------------------------------------ what is said


def test_differences_tell_only_what_is_beyond_their_interval():
    assert difference([0.5]).is_above() is None
    assert difference([0.5, 0.6, 0.55]).is_above() is True
    assert difference([0.5, 0.6, 0.55]).is_above(0.7) is False
    assert difference([0.5, -0.6, 0.55]).is_above() is None
    assert difference([0.001, 0.002, 0.001]).is_within(0.02) is True
    assert difference([0.1, 0.11, 0.1]).is_within(0.02) is False


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
    one, other = (study.recipe(side, 0) for side in precision.SIDES)
    assert other.training.fp8
    assert replace(other, training=replace(other.training, fp8=False)) == one
    assert len({side.folder for side in (*ARMS, rounded)}) == len(ARMS) + 1


@pytest.mark.parametrize(("gap", "verdict"), [(0.005, "holds"), (0.05, "doesn't hold here"), (-0.02, "holds")])
def test_rounding_may_cost_a_hundredth(gap, verdict, tmp_path):
    base = [dict.fromkeys(precision.LOSSES, 2.0 + seed) for seed in range(3)]
    costs = [gap + 0.0001 * seed for seed in range(3)]
    rounded = [{name: value * (1 + cost) for name, value in one.items()} for one, cost in zip(base, costs, strict=True)]
    precision.write([{BASE: one, precision.FP8: two} for one, two in zip(base, rounded, strict=True)], tmp_path)
    (outcome,) = read_outcomes(tmp_path / "precision").values()
    assert outcome.verdict == verdict
    assert f"| text, text | 3.000 ± 1.000 | {3 * (1 + gap):.3f}" in (tmp_path / "precision.md").read_text()


def test_probes_tell_what_codes_tell():
    rng = np.random.default_rng(0)
    truth = rng.integers(5, size=200)
    telling = np.eye(5)[truth] + rng.normal(0, 0.1, (200, 5))
    assert (codec.probe(telling[:100], truth[:100], telling[100:]) == truth[100:]).mean() > 0.95
    nothing = rng.normal(size=(200, 30))
    assert (codec.probe(nothing[:100], truth[:100], nothing[100:]) == truth[100:]).mean() < 0.5


def test_drafts_and_fewer_experts_are_judged_by_the_median_of_turns():
    turns = {"plain": [2.0, 2.0], "1 ahead": [1.0, 2.5], "2 ahead": [1.0, 1.0]}
    fewer = {"four experts": [1.2, 1.1], "one expert": [1.0, 1.0]}
    found = judge_inference(turns, fewer)
    assert [one.verdict for one in found] == ["holds"] * 2
    assert "1.15 times as fast, 1.10 to 1.20 over 2 turns" in found[1].ours
    assert judge_inference(turns, {way: [1.0, 1.0] for way in fewer})[1].verdict == "doesn't hold here"


def test_sparse_networks_are_of_one_active_size_and_judged_by_seeds():
    sizes = {name: active_parameters(model) for name, model in networks().items()}
    router = networks()[ULTRA].layers * networks()[ULTRA].width * (networks()[ULTRA].experts - 1)
    assert sizes[ULTRA] - sizes[DENSE] == router
    seeds = [as_if_trained(seed) for seed in range(3)]
    assert [one.verdict for one in judge_sparse(seeds)] == ["holds"] * 3
    assert [one.verdict for one in judge_sparse(seeds[:1])] == ["holds", *["can't be judged here"] * 2]
    dead = [
        {name: one | {"experts never chosen": 0.1, "entropy, worst layer": 0.5} for name, one in seed.items()} for seed in seeds
    ]
    assert judge_sparse(dead)[0].verdict == "doesn't hold here"


def as_if_trained(seed: int = 0) -> dict[str, dict[str, float]]:
    """Even load, and scores that are better than those of the dense one."""
    even = {"experts never chosen": 0.0, "entropy, worst layer": 0.99, "largest ÷ mean load, worst layer": 1.5}
    scores = {ULTRA: 0.7, DENSE: 0.6, USUAL: 0.7}
    return {name: even | {f"score, {task}": value + seed / 10 for task in CURVE_DIRECTIONS} for name, value in scores.items()}


def test_held_out_losses_are_means_over_targets():
    model = network()
    found = losses(model, store_of(0, 2, 7), tokenizers(), ("text→image", "text→speech", "text"))
    scales = tokenizers().vision.quantiser.sizes
    cells = [height * width for height, width in scales]
    by_scale = [found[f"bits, text→image, scale {k + 1}"] for k in range(len(scales))]
    assert np.average(by_scale, weights=cells) == pytest.approx(found["bits, text→image"], rel=1e-5)
    corruption = SequenceConfig(bit_flip_rate=0.5)
    tasks = "text→image", "text→speech", "text"
    assert found != losses(model, store_of(0, 2, 7), tokenizers(), tasks, corruption=corruption)
    assert set(held_out.COUNTS) == set(TASKS)
