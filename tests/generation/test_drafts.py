"""Drafted texts are those of plain decoding, token for token: greedy and sampled, by either drafter, with others beside them."""

from dataclasses import replace
from itertools import product

import pytest
import torch

from ernest.data.collate import collate
from ernest.data.examples import EncodedSegment
from ernest.generation.drafts import Speculation
from ernest.generation.engine import Engine
from ernest.generation.request import MaxLengths, Request
from ernest.generation.sampling import Sampling
from ernest.model import decoding
from ernest.model.submodel import SubModel
from ernest.sequence.groups import TextTokens
from tests.generation.test_engine import check, prompts, run
from tests.small import CONFIG, network, placed_with, tokenizers

LIMITS = MaxLengths(tokens=12, frames=2, codec_frames=3, segments=3)
CONTROLS = tokenizers().control_tokens
HALF = SubModel((0, 2, 3, 4, 5), ((0, 1, 2, 5),) * 6, 1)
FULL = SubModel(tuple(range(6)), (tuple(range(8)),) * 6, 2)


@pytest.fixture(scope="module")
def model():
    """Repeats itself, so that some drafts are right and some are not."""
    model = network()
    with torch.no_grad():
        model.token_embedding.weight *= 8
        for token in (CONTROLS.eos, CONTROLS.boi, CONTROLS.boa):
            model.text_head.weight[token] *= 4
    return model


def requests() -> list[Request]:
    samplings = Sampling(temperature=0.0), Sampling(0.5), Sampling(0.7, 0.9, 1.0)
    kinds = ("text",), None, ("text", "image", "text"), ("audio",)
    every = list(product(enumerate(prompts()), samplings, kinds))
    return [Request(prompt, what, sampling, seed, samples=2) for (seed, prompt), sampling, what in every[::5]]


@pytest.mark.parametrize("drafter", [None, HALF, FULL], ids=["head", "half", "full"])
@pytest.mark.parametrize("kernels", [True, False])
def test_answers_are_those_of_plain_decoding(model, drafter, kernels, monkeypatch):
    if not kernels:
        monkeypatch.setattr(decoding, "_library", lambda: None)
    some = requests() if kernels else requests()[:8]
    plain, _ = run(Engine(model, tokenizers(), max_lengths=LIMITS), some)
    engine = Engine(model, tokenizers(), max_lengths=LIMITS, rows=20, speculation=Speculation(3, drafter))
    drafted, events = run(engine, some)
    for one, other in zip(plain, drafted, strict=True):
        for a, b in zip(one, other, strict=True):
            assert [s.kind for s in a.segments] == [s.kind for s in b.segments]
            for x, y in zip(a.segments, b.segments, strict=True):
                chosen = [torch.as_tensor(part.value if part.bits is None else part.bits) for part in (x, y)]
                assert torch.equal(*chosen)
            assert (a.end, a.log_prob) == (b.end, pytest.approx(b.log_prob, abs=1e-4))
    for request, samples, found in zip(some[::5], drafted[::5], events[::5], strict=True):
        check(model, request, samples[0], found[0])


@pytest.mark.parametrize("least", [0.0, 0.02, 0.9])
@pytest.mark.parametrize("rounds", [1, 3])
def test_texts_that_are_written_in_rounds_are_told_as_without(model, least, rounds, monkeypatch):
    """Token by token with its position, what was allowed, its log-probabilities and experts; beside pictures, and cut down."""
    kinds = ("text",), ("text", "image", "text"), None
    some = [
        Request(
            prompt,
            kinds[n % 3],
            Sampling((0.0, 0.6, 1.2)[n % 3], (1.0, 0.8)[n % 2]),
            n,
            samples=2,
            submodel=(None, HALF)[n % 2],
            experts=True,
        )
        for n, prompt in enumerate(prompts() * 2)
    ]
    engines = [
        Engine(model, tokenizers(), max_lengths=LIMITS, rows=7, speculation=one)
        for one in (None, Speculation(3, None, least, rounds))
    ]
    compiled, steps = engines[1]._writer.compiled, []
    write = compiled.write
    monkeypatch.setattr(compiled, "write", lambda *all_but, rounds: steps.append(rounds) or write(*all_but, rounds))
    (_, plain), (_, drafted) = (run(engine, some) for engine in engines)
    assert max(steps) == rounds
    for one, other in zip(plain, drafted, strict=True):
        for events, same in zip(one, other, strict=True):
            for a, b in zip(events[:-1], same[:-1], strict=True):
                assert torch.equal(torch.as_tensor(a.value), torch.as_tensor(b.value))
                assert (a.group, a.position, a.allowed) == (b.group, b.position, b.allowed)
                assert torch.equal(a.experts, b.experts)
                assert (a.log_prob, a.log_likelihood) == (
                    pytest.approx(b.log_prob, abs=1e-4), pytest.approx(b.log_likelihood, abs=1e-4)
                )  # fmt: skip
            assert events[-1].answer.end == same[-1].answer.end


def test_a_drafter_that_is_the_network_is_always_right():
    """Then a step gives as many tokens as were drafted, and one. Nothing is forbidden here, for drafts know of no such thing."""
    request = Request(prompts()[0], ("text",), Sampling(temperature=0.0))
    model = network()
    with torch.no_grad():
        model.text_head.weight[list(vars(CONTROLS).values())] = 0
    engine = Engine(model, tokenizers(), max_lengths=replace(LIMITS, tokens=9), speculation=Speculation(3, FULL))
    engine._choices._masks = lambda *_: torch.zeros(tokenizers().text.vocab_size)
    engine.submit(request)
    steps = []
    while engine.busy:
        steps.append(len([event for event in engine.step() if event.group == "token"]))
    assert [n for n in steps if n] == [1, 4, 4]


def test_the_head_drafts_what_training_says(model):
    """The first draft of every step is the likeliest token of a teacher-forced pass over the whole answer."""
    engine = Engine(model, tokenizers(), max_lengths=LIMITS, speculation=Speculation(2))
    drafter, drafted = engine._drafter, {}
    inner = drafter.draft

    def draft(rows):
        found = inner(rows)
        drafted[len(rows[0].words)] = found[0][0]
        return found

    drafter.draft, engine._writer = draft, None  # which drafts inside its one call
    (answer,) = engine.answers([prompts()[0]], "text", Sampling(temperature=0.0))
    ids = tuple(answer.segments[0].value)
    row = placed_with((*prompts()[0], EncodedSegment("text", "", True)), TextTokens(ids))
    with torch.inference_mode():
        likeliest = model(collate([[row]], len(row.layout), tokenizers())).mtp.argmax(-1).tolist()
    assert len(drafted) > 2
    assert all(likeliest[words - 1] == token for words, token in drafted.items())


def test_drafts_need_the_head_or_a_sub_model():
    headless = network(config=replace(CONFIG, multi_token=False))
    with pytest.raises(ValueError, match="multi_token"):
        Engine(headless, tokenizers(), speculation=Speculation())
    with pytest.raises(ValueError, match="ahead = 0"):
        Speculation(0)
    with pytest.raises(ValueError, match="least = 1"):
        Speculation(least=1.0)
    with pytest.raises(ValueError, match="rounds = 0"):
        Speculation(rounds=0)
