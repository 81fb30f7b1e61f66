"""What the commands do with a checkpoint: generate, describe, slice."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch

from ernest.checkpoint import load_expert_importance, load_model, save_model
from ernest.data import media
from ernest.data.examples import EncodedSegment, encode
from ernest.generation.engine import Engine
from ernest.generation.sampling import DEFAULTS, Sampling
from ernest.model.slicing import choose, extract
from ernest.model.submodel import SubModel
from ernest.sequence.record import Kind, Record, given, made

ENDINGS = {"image": ".png", "video": ".gif", "audio": ".wav"}


@dataclass(frozen=True)
class Size:
    """A sub-model's size; None keeps the checkpoint's."""

    layers: int | None = None
    experts: int | None = None
    top_k: int | None = None

    @property
    def whole(self) -> bool:
        return self.layers is None and self.experts is None and self.top_k is None


def generate(
    checkpoint: Path,
    prompt: str,
    to: Kind,
    out: Path | None = None,
    seed: int = 0,
    sampling: tuple[float | None, float | None, float | None] = (None, None, None),
    size: Size = Size(),
) -> str:
    """Answers `prompt` with one segment of kind `to`; returns the text, or a line that names the file written.

    `sampling` is temperature, top-p and guidance, None for the kind's default. Raises ValueError for an empty prompt, a
    checkpoint or a size that cannot be, and for a file name that does not suit the kind.
    """
    if not prompt.strip():
        raise ValueError('the prompt is empty: say what to make, for example "a red seven at the top left"')
    out = out or (None if to == "text" else Path(f"out{ENDINGS[to]}"))
    if out is not None and to != "text" and media.suffix(out) not in media.WRITTEN[to]:
        raise ValueError(f"{out}: a name for {to} ends in {', '.join(media.WRITTEN[to])}")
    usual = DEFAULTS[to]
    temperature, top_p, guidance = (
        mine if mine is not None else default
        for mine, default in zip(sampling, (usual.temperature, usual.top_p, usual.guidance), strict=True)
    )
    engine = _engine(checkpoint, size)
    chosen = Sampling(temperature, top_p, guidance, usual.first_frame_temperature if sampling[0] is None else None)
    asked = [(EncodedSegment("text", prompt, False),)]
    if to == "text":
        answer = engine.texts(asked, chosen, seed)[0]
        if out is not None:
            out.write_text(answer + "\n")
        return answer
    assert out is not None
    if to == "image":
        media.write_image(out, engine.pictures(asked, chosen, seed)[0])
    elif to == "video":
        media.write_video(out, engine.videos(asked, chosen, seed)[0])
    else:
        media.write_audio(out, engine.sounds(asked, chosen, seed)[0])
    return f"{to} written to {out}"


def describe(checkpoint: Path, file: Path, question: str | None = None, size: Size = Size()) -> str:
    """What a file holds, in words, or the answer to a question about it. Raises ValueError for a file that cannot be read."""
    kind = media.kind_of(file)
    if kind is None:
        known = ", ".join(ending for endings in media.SUFFIXES.values() for ending in endings)
        raise ValueError(f"{file}: expected a file that ends in one of {known}")
    data = media.read(file, kind)
    engine = _engine(checkpoint, size)
    segments = [given(kind, data), *([given("text", question)] if question else []), made("text", "?")]
    (document,) = encode([Record(tuple(segments))], engine.tokenizers)
    return engine.texts([document.segments[:-1]])[0]


def cut(checkpoint: Path, out: Path, size: Size) -> str:
    """Writes the sub-model of a size as a checkpoint of its own; returns a line that says what it holds."""
    if size.whole:
        raise ValueError("say what to keep: --layers, --experts or --top-k")
    if out.exists():
        raise ValueError(f"{out} exists already: choose a new folder")
    model, tokenizers = load_model(checkpoint)
    importance = load_expert_importance(checkpoint)
    submodel = choose(model, importance, size.layers, size.experts, size.top_k)
    small = extract(model, submodel)
    kept = torch.stack([importance[layer, list(submodel.experts[layer])] for layer in submodel.layers])
    save_model(out, small, tokenizers, json.loads((checkpoint / "recipe.json").read_text()), kept)
    counts = [sum(p.numel() for p in one.parameters()) for one in (small, model)]
    return (
        f"{out}: {counts[0] / 1e6:.2f} of {counts[1] / 1e6:.2f} million parameters, layers {', '.join(map(str, submodel.layers))}"
    )


def _engine(checkpoint: Path, size: Size) -> Engine:
    model, tokenizers = load_model(checkpoint)
    submodel: SubModel | None = None
    if not size.whole:
        submodel = choose(model, load_expert_importance(checkpoint), size.layers, size.experts, size.top_k)
    return Engine(model, tokenizers, submodel)
