"""The formulas of the objectives against plain loops, and the traps that other trainers fall into."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ernest.config.rl import ObjectiveConfig
from ernest.rl.objectives import (
    Units,
    element_weights,
    group_advantages,
    kl_to,
    merge_units,
    policy_loss,
    well_learned_share,
)

METHODS = ("GRPO", "GRPO+IcePop", "GSPO", "GSPO+IcePop", "MISC")


def units(lengths, seed=0, drift=0.3, mismatch=0.3):
    """Responses of so many units, with weights 1 / (responses * length)."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda scale: scale * torch.randn(sum(lengths), generator=generator, dtype=torch.float64)
    response = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    weight = torch.cat([torch.full((n,), 1 / (n * len(lengths)), dtype=torch.float64) for n in lengths])
    sampler = -draw(1.0).abs()
    old = sampler + draw(mismatch)
    return Units(response, weight, (old + draw(drift)).requires_grad_(True), old, sampler)


def by_hand(of, advantage, config):
    """Eq. 1, 2 and 3 as loops over responses and units."""
    low, high = config.clip
    M = lambda k: 1.0 if config.bounds is None else k if config.bounds[0] <= k <= config.bounds[1] else 0.0
    total, responses = 0.0, int(of.response.max()) + 1
    for i in range(responses):
        js = [j for j in range(len(of.weight)) if of.response[j] == i]
        new, old, sampler = ([float(getattr(of, name)[j].detach()) for j in js] for name in ("new", "old", "sampler"))
        s = math.exp(sum(n - o for n, o in zip(new, old, strict=True)) / len(js))
        rho = [math.exp(o - p) for o, p in zip(old, sampler, strict=True)]
        mean_rho = math.exp(sum(o - p for o, p in zip(old, sampler, strict=True)) / len(js))
        A = float(advantage[i])
        for j in range(len(js)):
            r = s if config.is_of_sequence else math.exp(new[j] - old[j])
            mask = M(mean_rho if config.method == "GSPO+IcePop" else rho[j])
            total += mask * min(r * A, min(max(r, 1 - low), 1 + high) * A) / len(js) / responses
    return -total


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", range(5))
def test_values_are_those_of_the_equations(method, seed):
    of = units([3, 50, 1, 7], seed)
    advantage = torch.tensor([1.0, -0.5, 2.0, -1.5], dtype=torch.float64)
    config = ObjectiveConfig(method, clip_low=0.1, clip_high=0.2)
    loss = policy_loss(of, advantage, config).loss
    assert (0.0 if loss is None else float(loss.detach())) == pytest.approx(by_hand(of, advantage, config), rel=1e-9)


def gradient(of, advantage, config, share=None):
    of.new.grad = None
    outcome = policy_loss(of, advantage, config, share)
    if outcome.loss is not None:
        outcome.loss.backward()
    return torch.zeros_like(of.new) if of.new.grad is None else of.new.grad.clone()


def test_gspo_has_the_gradient_of_the_geometric_mean():
    of = units([4, 9])
    advantage = torch.tensor([0.7, -1.1], dtype=torch.float64)
    config = ObjectiveConfig("GSPO", clip_low=0.9, clip_high=9.0)
    found = gradient(of, advantage, config)
    new = of.new.detach().clone().requires_grad_(True)
    parts = [(new - of.old)[of.response == i].mean().exp() * advantage[i] / 2 for i in range(2)]
    (-sum(parts)).backward()
    torch.testing.assert_close(found, new.grad)


def test_on_a_matched_policy_misc_is_gspo_and_its_weight_is_one():
    of = units([5, 40], mismatch=0.0)
    advantage = torch.tensor([1.0, -1.0], dtype=torch.float64)
    outcome = policy_loss(of, advantage, ObjectiveConfig("MISC"))
    assert outcome.mean_weight == pytest.approx(1.0, abs=1e-6)
    assert outcome.masked == 0
    torch.testing.assert_close(
        gradient(of, advantage, ObjectiveConfig("MISC")), gradient(of, advantage, ObjectiveConfig("GSPO")), atol=1e-6, rtol=0
    )


