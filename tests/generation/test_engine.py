"""Whatever the company, an answer is what one pass without cache or company says (rows 2, 11 and 27b of the paper's table)."""

import contextlib
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from ernest.data.collate import collate
from ernest.data.examples import EncodedSegment, Example
from ernest.data.layout import lay_out_example
from ernest.generation.engine import Engine, bf16_pays
from ernest.generation.request import Answer, Event, MaxLengths, Request
from ernest.generation.sampling import Sampling
from ernest.model.network import Ernest
from ernest.model.submodel import SubModel
from tests.references import likelihood
from tests.references.decoding import groups_of
from tests.small import BITS, CODES, Maker, network, tokenizers

LIMITS = MaxLengths(tokens=6, frames=3, codec_frames=4, segments=3)
HALF = SubModel((0, 2, 3, 4, 5), ((0, 1, 2, 5),) * 6, 1)
AS_IS, GREEDY = Sampling(), Sampling(temperature=0.0)
CONTROLS = tokenizers().control_tokens


@pytest.fixture(scope="module")
def model() -> Ernest:
    """Ends of texts, videos and sounds are made likely, so that rows of a batch end at different steps."""
    model = network()
    with torch.no_grad():
        for token in (CONTROLS.eos, CONTROLS.boi, CONTROLS.boa, CONTROLS.eov):
            model.text_head.weight[token] *= 8
        model.audio.code_heads[0].weight[CODES] *= 6
    return model


def prompts() -> list[tuple[EncodedSegment, ...]]:
    """Text, a picture, a sound, a video, several of them, a picture that the model drew before, and nothing at all."""
    make = Maker(np.random.default_rng(3))
    picture = make.pixels()
    return [
        (make.text(False, "a red seven at the top left"),),
        (make.text(False, "a"),),
        (picture,),
        (make.codes(False, 5),),
        (make.pixels(5, True), make.text(False, "what is it?")),
        (picture, make.text(False, "anna says"), make.codes(False, 2)),
        (make.text(False, "a disk"), replace(make.latent(), made=False)),
        (),
    ]


def run(engine: Engine, requests: list[Request]) -> tuple[list[list[Answer]], list[list[list[Event]]]]:
    """Answers, and the events of each sample."""
    tickets = [engine.submit(request) for request in requests]
    events = []
    while engine.busy:
        events += engine.step()
    return _sorted_out(tickets, requests, events)


def _sorted_out(tickets, requests, events):
    of = {(ticket, s): [] for ticket, request in zip(tickets, requests, strict=True) for s in range(request.samples)}
    for event in events:
        of[event.ticket, event.sample].append(event)
    found = [[of[ticket, s] for s in range(r.samples)] for ticket, r in zip(tickets, requests, strict=True)]
    return [[events[-1].answer for events in samples] for samples in found], found


def check(model: Ernest, request: Request, answer: Answer, events: list[Event], submodel: SubModel | None = None) -> None:
    """Every event is a group of the document, with its log-probabilities; what was not chosen is laid down by a rule."""
    *events, end = events
    assert end.answer is answer
    assert answer.log_likelihood == pytest.approx(sum(event.log_likelihood for event in events))
    assert answer.log_prob == pytest.approx(sum(event.log_prob for event in events))
    with torch.inference_mode():
        groups, experts = groups_of(model, tokenizers(), request, answer, request.submodel or submodel)
    position = iter(groups)
    left = iter(events)
    event = next(left, None)
    skipped = []
    for group in position:
        if (
            event is not None
            and group.kind == event.group
            and torch.equal(torch.as_tensor(group.value), torch.as_tensor(event.value))
        ):
            assert event.log_likelihood == pytest.approx(group.log_p, abs=1e-4)
            _check_choice(request, event, group)
            if event.experts is not None:
                n = event.experts.shape[1]
                expected = experts[:, group.position - n + 1 : group.position + 1]
                k = min(expected.shape[-1], (request.submodel or submodel or HALF).top_k)
                assert torch.equal(event.experts[..., :k].sort(-1).values, expected[..., :k].sort(-1).values)
            event = next(left, None)
        else:
            skipped.append(group)
    assert event is None, event
    laid_down = set(vars(CONTROLS).values())
    for group in skipped:
        known = request.first_frames is not None and group.kind == "bits"
        assert known or (group.value in laid_down if group.kind == "token" else bool((group.value == CODES).all()))


