"""What `ernest generate`, `describe` and `slice` do: load a checkpoint, answer a prompt or a file, or write a sub-model.

What can be refused without torch is refused before torch is imported, which takes seconds.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from ernest.checkpoint import check_checkpoint, load_expert_importance, load_model, save_model
from ernest.config.submodel_size import FULL_SIZE, SubModelSize
from ernest.data import media
from ernest.sequence.record import Kind, given

if TYPE_CHECKING:
    from ernest.generation.engine import Engine

ENDINGS = {"image": ".png", "video": ".gif", "audio": ".wav"}


def generate(
    checkpoint: Path,
    prompt: str,
    to: Kind,
    out: Path | None = None,
    seed: int = 0,
    temperature: float | None = None,
    top_p: float | None = None,
    guidance: float | None = None,
    size: SubModelSize = FULL_SIZE,
) -> str:
    """Answers `prompt` with one segment of kind `to`; returns the text, or a line that names the file written.

    None stands for the kind's default. Raises ValueError for an empty prompt, a checkpoint or a size that cannot be, and for
    a file name that does not suit the kind.
    """
    if not prompt.strip():
        raise ValueError('the prompt is empty: say what to make, for example "a red seven at the top left"')
    out = out or (None if to == "text" else Path(f"out{ENDINGS[to]}"))
    if out is not None and to != "text" and media.suffix(out) not in media.WRITTEN[to]:
        raise ValueError(f"{out}: a name for {to} ends in {', '.join(media.WRITTEN[to])}")
    check_checkpoint(checkpoint)
    from ernest.data.examples import EncodedSegment
    from ernest.generation.sampling import DEFAULTS, Sampling

    defaults = DEFAULTS[to]
    sampling = Sampling(
        defaults.temperature if temperature is None else temperature,
        defaults.top_p if top_p is None else top_p,
        defaults.guidance if guidance is None else guidance,
        defaults.first_frame_temperature if temperature is None else None,
    )
    engine = _engine(checkpoint, size)
    prompts = [(EncodedSegment("text", prompt, False),)]
    if to == "text":
        answer = engine.texts(prompts, sampling, seed)[0]
        if out is not None:
            out.write_text(answer + "\n")
        return answer
    assert out is not None
    if to == "image":
        media.write_image(out, engine.pictures(prompts, sampling, seed)[0])
    elif to == "video":
        media.write_video(out, engine.videos(prompts, sampling, seed)[0])
    else:
        media.write_audio(out, engine.sounds(prompts, sampling, seed)[0])
    return f"{to} written to {out}"


def describe(checkpoint: Path, file: Path, question: str | None = None, size: SubModelSize = FULL_SIZE) -> str:
    """What a file holds, in words, or the answer to a question about it. Raises ValueError for a file that cannot be read."""
    kind = media.kind_of(file)
    if kind is None:
        known = ", ".join(ending for endings in media.SUFFIXES.values() for ending in endings)
        raise ValueError(f"{file}: expected a file that ends in one of {known}")
    segments = [given(kind, media.read(file, kind)), *([given("text", question)] if question else [])]
    check_checkpoint(checkpoint)
    from ernest.data.examples import encode_segments

    engine = _engine(checkpoint, size)
    return engine.texts([encode_segments(segments, engine.tokenizers)])[0]


def write_submodel(checkpoint: Path, out: Path, size: SubModelSize) -> str:
    """Writes the sub-model of a size as a checkpoint of its own; returns a line that says what it holds."""
    if size.is_full:
        raise ValueError("say what to keep: --layers, --experts or --top-k")
    if out.exists():
        raise ValueError(f"{out} exists already: choose a new folder")
    check_checkpoint(checkpoint)
    import torch

    from ernest.model.slicing import choose, extract

    model, tokenizers = load_model(checkpoint)
    importance = load_expert_importance(checkpoint)
    submodel = choose(model, importance, size.layers, size.experts, size.top_k)
    small = extract(model, submodel)
    small_importance = torch.stack([importance[layer, list(submodel.experts[layer])] for layer in submodel.layers])
    save_model(out, small, tokenizers, json.loads((checkpoint / "recipe.json").read_text()), small_importance)
    counts = [sum(p.numel() for p in network.parameters()) for network in (small, model)]
    return (
        f"{out}: {counts[0] / 1e6:.2f} of {counts[1] / 1e6:.2f} million parameters, layers {', '.join(map(str, submodel.layers))}"
    )


def _engine(checkpoint: Path, size: SubModelSize) -> "Engine":
    from ernest.generation.engine import Engine
    from ernest.model.slicing import choose

    model, tokenizers = load_model(checkpoint)
    if size.is_full:
        return Engine(model, tokenizers)
    return Engine(model, tokenizers, choose(model, load_expert_importance(checkpoint), size.layers, size.experts, size.top_k))