def test_the_gradient_does_not_grow_with_the_response():
    """As a mean of log-ratios; sums of them, as corrections of others have it, grow."""
    sums = [
        float(gradient(units([n], drift=0.0), torch.ones(1, dtype=torch.float64), ObjectiveConfig()).sum().abs())
        for n in (10, 1000)
    ]
    assert sums[1] == pytest.approx(sums[0], rel=0.2)


def test_one_unit_out_of_bounds_costs_itself_in_misc_and_the_response_in_gspo():
    """One of fifty with a huge mismatch (row 37 c)."""
    advantage = torch.ones(1, dtype=torch.float64)
    of = units([50], mismatch=0.01)
    before = gradient(of, advantage, ObjectiveConfig("MISC"))
    of.sampler[7] -= 30.0
    after = gradient(of, advantage, ObjectiveConfig("MISC"))
    assert after[7] == 0
    others = [j for j in range(50) if j != 7]
    torch.testing.assert_close(after[others], before[others])
    told = [policy_loss(of, advantage, ObjectiveConfig(method)) for method in ("MISC", "GSPO+IcePop")]
    assert [(round(one.masked, 9), one.removed) for one in told] == [(0.02, 0.0), (1.0, 1.0)]
    whole = gradient(of, advantage, ObjectiveConfig("GSPO+IcePop"))
    assert not whole.any()
    wide = gradient(of, advantage, ObjectiveConfig("GSPO+IcePop", highest=5.0))
    assert wide.all()


def test_the_mask_of_the_report_by_hand():
    """M of Eq. 1 with the bounds .5 and 5 at mismatches below, at, inside, at and above them."""
    rho = torch.tensor([0.49, 0.5, 1.7, 5.0, 5.01], dtype=torch.float64)
    of = units([5], mismatch=0.0, drift=0.0)
    of = Units(of.response, of.weight, of.new, of.old, of.old - rho.log())
    found = -gradient(of, torch.ones(1, dtype=torch.float64), ObjectiveConfig("MISC", lowest=0.4999999, highest=5.0000001)) * 5
    torch.testing.assert_close(found, torch.tensor([0.0, 0.5, 1.7, 5.0, 0.0], dtype=torch.float64))


@pytest.mark.parametrize("method", ["GRPO+IcePop", "MISC"])
@pytest.mark.parametrize("strange", [math.nan, math.inf, -math.inf])
def test_what_is_masked_leaves_no_trace(method, strange):
    """Masked by selection: neither loss nor gradient sees it."""
    of, clean = units([6, 4], mismatch=0.01), units([6, 4], mismatch=0.01)
    new, old = of.new.detach().clone(), of.old.clone()
    new[2], old[2] = strange, strange
    of = Units(of.response, of.weight, new.requires_grad_(True), old, of.sampler)
    advantage, config = torch.tensor([1.0, -1.0], dtype=torch.float64), ObjectiveConfig(method, clip_low=0.9, clip_high=9.0)
    found, expected = gradient(of, advantage, config), gradient(clean, advantage, config)
    assert found.isfinite().all()
    assert found[2] == 0
    others = clean.response == 1
    torch.testing.assert_close(found[others], expected[others])


def test_a_wholly_masked_batch_has_no_loss():
    of = units([3, 4])
    of = Units(of.response, of.weight, of.new, of.old, of.old - 10)
    outcome = policy_loss(of, torch.ones(2, dtype=torch.float64), ObjectiveConfig("MISC"))
    assert (outcome.loss, outcome.masked, outcome.mean_weight) == (None, 1.0, 0.0)
    nothing = Units(*(getattr(of, name)[:0] for name in ("response", "weight", "new", "old", "sampler")))
    assert policy_loss(nothing, torch.zeros(0), ObjectiveConfig()).loss is None


@pytest.mark.parametrize("size", range(3, 17))
@pytest.mark.parametrize("reward", [0.1, 0.7, 0.9, 3.3, 100.1])
def test_equal_rewards_are_no_signal(size, reward):
    """Not even where their mean is not the reward to the last bit."""
    assert group_advantages([reward] * size) == [None] * size
    assert group_advantages([reward] * size, divide_by_spread=False) == [None] * size