def _check_choice(request: Request, event: Event, group) -> None:
    """The log-probability under the policy, where it has no guidance and no top-p; a greedy choice is the likeliest."""
    kind = {"bits": "image", "codes": "audio", "token": "text"}[event.group]
    sampling = request.sampling_of(kind)
    if sampling.guidance or sampling.top_p < 1 or request.sampling is None:
        return
    if event.group == "bits":
        if sampling.temperature == 0:
            sure = group.logits.abs() > 1e-3
            assert torch.equal((group.logits > 0)[sure], event.value[sure])
            assert event.log_prob == 0
        else:
            expected = -F.binary_cross_entropy_with_logits(
                group.logits / sampling.temperature, event.value.float(), reduction="sum"
            )
            assert event.log_prob == pytest.approx(float(expected), abs=2e-3)
    elif event.group == "codes":
        logits = group.logits.clone()
        logits[1:, CODES] = -torch.inf
        levels = 1 if event.value[0] == CODES else len(logits)
        chosen = logits[:levels].gather(1, event.value[:levels, None])[:, 0]
        if sampling.temperature == 0:
            assert (chosen >= logits[:levels].max(-1).values - 1e-4).all()
        else:
            expected = F.log_softmax(logits[:levels] / sampling.temperature, -1).gather(1, event.value[:levels, None]).sum()
            assert event.log_prob == pytest.approx(float(expected), abs=2e-3)


KINDS = ("text", "image", "video", "audio")
REQUESTS = st.builds(
    lambda prompt, kinds, sampling, submodel, samples, seed, frames: Request(
        prompts()[prompt], kinds, sampling, seed, samples, submodel, frames=frames, experts=True
    ),
    st.integers(0, 7),
    st.none() | st.lists(st.sampled_from(KINDS), min_size=1, max_size=3).map(tuple),
    st.sampled_from([AS_IS, GREEDY, Sampling(0.7), Sampling(0.7, 0.8, 1.5), Sampling(0.0, guidance=0.5)]),
    st.sampled_from([None, None, HALF]),
    st.integers(1, 3),
    st.integers(-(10**30), 10**30),
    st.sampled_from([None, None, 2]),
)


