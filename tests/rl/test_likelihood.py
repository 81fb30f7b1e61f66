"""What the trainer says of a response is what the sampler said, element by element, group by group and in sum."""

import pytest
import torch

from ernest.data.examples import EncodedSegment
from ernest.generation.request import Answer, Request
from ernest.generation.sampling import DEFAULTS, Sampling
from ernest.rl.likelihood import check_scales, relative_weights, score
from ernest.rl.response_batch import join, pack_responses
from ernest.rl.rollout import Ask, Response, check_sampling, run_rollouts
from tests.references.decoding import groups_of
from tests.rl.small import HALF, WARM, asks, engine, model, rollouts, same
from tests.small import CONFIG, tokenizers


def scored(made, responses, positions=300, replays=True):
    batches = pack_responses(responses, tokenizers(), CONFIG, positions, replays)
    with torch.no_grad():
        parts = [score(made(one.batch, one.submodels, one.replay), one) for one in batches]
    return batches, join([one.elements for one in batches]), torch.cat([part.log_prob for part in parts])


@pytest.mark.parametrize("submodel", [None, HALF])
@pytest.mark.parametrize("positions", [1, 300, 10_000])
def test_trainer_and_sampler_agree(submodel, positions):
    made = model()
    responses = list(rollouts(made, asks(submodel=submodel)).values())
    batches, elements, found = scored(made, responses, positions)
    assert (found - elements.log_prob).abs().max() <= 1e-5
    assert sum(batch.missing for batch in batches) == 0
    assert set(elements.modality.tolist()) == {0, 1, 2}
    counts = torch.bincount(elements.response, minlength=len(responses)).tolist()
    assert counts == [sum(len(c.log_probs) if c.group != "codes" else _codes(c) for c in r.choices) for r in responses]


def _codes(choice) -> int:
    end = tokenizers().audio.config.codebook
    return 1 if int(choice.value[0]) == end else len(choice.value)


def test_a_response_is_the_sum_of_its_groups_evaluated_one_after_the_other():
    """Against documents of their own, at temperature 1: no packing, no cache."""
    made = model()
    plain = asks(Sampling())
    responses = rollouts(made, plain, samples=1)
    _, elements, found = scored(made, list(responses.values()))
    for n, response in enumerate(responses.values()):
        request = Request(response.ask.prompt, (response.ask.kind,), frames=response.ask.frames)
        answer = Answer(response.segments, 0.0, 0.0, response.end)
        with torch.inference_mode():
            groups, _ = groups_of(made, tokenizers(), request, answer, None)
        at = {(group.position, group.kind): group for group in groups}
        for choice, own in zip(response.choices, _by_group(elements, found, n), strict=True):
            group = at[choice.position, choice.group]
            if choice.group != "token":  # whose choice is among those that may follow
                expected = float(group.log_p) if choice.group == "bits" else _among_allowed(group)
                assert own == pytest.approx(expected, abs=1e-4)
        assert sum(_by_group(elements, found, n)) == pytest.approx(
            sum(float(c.log_probs.sum()) for c in response.choices), abs=1e-4
        )


def _by_group(elements, found, n):
    here = elements.response == n
    groups = elements.group[here].unique()
    return [float(found[here][elements.group[here] == group].sum()) for group in groups]


def _among_allowed(group):
    logits = group.logits.clone()
    logits[1:, -1] = -torch.inf
    levels = 1 if int(group.value[0]) == logits.shape[1] - 1 else len(logits)
    return float(torch.log_softmax(logits[:levels], -1).gather(1, group.value[:levels, None]).sum())


def test_gradients_change_nothing():
    """The same forward pass says the same to the bit, whether it is to be learnt from or not: the first divergence is 0."""
    made = model().requires_grad_(True)
    copied = model().requires_grad_(False)
    for batch in pack_responses(list(rollouts(made, asks()).values()), tokenizers(), CONFIG, 300):
        new = score(made(batch.batch, batch.submodels, batch.replay), batch).log_prob
        reference = score(copied(batch.batch, batch.submodels, batch.replay), batch).log_prob
        assert new.requires_grad
        assert not reference.requires_grad
        assert torch.equal(new.detach(), reference)