def test_rewards_that_differ_by_rounding_are_no_signal():
    """A network's score in single precision, which is not the same in every batch: AdamW would make a whole step of it."""
    assert group_advantages([0.5, 0.5 + 6e-8, 0.5]) == [None] * 3
    assert None not in group_advantages([0.5, 0.50001, 0.5])


def test_a_group_of_one_is_no_signal_and_a_failed_verdict_leaves_the_others_alone():
    assert group_advantages([0.7]) == [None]
    assert group_advantages([None, None]) == [None, None]
    assert group_advantages([]) == []
    with_failed = group_advantages([1.0, None, 0.0, 1.0])
    assert [with_failed[n] for n in (0, 2, 3)] == group_advantages([1.0, 0.0, 1.0])
    assert with_failed[1] is None


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=16).filter(lambda r: max(r) - min(r) > 1e-2))
def test_advantages_have_no_mean_and_a_spread_of_one(rewards):
    found = np.array(group_advantages(rewards))
    assert abs(found.mean()) <= 1e-6
    assert found.std() == pytest.approx(1.0, abs=1e-3)
    plain = np.array(group_advantages(rewards, divide_by_spread=False))
    np.testing.assert_allclose(plain, np.array(rewards) - np.mean(rewards), atol=1e-9)


# ------------------------------------------------------------------ normalisers


def batch_of_a_picture_and_a_sentence():
    """Response 0: 1,000 bits in three groups. Response 1: ten tokens, and 100 bits of a second segment in one group."""
    response = torch.tensor([0] * 1000 + [1] * 110)
    segment = torch.tensor([0] * 1000 + [1] * 10 + [2] * 100)
    group = torch.tensor([0] * 50 + [1] * 200 + [2] * 750 + list(range(3, 13)) + [13] * 100)
    return response, segment, group, torch.ones(1110)


@pytest.mark.parametrize(
    ("normaliser", "shares"),
    [("element", (1000 / 1110, 10 / 1110, 100 / 1110)), ("group", (3 / 14, 10 / 14, 1 / 14)), ("segment", (0.5, 0.25, 0.25))],
)
def test_normalisers_share_the_weight_as_they_say(normaliser, shares):
    response, segment, group, relative = batch_of_a_picture_and_a_sentence()
    weight = element_weights(response, segment, group, relative, normaliser)
    assert float(weight.sum()) == pytest.approx(1.0, abs=1e-5)
    assert [float(weight[segment == s].sum()) for s in range(3)] == pytest.approx(shares, abs=1e-5)


def test_by_default_a_picture_does_not_drown_an_answer():
    response, segment, group, relative = batch_of_a_picture_and_a_sentence()
    weight = element_weights(response, segment, group, relative, ObjectiveConfig().normaliser)
    assert float(weight[response == 1].sum()) == pytest.approx(0.5, abs=1e-5)


def test_relative_weights_share_within():
    response, segment, group, relative = batch_of_a_picture_and_a_sentence()
    relative = relative.clone()
    relative[:50] = 4.0
    weight = element_weights(response, segment, group, relative, "segment")
    assert float(weight[:50].sum() / weight[:1000].sum()) == pytest.approx(200 / 1150, abs=1e-5)
    assert float(weight[:1000].sum()) == pytest.approx(0.5, abs=1e-5)


def test_groups_add_up():
    of = units([4, 2])
    merged = merge_units(of, torch.tensor([0, 0, 1, 1, 2, 2]))
    for name in ("weight", "new", "old", "sampler"):
        torch.testing.assert_close(getattr(merged, name), getattr(of, name).view(3, 2).sum(1))
    assert merged.response.tolist() == [0, 0, 1]


# ------------------------------------------------------------------ WPSM and KL


def test_well_learned_positives_are_those_of_the_equation():
    config = ObjectiveConfig(wpsm_alpha=0.75, wpsm_accuracy=0.8, wpsm_entropy=0.5)
    entropy = torch.tensor([0.4, 0.4, 0.6, 0.4])
    share = well_learned_share(entropy, [0.9, 0.8, 0.9, 0.9], torch.tensor([1.0, 1.0, 1.0, -1.0]), 1.0, config)
    assert share.tolist() == [0.25, 1.0, 1.0, 1.0]
    both = ObjectiveConfig(wpsm_alpha=0.75, wpsm_entropy=0.5, wpsm_positive=False)
    assert well_learned_share(entropy, [0.9] * 4, torch.tensor([1.0, 1.0, 1.0, -1.0]), 1.0, both).tolist() == [
        0.25,
        0.25,
        1.0,
        0.25,
    ]
    assert well_learned_share(entropy, [1.0] * 4, torch.ones(4), None, config).tolist() == [1.0] * 4