@settings(max_examples=12, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(data=st.data(), rows=st.integers(1, 6))
def test_an_answer_is_that_of_one_pass_alone_whatever_comes_and_goes(model, data, rows):
    """Requests of all kinds join, end and are cancelled while others run."""
    engine = Engine(model, tokenizers(), max_lengths=LIMITS, rows=rows)
    requests = data.draw(st.lists(REQUESTS, min_size=1, max_size=5))
    arrivals = [data.draw(st.integers(0, 12)) for _ in requests]
    cancels = [data.draw(st.none() | st.none() | st.integers(0, 20)) for _ in requests]
    tickets: dict[int, int] = {}
    events, step = [], 0
    while engine.busy or len(tickets) < len(requests):
        for n, request in enumerate(requests):
            if arrivals[n] == step:
                tickets[n] = engine.submit(request)
            if cancels[n] is not None and cancels[n] + arrivals[n] == step:
                engine.cancel(tickets[n])
        events += engine.step()
        step += 1
    answers, found = _sorted_out([tickets[n] for n in range(len(requests))], requests, events)
    for request, samples, of_samples in zip(requests, answers, found, strict=True):
        for answer, own in zip(samples, of_samples, strict=True):
            assert sum(event.group == "end" for event in own) == 1
            if answer.end != "cancelled":
                check(model, request, answer, own)


@pytest.mark.parametrize("submodel", [None, HALF], ids=["full", "half"])
@pytest.mark.parametrize("kind", KINDS)
def test_one_segment(model, kind, submodel):
    """All prompts at once; some rows end early, and others go on beside them."""
    engine = Engine(model, tokenizers(), submodel, LIMITS)
    requests = [Request(prompt, (kind,), AS_IS, seed) for seed, prompt in enumerate(prompts())]
    answers, events = run(engine, requests)
    for request, (answer,), (own,) in zip(requests, answers, events, strict=True):
        check(model, request, answer, own, submodel)
    if kind != "image":
        assert {answer.end for (answer,) in answers} == {"end", "length"}


def test_kinds_that_the_model_chooses(model):
    requests = [Request(prompt, None, AS_IS, seed) for prompt in prompts() for seed in range(4)]
    answers, _ = run(Engine(model, tokenizers(), None, LIMITS), requests)
    made = [tuple(segment.kind for segment in answer.segments) for (answer,) in answers]
    assert {kind for kinds in made for kind in kinds} >= {"text", "image", "audio"}
    assert len({len(kinds) for kinds in made}) > 1
    assert max(map(len, made)) <= LIMITS.segments


@torch.inference_mode()
def test_guidance_runs_both_passes_in_one_batch(model):
    """Greedy guided bits are the signs of l + g (l - l_hidden), with both logits from teacher-forced passes over them."""
    quantiser = tokenizers().vision.quantiser
    asked = [p for p in prompts() if p and (p[0].form == "text" or p[-1].form == "text") and p[-1].form != "latent"]
    guidance = 1.5
    made = Engine(model, tokenizers(), None, LIMITS).answers(asked, "image", Sampling(temperature=0.0, guidance=guidance))
    blank = EncodedSegment("latent", np.zeros((1, BITS, 4, 4), np.float16), True)
    logits = []
    for drop_condition in (False, True):
        for prompt, answer in zip(asked, made, strict=True):
            row = lay_out_example(Example((*prompt, blank), ""), tokenizers(), tokenizers().text.encode, drop_condition)
            batch = likelihood.with_bits(collate([[row]], len(row.layout), tokenizers()), [answer.segments[0].bits], quantiser)
            logits.append(model(batch).bits)
    own, hidden = torch.stack(logits).chunk(2)
    guided = own + guidance * (own - hidden)
    bits = torch.stack([answer.segments[0].bits[0] for answer in made])
    sure = guided.abs() > 1e-3
    assert torch.equal((guided > 0)[sure], bits[sure])
    assert ((own > 0) != bits).any()  # without guidance some bits would have been others


def test_a_video_goes_on_from_its_first_frame(model):
    quantiser = tokenizers().vision.quantiser
    engine = Engine(model, tokenizers(), None, LIMITS)
    latent = torch.randn(2, 1, BITS, 4, 4, generator=torch.Generator().manual_seed(0))
    requests = [Request(prompts()[n], ("video",), AS_IS, 4, frames=3, first_frames=latent[n]) for n in range(2)]
    answers, events = run(engine, requests)
    for request, (answer,), (own,), first in zip(requests, answers, events, latent, strict=True):
        check(model, request, answer, own)
        torch.testing.assert_close(answer.segments[0].value[0], quantiser.history(first).total[0])
        assert {event.frame for event in own if event.group == "bits"} == {1, 2}  # only what was chosen is told and counts


@pytest.mark.parametrize("has_bf16", [False, True])
@pytest.mark.parametrize("has_kernels", [False, True])
def test_half_precision_is_for_networks_without_kernels(model, monkeypatch, has_bf16, has_kernels):
    monkeypatch.setattr("ernest.generation.engine.supports_bf16", lambda device: has_bf16)
    monkeypatch.setattr("ernest.generation.engine.usable", lambda part, config: has_kernels)
    assert bf16_pays(model) == (has_bf16 and not has_kernels)


def test_a_seed_fixes_the_answer(model):
    engine = Engine(model, tokenizers(), None, LIMITS)
    first, again, other = (
        torch.stack([a.segments[0].value for a in engine.answers(prompts(), "image", AS_IS, seed)]) for seed in (7, 7, 8)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_sample_does_not_depend_on_how_many_there_are(model):
    """Nor do samples repeat each other."""
    request = Request(prompts()[0], ("image",), AS_IS, seed=3, samples=5)
    (five,), _ = run(Engine(model, tokenizers(), None, LIMITS), [request])
    (two,), _ = run(Engine(model, tokenizers(), None, LIMITS), [replace(request, samples=2)])
    bits = [answer.segments[0].bits for answer in five]
    assert all(torch.equal(mine.segments[0].bits, bits[n]) for n, mine in enumerate(two))
    assert len({one.numpy().tobytes() for one in bits}) == 5


class Counted(contextlib.AbstractContextManager):
    """Counts the positions that an engine runs, and the pictures that the encoder sees."""

    def __init__(self, engine):
        self.engine, self.runs = engine, engine._slots._run

    def __enter__(self):
        self.positions = self.pictures = 0
        self.engine._slots._run = self._run
        self.hook = self.engine.model.encoder.register_forward_pre_hook(self._encoder)
        return self

    def __exit__(self, *_):
        self.hook.remove()

    def _run(self, x, position, places, *rest):
        self.positions += int(places.counts.sum())
        return self.runs(x, position, places, *rest)

    def _encoder(self, module, inputs):
        self.pictures += len(inputs[0].pixels)


@pytest.mark.parametrize("kind", KINDS)
def test_samples_share_their_prompt(model, kind):
    one_token = replace(LIMITS, tokens=1, frames=1, codec_frames=1)
    request = Request(prompts()[5], (kind,), AS_IS, samples=1)
    counts = []
    for samples in (1, 4):
        engine = Engine(model, tokenizers(), None, one_token)
        with Counted(engine) as counted:
            run(engine, [replace(request, samples=samples)])
        counts.append(counted)
    made = {"text": 0, "image": 20, "video": 20, "audio": 1}[kind]  # the cells but the first, and the begin of a sound
    assert counts[1].positions - counts[0].positions == 3 * made
    assert counts[1].pictures == counts[0].pictures == 1


@pytest.mark.parametrize("late", [False, True], ids=["together", "one after the other"])
def test_equal_beginnings_run_once(model, late):
    """Three questions about one picture: the picture is looked at once, whether or not they come at the same time."""
    make = Maker(np.random.default_rng(5))
    picture = (make.pixels(5, True), make.text(False, "a long story about a disk and a red seven at the top left"))
    requests = [Request((*picture, make.text(False, words)), ("text",), GREEDY) for words in ("seven?", "anna?", "disk and")]
    requests[0] = replace(requests[0], kinds=("image",))  # takes more than one step
    engine = Engine(model, tokenizers(), None, LIMITS)
    events = []
    with Counted(engine) as counted:
        tickets = [engine.submit(requests[0])]
        if late:
            events += engine.step()
        tickets += [engine.submit(request) for request in requests[1:]]
        while engine.busy:
            events += engine.step()
    answers, found = _sorted_out(tickets, requests, events)
    assert counted.pictures == 2  # a first frame, and a clip of four
    for request, (answer,), (own,) in zip(requests, answers, found, strict=True):
        check(model, request, answer, own)


def test_a_cancel_ends_a_row_and_leaves_the_others(model):
    engine = Engine(model, tokenizers(), None, LIMITS, rows=2)
    requests = [Request(prompts()[n], ("video",), AS_IS, frames=3) for n in range(3)]
    tickets = [engine.submit(request) for request in requests]
    events = engine.step() + engine.step()
    engine.cancel(tickets[0])
    engine.cancel(tickets[0])
    while engine.busy:
        events += engine.step()
    answers, found = _sorted_out(tickets, requests, events)
    assert [answer.end for (answer,) in answers] == ["cancelled", "end", "end"]
    assert len(found[0][0]) < 5
    for n in (1, 2):
        check(model, requests[n], answers[n][0], found[n][0])
    assert not engine._slots.owners
    engine.cancel(tickets[0])  # long gone
    assert not engine.busy


def test_pictures_videos_sounds_and_texts_have_their_shapes(model):
    engine = Engine(model, tokenizers(), None, LIMITS)
    asked = prompts()[:2]
    assert [picture.shape for picture in engine.pictures(asked)] == [(32, 32, 3)] * 2
    videos = engine.videos(asked, frames=3)
    assert [video.shape for video in videos] == [(3, 32, 32, 3)] * 2
    assert videos[0].dtype == np.uint8
    assert all(isinstance(text, str) for text in engine.texts(asked))
    assert engine.pictures([]) == engine.sounds([]) == engine.texts([]) == []


def test_nothing_said_is_a_moment_of_silence():
    model = network()
    with torch.no_grad():
        model.audio.code_heads[0].weight[CODES] *= -4  # about as likely as all other codes together
    engine = Engine(model, tokenizers(), None, LIMITS)
    codes = [answer.segments[0].value for answer in engine.answers(prompts() * 2, "audio", AS_IS, seed=0)]
    sounds = engine.sounds(prompts() * 2, AS_IS, seed=0)
    assert min(map(len, codes)) == 0 < max(map(len, codes))
    assert [len(sound) for sound in sounds] == [640 * max(1, len(code)) for code in codes]
    assert all(sound.any() == bool(len(code)) for sound, code in zip(sounds, codes, strict=True))


def test_texts_are_whole_at_their_end(model):
    """Random bytes would be broken units half of the time."""
    engine = Engine(model, tokenizers(), None, LIMITS)
    texts = engine.texts([prompts()[0]] * 60, Sampling(temperature=3.0))
    assert all("\ufffd" not in text for text in texts)
    assert len({*map(len, texts)}) > 1


@pytest.mark.parametrize(("field", "value"), [("kinds", ()), ("samples", 0), ("frames", 0)])
def test_requests_that_cannot_be(field, value):
    with pytest.raises(ValueError, match=field):
        Request(**{"prompt": (), "kinds": ("text",), field: value})
