"""Scores a model in one direction: generates an output for each held-out record, verifies it, and picks samples to show."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ernest.data.examples import encode
from ernest.evaluation.directions import Direction, Measure
from ernest.evaluation.results import EvalResult, Sample
from ernest.generation.engine import Engine
from ernest.sequence.record import Kind, Record, Segment, made
from ernest.tokenizers.bundle import Tokenizers
from ernest.tokenizers.vision import to_frames, to_pixels
from ernest.verifiers.judges import Judges
from ernest.verifiers.verdict import Verdict, Verifier, given_text
from ernest.world import video


def evaluate(
    direction: Direction | Measure, engine: Engine, judges: Judges, seed: int, count: int, sample_count: int = 0
) -> tuple[EvalResult, ...]:
    """One result for each criterion of the direction, on held-out records of the world `seed`.

    `count` is the run's number of records, of which the direction takes its share; the first result has `sample_count` samples
    at most.
    """
    if isinstance(direction, Measure):
        return (direction.measure(engine, seed, count, sample_count),)
    records = direction.records(seed, count)
    outputs = generate(direction, records, engine, seed)
    truths = [] if not direction.ceilings else direction.truths(seed, count) if direction.truths else records
    rebuilt = rebuild(truths, engine.tokenizers) if truths and direction.output_kind != "text" else []
    true = [record.segments[-1:] for record in truths]
    verifiers = [criterion.verify(judges) for criterion in direction.criteria if criterion.verify]
    verdicts = [_verdicts(verifier, records, outputs) for verifier in verifiers]
    results = []
    for verifier, judged in zip(verifiers, verdicts, strict=True):
        ceilings = _share(_verdicts(verifier, truths, true)), _share(_verdicts(verifier, truths, rebuilt) if rebuilt else [])
        samples = () if results else _samples(direction, records, outputs, verdicts, seed, sample_count)
        results.append(EvalResult(float(np.mean([verdict.passed for verdict in judged])), len(judged), samples, ceilings))
    return tuple(results)


def generate(direction: Direction, records: Sequence[Record], engine: Engine, seed: int) -> list[list[Segment]]:
    """The model's output for each record: one segment, or none where its answer in words is empty."""
    sampling = direction.sampling
    if direction.first_frame:
        examples = list(encode(records, engine.tokenizers))
        first = torch.stack([torch.from_numpy(example.segments[-1].data[:1]) for example in examples])
        prompts = [example.segments[:-1] for example in examples]
        return _segments("video", engine.videos(prompts, sampling, seed, first, engine.tokenizers.media.frames))
    # What is to be made may be blank or costly to encode: a text takes its place.
    questions = [Record((*(segment for segment in record.segments if not segment.made), made("text", "?"))) for record in records]
    prompts = [example.segments[:-1] for example in encode(questions, engine.tokenizers)]
    if direction.output_kind == "video":  # judges and energies are those of a whole video
        return _segments("video", engine.videos(prompts, sampling, seed, frames=engine.tokenizers.media.frames))
    make = {"text": engine.texts, "image": engine.pictures, "audio": engine.sounds}[direction.output_kind]
    return _segments(direction.output_kind, make(prompts, sampling, seed))


def rebuild(records: Sequence[Record], tokenizers: Tokenizers) -> list[list[Segment]]:
    """The last segment of every record, a picture, a video or a sound, through its tokenizer and back."""
    kind = records[0].segments[-1].kind
    data = [record.segments[-1].data for record in records]
    if kind == "audio":
        with torch.inference_mode():
            return _segments(kind, tokenizers.audio.decode(tokenizers.audio.encode(data)))
    return _segments(kind, rebuild_frames(tokenizers, np.stack(data)))


def rebuild_frames(tokenizers: Tokenizers, pixels: np.ndarray) -> np.ndarray:
    """Frames uint8 `[..., height, width, 3]` through the vision tokenizer and back; `[N, frames, ...]` are films."""
    vision = tokenizers.vision
    if pixels.ndim == 5 and tokenizers.media.temporal_stride > 1:
        with torch.inference_mode():
            films = [vision.quantiser.history(vision.encode_film(to_frames(film))).total for film in pixels]
            return np.stack([to_pixels(vision.decode_film(total))[: pixels.shape[1]].numpy() for total in films])
    flat = to_frames(pixels.reshape(-1, *pixels.shape[-3:]))
    with torch.inference_mode():
        parts = [vision.decode(vision.quantiser.history(vision.encode(part)).total) for part in flat.split(256)]
    return to_pixels(torch.cat(parts)).numpy().reshape(pixels.shape)


def _segments(kind: Kind, data: Sequence[Any] | np.ndarray) -> list[list[Segment]]:
    """An output of one segment each; an empty text is no segment."""
    return [[made(kind, one)] if len(one) else [] for one in data]


def _verdicts(verifier: Verifier, records: Sequence[Record], outputs: Sequence[Sequence[Segment]]) -> list[Verdict]:
    return [verifier(record, output) for record, output in zip(records, outputs, strict=True)]


def _share(verdicts: Sequence[Verdict]) -> float | None:
    """The share that passed, or None of nothing."""
    return float(np.mean([verdict.passed for verdict in verdicts])) if verdicts else None


# ------------------------------------------------------------------ samples


def _samples(
    direction: Direction,
    records: Sequence[Record],
    outputs: Sequence[Sequence[Segment]],
    verdicts: Sequence[Sequence[Verdict]],
    seed: int,
    sample_count: int,
) -> tuple[Sample, ...]:
    """A few of the outputs, drawn at random: records may come in an order of their own."""
    picks = np.random.default_rng(seed).permutation(len(records))[: min(sample_count, direction.most_samples)]
    return tuple(_sample(direction, records[i], outputs[i], [judged[i] for judged in verdicts]) for i in picks)


def _sample(direction: Direction, record: Record, output: Sequence[Segment], verdicts: Sequence[Verdict]) -> Sample:
    """What was given and what was made, side by side; the last verdict is the one that may know of a law."""
    media = {segment.kind: segment.data for segment in record.segments if segment.kind != "text" and not segment.made}
    media |= {segment.kind: segment.data for segment in output}
    correct, law = verdicts[0].passed, verdicts[-1].parts.get("energy law")
    note = record.facts["word"] if direction.title else ""
    if direction.output_kind == "text" and not correct:
        note = f"in truth: {record.segments[-1].data}"
    return Sample(
        direction.sample_kind,
        direction.title or given_text(record),
        media.get("text", "") if direction.output_kind == "text" else None,
        media.get("video", media.get("image")),
        media.get("audio"),
        video.energies(media["video"]) if law is not None else None,
        correct,
        None if law is None else bool(law),
        note,
    )
