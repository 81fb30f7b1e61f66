"""A score is the share of outputs that are correct, on a model that answers by heart, and every direction runs on a real one."""

from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from ernest.evaluation.directions import DIRECTIONS, Criterion, Direction, held_out
from ernest.evaluation.evaluate import evaluate
from ernest.generation.engine import Engine
from ernest.generation.request import MaxLengths
from ernest.generation.sampling import Sampling
from ernest.lcnet.network import PPLCNet, small_images
from ernest.sequence.record import Record, Segment
from ernest.verifiers import rules
from ernest.verifiers.judges import Judges
from ernest.verifiers.speech import WordJudge
from ernest.verifiers.verdict import Verdict
from ernest.verifiers.vision import FamilyNetwork
from ernest.world import video
from tests.small import network, tokenizers


class ByHeart:
    """An engine that answers the prompts of one call from a list, and remembers how it was asked."""

    def __init__(self, answers: Sequence[Any]) -> None:
        self.answers, self.tokenizers, self.asked = answers, tokenizers(), []
        self.texts = self.pictures = self.sounds = self.videos = self.answer

    def answer(
        self,
        prompts: Sequence[Any],
        sampling: Sampling | None,
        seed: int,
        first: torch.Tensor | None = None,
        frames: int | None = None,
    ) -> Any:
        self.asked.append((prompts, sampling, seed, first))
        return self.answers


def score(name: str, answers: Sequence[Any], count: int, sample_count: int = 0, judges: Judges | None = None):
    return evaluate(DIRECTIONS[name], cast(Engine, ByHeart(answers)), judges or untrained(), 0, count, sample_count)


@cache
def untrained() -> Judges:
    return Judges(PPLCNet(small_images(classes=10)).eval(), FamilyNetwork(9, 6).eval(), WordJudge().eval())


class Knows(torch.nn.Module):
    """A judge that knows the media it was made with, and says class 0 of all others."""

    def __init__(self, media: Sequence[np.ndarray], classes: Sequence[int]) -> None:
        super().__init__()
        self.known = {one.tobytes(): c for one, c in zip(media, classes, strict=True)}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pixels = (x * 255).round().to(torch.uint8).movedim(-3, -1).numpy()
        return torch.nn.functional.one_hot(torch.tensor([self.known.get(one.tobytes(), 0) for one in pixels]), 10).float()


# ------------------------------------------------------------------ scores


@pytest.mark.parametrize("name", ["image→text", "speech→text", "question about image", "questions in words", "video→text"])
def test_a_score_in_words_is_the_share_of_correct_answers(name: str):
    direction = DIRECTIONS[name]
    assert isinstance(direction, Direction)
    answers = [record.segments[-1].data for record in direction.records(0, 10)]
    (result,) = score(name, answers, 10)
    assert (result.value, result.count, result.ceilings, result.samples) == (1.0, len(answers), (1.0, None), ())
    answers[0], answers[1] = answers[0] + " ", ""
    (result,) = score(name, answers, 10)
    assert result.value == pytest.approx((len(answers) - 2) / len(answers))
    assert result.ceilings == (1.0, None)


def test_pictures_count_if_digit_colour_and_place_are_correct():
    """The answers are true pictures of the very captions, in turn with a digit, a colour and a place that are wrong."""
    truths = held_out("text→image")(0, 200)
    by_caption = {record.segments[0].data: record for record in truths}
    direction = Direction(
        *("generation", lambda seed, count: list(by_caption.values())[:8], "image"),
        criteria=DIRECTIONS["text→image"].criteria,
        sample_kind="picture made",
    )
    records = direction.records(0, 8)
    pixels = [record.segments[-1].data for record in records]
    judges = Judges(Knows(pixels, [record.facts["digit"] for record in records]), FamilyNetwork(9, 6), WordJudge())
    (result,) = evaluate(direction, cast(Engine, ByHeart(pixels)), judges, 0, 8)
    assert (result.value, result.ceilings[0]) == (1.0, 1.0)
    assert result.ceilings[1] is not None
    wrong = [*pixels[1:], pixels[0]]
    (result,) = evaluate(direction, cast(Engine, ByHeart(wrong)), judges, 0, 8)
    assert result.value == 0.0