@pytest.mark.parametrize(
    "sampling", [DEFAULTS["image"], DEFAULTS["audio"], DEFAULTS["text"], Sampling(first_frame_temperature=0)]
)
def test_a_policy_that_cannot_be_trained_is_refused_by_name(sampling):
    with pytest.raises(ValueError, match=r"mine\.(guidance|top_p|temperature|first_frame_temperature) = "):
        check_sampling(sampling, "mine")
    with pytest.raises(ValueError, match="sampling"):
        rollouts(model(), [Ask((EncodedSegment("text", "a", False),), "image", sampling)], samples=1)


def test_temperatures_count():
    made = model()
    one, other = (rollouts(made, asks(sampling), samples=1) for sampling in (WARM, Sampling(0.7)))
    assert one[1, 0].choices[0].temperature == 1.3
    assert other[1, 0].choices[0].temperature == 0.7
    for made_of in (one, other):
        _, elements, found = scored(made, list(made_of.values()))
        assert (found - elements.log_prob).abs().max() <= 1e-5


def after(steps: int):
    """An end of a phase after so many steps of the engine."""
    left = iter(range(steps))
    return lambda ended: next(left, None) is None


def test_company_order_and_a_cut_change_nothing():
    made = model()
    whole = rollouts(made, asks())
    alone = {}
    for key in reversed(whole):
        alone |= run_rollouts(engine(made), {key: Response(whole[key].ask, ())}, 0, 0)
    few = rollouts(made, asks(), rows=2)
    assert all(same(whole[key], alone[key]) and same(whole[key], few[key]) for key in whole)
    for steps in (1, 3, 6):
        fresh = {key: Response(response.ask, ()) for key, response in whole.items()}
        cut = run_rollouts(engine(made), fresh, 0, 0, after(steps))
        assert any(response.end is None and response.choices for response in cut.values())
        resumed = run_rollouts(engine(made), {k: r for k, r in cut.items() if r.end is None}, 0, 0)
        assert all(same(whole[key], resumed.get(key, cut[key])) for key in whole)


def test_seeds_prompts_samples_and_versions_share_nothing():
    made = model()
    ask = asks()[1]
    key = lambda n, s, seed, version: run_rollouts(engine(made), {(n, s): Response(ask, ())}, seed, version)[n, s]
    drawn = [key(n, s, seed, v) for n in (0, 1) for s in (0, 1) for seed in (42, 43) for v in (0, 1)]
    assert not any(same(drawn[i], drawn[j]) for i in range(16) for j in range(i))


def test_a_cut_response_goes_on_under_newer_weights_and_remembers_both():
    made = model()
    asked = {(n, 0): Response(ask, ()) for n, ask in enumerate(asks())}
    cut = run_rollouts(engine(made), asked, 0, 0, after(4))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(1.01)
    resumed = run_rollouts(engine(made), {key: one for key, one in cut.items() if one.end is None}, 0, 5)
    assert resumed
    for key, response in resumed.items():
        versions = [choice.version for choice in response.choices]
        before = len(cut[key].choices)
        assert versions == [0] * before + [5] * (len(versions) - before)
        _, elements, found = scored(made, [response])
        newer = elements.version == 5
        assert (found - elements.log_prob)[newer].abs().max() <= 1e-5
        if before:
            assert (found - elements.log_prob)[~newer].abs().max() > 1e-4


def test_experts_that_are_not_replayed_are_counted_and_chosen_anew():
    made = model()
    responses = list(rollouts(made, asks()).values())
    batches, elements, found = scored(made, responses, replays=False)
    predicting = sum(len(c.value) if c.group == "bits" else 1 for r in responses for c in r.choices)
    assert sum(batch.missing for batch in batches) == predicting
    assert (found - elements.log_prob).abs().max() <= 1e-3  # the trainer chooses the same here


def test_scales_weigh_as_told():
    elements = join([one.elements for one in pack_responses(list(rollouts(model(), asks()).values()), tokenizers(), CONFIG, 300)])
    sizes = tokenizers().vision.quantiser.sizes
    told = relative_weights(elements, (0.0, 1.0, 3.0), sizes)
    assert {(int(s), float(w)) for s, w in zip(elements.scale, told, strict=True)} == {(-1, 1), (0, 0), (1, 1), (2, 3)}
    usual = relative_weights(elements, (), sizes)
    first, last = (float(usual[elements.scale == scale][0]) for scale in (0, 2))
    assert first == pytest.approx(4 * last)  # sqrt of 16 cells
    with pytest.raises(ValueError, match="scale_weights: expected 3 numbers"):
        check_scales((1.0,), sizes)
