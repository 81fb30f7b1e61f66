"""A network with a window over frames makes films, cached and in company, as one pass without a cache says."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ernest.generation.engine import Engine
from ernest.generation.request import MaxLengths, Request
from ernest.generation.sampling import Sampling
from ernest.model.submodel import SubModel
from tests.generation.test_engine import check, run
from tests.small import CONFIG, Maker, network, tokenizers

LIMITS = MaxLengths(tokens=4, frames=6, codec_frames=3, segments=3)
FEWER = SubModel((0, 2, 3, 4, 5), ((0, 1, 2, 5),) * 6, 1)


@pytest.mark.parametrize("compiled", [True, False])
def test_films_are_those_of_one_pass(compiled, monkeypatch):
    """Behind words, and behind a film that the model drew before; text and a second film follow, and sub-models run beside."""
    if not compiled:
        monkeypatch.setattr("ernest.generation.slots.usable", lambda part, config: False)
    make, model = Maker(np.random.default_rng(3)), network(config=replace(CONFIG, frame_window=2))
    drawn = replace(make.latent(5, True), made=False)
    prompts = [(make.text(False, "a red seven"),), (make.text(False, "a"), drawn)]
    kinds = ("video", "text", "video"), ("video",)
    requests = [Request(prompt, some, Sampling(), 4, frames=5) for prompt in prompts for some in kinds]
    requests += [replace(requests[0], submodel=FEWER), Request(prompts[0], ("image",), Sampling(), 5)]
    answers, events = run(Engine(model, tokenizers(), None, LIMITS), requests)
    for request, (answer,), (own,) in zip(requests, answers, events, strict=True):
        check(model, request, answer, own)
    assert len(answers[0][0].segments[0].value) == 5


def test_guided_films_are_as_far_from_their_twins(monkeypatch):
    """Under guidance the row without words loses the same frames: greedy films by kernels are those without."""
    make, model = Maker(np.random.default_rng(3)), network(config=replace(CONFIG, frame_window=1))
    request = Request((make.text(False, "a red seven"),), ("video",), Sampling(temperature=0.0, guidance=1.0), frames=4)
    films = []
    for compiled in (True, False):
        if not compiled:
            monkeypatch.setattr("ernest.generation.slots.usable", lambda part, config: False)
        ((answer,),) = Engine(model, tokenizers(), None, LIMITS).generate([request])
        films.append(answer.segments[0].value)
    torch.testing.assert_close(*films)
    ((plain,),) = Engine(network(), tokenizers(), None, LIMITS).generate([request])
    assert not torch.equal(plain.segments[0].value, films[0])