def test_the_law_of_a_video_counts_apart_from_its_family():
    """One of eight is of another family, one more is right but runs backwards."""
    direction = DIRECTIONS["first frame→video"]
    assert isinstance(direction, Direction)
    records = direction.records(0, 24)
    frames = [record.segments[-1].data for record in records]
    families = [video.FAMILIES.index(record.facts["family"]) for record in records]
    backwards = np.ascontiguousarray(frames[1][::-1])
    judges = Judges(
        PPLCNet(small_images(classes=10)),
        Knows([*frames, backwards], [*families, families[1]]),
        WordJudge(),
    )
    other = next(frame for frame, family in zip(frames, families, strict=True) if family != families[0])
    made = [other, backwards, *frames[2:]]
    engine = ByHeart(made)
    family, lawful = evaluate(direction, cast(Engine, engine), judges, 0, 24, sample_count=len(records))
    assert family.value == pytest.approx(1 - 1 / len(records))
    assert lawful.value == pytest.approx(1 - 2 / len(records))
    assert family.ceilings[0] == lawful.ceilings[0] == 1.0
    assert (len(family.samples), lawful.samples) == (len(records), ())
    broken = [sample for sample in family.samples if not sample.obeys_energy_law]
    assert [np.array_equal(sample.pixels, backwards) for sample in broken] == [True]
    assert broken[0].correct
    assert broken[0].curve is not None
    assert np.diff(broken[0].curve).max() > 0
    ((_, _, _, first),) = engine.asked
    assert first is not None
    assert first.shape[:2] == (len(records), 1)


def test_what_is_made_is_asked_for_by_the_given_segments_alone_and_by_the_directions_sampling():
    sampling = Sampling(temperature=0.3, guidance=2.0)
    criterion = Criterion("x", "exact", verify=lambda judges: rules.word)
    direction = Direction("x", held_out("speech→text", Fraction(1, 2)), "text", (criterion,), "x", sampling=sampling)
    engine = ByHeart(["nine"] * 3)
    evaluate(direction, cast(Engine, engine), untrained(), 5, 6)
    ((prompts, asked_by, seed, first),) = engine.asked
    assert [[segment.form for segment in prompt] for prompt in prompts] == [["codes"]] * 3
    assert not any(segment.made for prompt in prompts for segment in prompt)
    assert (asked_by, seed, first) == (sampling, 5, None)


# ------------------------------------------------------------------ samples


def test_samples_are_a_few_of_the_records_with_what_was_said_of_them():
    direction = DIRECTIONS["question about image"]
    assert isinstance(direction, Direction)
    records = direction.records(0, 20)
    answers = [record.segments[-1].data for record in records]
    answers[3:] = ["blue seven"] * 17
    (result,) = score("question about image", answers, 20, sample_count=20)
    assert len(result.samples) == direction.most_samples == 12
    by_prompt = {(record.segments[0].data.tobytes(), record.segments[1].data): record for record in records}
    for sample in result.samples:
        assert sample.pixels is not None
        record = by_prompt[sample.pixels.tobytes(), sample.prompt]
        assert sample.correct is (sample.text == record.segments[-1].data)
        assert sample.note == ("" if sample.correct else f"in truth: {record.segments[-1].data}")
        assert sample.kind == "picture described"
    (fewer,) = score("question about image", answers, 20, sample_count=2)
    assert [sample.prompt for sample in fewer.samples] == [sample.prompt for sample in result.samples[:2]]


def test_a_sample_of_speech_from_a_picture_has_both_and_names_the_word():
    def verify(record: Record, output: Sequence[Segment]) -> Verdict:
        return Verdict(1.0, bool(output[0].data[0]))

    direction = DIRECTIONS["image→speech"]
    assert isinstance(direction, Direction)
    records = direction.records(0, 9)
    direction = Direction(
        *("x", lambda seed, count: records, "audio", (Criterion("x", "x", verify=lambda judges: verify),)),
        sample_kind="untrained",
        title="speak what is drawn",
        most_samples=2,
        ceilings=False,
    )
    waves = [np.full(10, number == 1, np.float32) for number in range(3)]
    (result,) = evaluate(direction, cast(Engine, ByHeart(waves)), cast(Judges, SimpleNamespace()), 0, 9, sample_count=12)
    assert result.value == pytest.approx(1 / 3)
    assert (len(result.samples), result.ceilings) == (2, (None, None))
    for sample in result.samples:
        record = next(record for record in records if np.array_equal(record.segments[0].data, sample.pixels))
        assert (sample.prompt, sample.note, sample.text) == ("speak what is drawn", record.facts["word"], None)
        assert sample.wave is not None
        assert sample.correct is bool(sample.wave[0])


# ------------------------------------------------------------------ a real model


@pytest.mark.parametrize("name", DIRECTIONS)
def test_every_direction_runs_on_a_network_that_has_learnt_nothing(name: str):
    engine = Engine(network(), tokenizers(), max_lengths=MaxLengths(tokens=6, codec_frames=4))
    direction = DIRECTIONS[name]
    results = evaluate(direction, engine, untrained(), 0, 4, sample_count=2)
    assert len(results) == len(direction.criteria)
    assert all(result.count > 0 for result in results)
    assert all(0 <= result.value <= 1 for result in results if name != "text")
    assert 1 <= len(results[0].samples) <= 2
    again = evaluate(direction, engine, untrained(), 0, 4)
    assert [result.value for result in again] == [result.value for result in results]
