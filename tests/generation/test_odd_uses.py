"""Uses of the engine that are odd but valid, and those that cannot be: right answers or a clear line, and no wait without end."""

import os
import signal
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import pytest
import torch

from ernest.data.examples import EncodedSegment
from ernest.device import threads
from ernest.generation import sampling
from ernest.generation.drafts import Speculation
from ernest.generation.engine import Engine
from ernest.generation.request import Request
from ernest.generation.sampling import Sampling
from ernest.model.network import Ernest
from ernest.model.submodel import SubModel
from tests.small import BITS, network, tokenizers

PROMPTS = ("a red seven", "seven", "a disk shrinking", "three plus four")
EVERYONE = (tuple(range(8)),) * 6
WHOLE = tuple(range(6))


def text(words: str) -> tuple[EncodedSegment]:
    return (EncodedSegment("text", words, False),)


@cache
def model() -> Ernest:
    return network()


def engine(**how) -> Engine:
    return Engine(model(), tokenizers(), **how)


@cache
def alone(words: str) -> str:
    return engine().texts([text(words)])[0]


def everything() -> list[np.ndarray]:
    """What an engine makes of every kind, given a text, and of a picture, decoded as well."""
    made, picture = engine(), EncodedSegment("pixels", np.full((1, 32, 32, 3), 99, np.uint8), False)
    codes = [answer.segments[0].value.numpy() for answer in made.answers([text("anna says seven")], "audio")]
    words = made.texts([text("a red seven"), (picture,)])
    return [
        *made.pictures([text("a red seven")]),
        *made.sounds([text("anna says seven")]),
        *codes,
        *(np.frombuffer(one.encode("utf-16"), np.uint8) for one in words),
    ]


@pytest.mark.parametrize("default", [torch.float64, torch.bfloat16, "meta"])
def test_answers_do_not_hang_on_torchs_defaults(default):
    """Kernels write to memory that Python gives them: of another type, it would be too small."""
    expected = everything()
    try:
        if default == "meta":
            torch.set_default_device("meta")
        else:
            torch.set_default_dtype(default)
        found = everything()
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)


def test_threads_that_share_an_engine_wait_for_each_other():
    shared = engine()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda words: shared.texts([text(words)])[0], PROMPTS * 3))
    assert found == [alone(words) for words in PROMPTS] * 3


@pytest.mark.parametrize("speculation", [None, Speculation()])
def test_an_engine_that_was_interrupted_takes_new_requests(monkeypatch, speculation):
    broken = engine(speculation=speculation)
    choose, calls = broken._choices.choose, []

    def interrupt(hidden):
        calls.append(len(hidden.rows))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return choose(hidden)

    monkeypatch.setattr(broken._choices, "choose", interrupt)
    with pytest.raises(KeyboardInterrupt):
        broken.generate([Request(text(words), ("text", "image"), samples=2) for words in PROMPTS[:2]])
    assert not broken.busy
    assert broken.texts([text(PROMPTS[0])]) == [alone(PROMPTS[0])]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_answers_too():
    """It has none of PyTorch's threads, and would wait for them for ever."""
    with threads(2), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer Pythons warn of forks beside threads
        shared = engine()
        torch.mm(torch.ones(600, 600), torch.ones(600, 600))  # by several threads
        assert shared.texts([text(PROMPTS[0])]) == [alone(PROMPTS[0])]
        child = os.fork()
        if child == 0:
            signal.alarm(30)
            torch.mm(torch.ones(600, 600), torch.ones(600, 600))
            os._exit(0 if shared.texts([text(PROMPTS[0])]) == [alone(PROMPTS[0])] else 1)
        assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("temperature", [5e-324, 1e-300])
def test_the_lowest_temperature_takes_the_likeliest(monkeypatch, temperature):
    for _ in range(2):
        (answer,) = engine().answers([text(PROMPTS[0])], "text", Sampling(temperature))
        assert tokenizers().text.decode(answer.segments[0].value) == alone(PROMPTS[0])
        assert answer.log_prob == 0
        monkeypatch.setattr(sampling, "choose_classes", lambda *arguments: None)  # without the kernel


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"kinds": "text"}, "kinds = 'text': expected some of text, image, video, audio, such as"),
        ({"kinds": ("picture",)}, r"kinds = \('picture',\): expected some of text, image"),
        ({"kinds": ("video",), "frames": 10}, "frames = 10: a video of this model has at most 9 latents"),
        ({"kinds": ("video",), "first_frames": torch.zeros(10, BITS, 4, 4)}, "first_frames: expected at most 9 latents"),
        ({"kinds": ("video",), "frames": 2, "first_frames": torch.zeros(3, BITS, 4, 4)}, "first_frames: expected at most 2"),
        ({"kinds": ("video",), "first_frames": torch.zeros(1, 3, 4, 4)}, r"got \[1, 3, 4, 4\]"),
        ({"kinds": ("image",), "first_frames": torch.zeros(1, BITS, 4, 4)}, "first_frames: they begin a video"),
        ({"submodel": SubModel((0, 1), EVERYONE, 2)}, r"submodel\.layers = \(0, 1\): expected \[0, 3, 4, 5\]"),
        ({"submodel": SubModel((*WHOLE, 6), EVERYONE, 2)}, r"submodel\.layers = .* others below 6"),
        ({"submodel": SubModel(WHOLE, EVERYONE, 3)}, r"submodel\.top_k = 3: expected 1 to 2"),
        ({"submodel": SubModel(WHOLE, ((0,),) * 6, 2)}, r"submodel\.top_k = 2: expected 1 to 1"),
        ({"submodel": SubModel(WHOLE, EVERYONE, 0)}, r"submodel\.top_k = 0"),
        ({"submodel": SubModel(WHOLE, EVERYONE[:3], 2)}, r"submodel\.experts: expected those of 6 layers, got 3"),
        ({"submodel": SubModel(WHOLE, ((0, 99),) * 6, 2)}, r"submodel\.experts\[0\] = \(0, 99\)"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_a_step(how, message):
    asked = engine()
    with pytest.raises(ValueError, match=message):
        asked.submit(Request(text("a"), **({"kinds": ("text",)} | how)))
    assert not asked.busy


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 1e39])
def test_a_guidance_that_no_logits_bear(value):
    with pytest.raises(ValueError, match=r"guidance = .* must be a number from 0 to 1,000,000"):
        Sampling(guidance=value)


def test_an_engine_needs_a_row():
    with pytest.raises(ValueError, match="rows = 0 must be at least 1"):
        engine(rows=0)