@pytest.mark.parametrize("alpha", [0.3, 1.0])
def test_their_share_of_the_gradient_is_one_minus_alpha(alpha):
    of = units([5, 5], mismatch=0.01)
    advantage = torch.tensor([1.0, 1.0], dtype=torch.float64)
    config = ObjectiveConfig("MISC", clip_low=0.9, clip_high=9.0)
    plain = gradient(of, advantage, config)
    shared = gradient(of, advantage, config, torch.tensor([1.0 - alpha, 1.0], dtype=torch.float64))
    torch.testing.assert_close(shared[:5], (1 - alpha) * plain[:5])
    torch.testing.assert_close(shared[5:], plain[5:])


def test_the_divergence_is_zero_of_equals_and_never_negative():
    new = -torch.rand(1000, dtype=torch.float64)
    weight = torch.full((1000,), 1e-3, dtype=torch.float64)
    assert float(kl_to(new, new, weight)) == 0
    assert float(kl_to(new + 0.1 * torch.randn(1000, dtype=torch.float64), new, weight)) > 0


# ------------------------------------------------------------------ every option counts or is refused


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (ObjectiveConfig("MISC"), ObjectiveConfig("MISC", lowest=0.99)),
        (ObjectiveConfig("MISC"), ObjectiveConfig("MISC", highest=1.01)),
        (ObjectiveConfig("MISC"), ObjectiveConfig("MISC", clip_low=0.3)),
        (ObjectiveConfig("MISC"), ObjectiveConfig("MISC", clip_high=0.3)),
        (ObjectiveConfig("GRPO"), ObjectiveConfig("GRPO", clip_low=0.01)),
        (ObjectiveConfig("GRPO"), ObjectiveConfig("GRPO", clip_high=0.01)),
        *((ObjectiveConfig(one), ObjectiveConfig(other)) for one in METHODS for other in METHODS if one < other),
    ],
)
def test_options_of_the_loss_change_it(before, after):
    of = units([8] * 8, drift=0.2, mismatch=0.02)
    advantage = torch.tensor([1.0, -1.0] * 4, dtype=torch.float64)
    one, other = (float(policy_loss(of, advantage, config).loss.detach()) for config in (before, after))
    assert one != pytest.approx(other, rel=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "GSPO", "lowest": 0.5}, "GSPO has no bounds"),
        ({"method": "GRPO", "highest": 2.0}, "GRPO has no bounds"),
        ({"lowest": 1.5}, "must hold 1 between them"),
        ({"lowest": 0.0}, "must hold 1 between them"),
        ({"clip_low": 1.0}, r"clip_low = 1\.0"),
        ({"clip_high": 0.0}, r"clip_high = 0\.0"),
        ({"scale_weights": (0.0, 0.0, 0.0)}, "scale_weights"),
        ({"scale_weights": (1.0, -1.0, 1.0)}, "scale_weights"),
        ({"kl": -0.1}, "kl"),
        ({"wpsm_alpha": 1.5}, "wpsm_alpha"),
        ({"wpsm_entropy": 0.5}, "need a wpsm_alpha"),
        ({"wpsm_positive": False}, "need a wpsm_alpha"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ObjectiveConfig(**options)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.sampled_from(METHODS), st.integers(0, 999))
def test_losses_of_parts_add_up(lengths, method, seed):
    """Parts hold whole responses; an update is worked out in as many as fit into memory."""
    of = units(lengths, seed)
    advantage = torch.randn(len(lengths), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    config = ObjectiveConfig(method)
    whole = policy_loss(of, advantage, config).loss
    parts = [policy_loss(of.select(of.response == i), advantage, config).loss for i in range(len(lengths))]
    whole = 0.0 if whole is None else float(whole.detach())
    assert whole == pytest.approx(sum(float(part.detach()) for part in parts if part is not None), abs=1e-9)
