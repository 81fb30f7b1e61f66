"""Checkpoints: a folder of weights, sizes, recipe and tokenizers, written whole or not at all; nothing is ever unpickled."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ernest.config.media import MediaSpec, read_media
from ernest.config.submodel_size import SubModelSize
from ernest.config.tables import ModelConfig, SequenceConfig
from ernest.config.tokenizer_spec import TokenizerSpec
from ernest.model.submodel import check_size
from ernest.overrides import build
from ernest.storage import check_new, load_tensors, read_json, save_tensors, write_folder, write_text

if TYPE_CHECKING:  # torch takes seconds to import: a folder that is no checkpoint is refused without it
    from torch import Tensor

    from ernest.model.network import Ernest
    from ernest.tokenizers.bundle import Tokenizers


@dataclass(frozen=True)
class Learnt:
    """What a model was trained on: directions such as image→text, where that is known; the words of its texts, in lower case; and
    the most positions of a document."""

    directions: tuple[str, ...]
    words: tuple[str, ...]
    positions: int


def tokenizer_spec(tokenizers: "Tokenizers") -> TokenizerSpec:
    """The shapes that the network shares with its tokenizers."""
    vision, audio = tokenizers.vision.spec, tokenizers.audio.spec
    return TokenizerSpec(
        vocabulary=tokenizers.text.vocab_size,
        bits=vision.bits,
        scales=vision.scales,
        levels=audio.levels,
        codes=audio.codebook,
        patch=vision.size[0] // vision.grid[0],
        grid=vision.grid,
        features=vision.feature_channels,
        voice=0 if tokenizers.voice is None else tokenizers.voice.config.numbers,
    )


def save_model(
    folder: Path,
    model: "Ernest",
    tokenizers: "Tokenizers",
    recipe: dict[str, Any],
    importance: "Tensor",
    learnt: Learnt | None = None,
) -> None:
    """Writes a checkpoint: weights, sizes, recipe, tokenizers, what each expert contributes `[layers, experts]`, and what the
    model was trained on, where that is known."""
    weights = model.state_dict()
    with write_folder(folder, need=sum(value.nbytes for value in weights.values())) as aside:
        save_tensors(aside / "model.safetensors", weights)
        save_tensors(aside / "importance.safetensors", {"importance": importance})
        write_text(aside / "model.json", json.dumps({"model": asdict(model.config), "spec": asdict(model.spec)}, indent=1))
        write_text(aside / "recipe.json", json.dumps(recipe, indent=1))
        if learnt is not None:
            write_text(aside / "learnt.json", json.dumps(asdict(learnt), indent=1, ensure_ascii=False))
        tokenizers.save(aside / "tokenizers")


def check_checkpoint(folder: Path, needs: str = "model.json") -> None:
    """Raises ValueError where `folder` is not a checkpoint, or not one with what is needed of it. Imports no torch."""
    if not (folder / needs).exists():
        if (folder / "model" / needs).exists():
            raise ValueError(f"{folder} is a run, not a checkpoint: did you mean {folder / 'model'}?")
        raise ValueError(f"{folder} is not a checkpoint: it has no {needs} (`ernest train` and `ernest demo` make one)")


def load_model(folder: Path, mapped: bool = False) -> "tuple[Ernest, Tokenizers]":
    """A checkpoint ready to use; weights that are `mapped` share memory with their files, which is soonest for a single answer.
    Raises ValueError where `folder` is not one, or is damaged."""
    sizes = _sizes(folder)
    from ernest.device import without_weights
    from ernest.model.network import Ernest
    from ernest.tokenizers.bundle import Tokenizers

    try:
        with without_weights():
            model = Ernest(*sizes)
    except ValueError as error:
        raise ValueError(f"{folder / 'model.json'}: damaged: {error!r}") from error
    weights = folder / "model.safetensors"
    try:
        model.load_state_dict({name: value.float() for name, value in load_tensors(weights, mapped).items()}, assign=True)
        tokenizers = Tokenizers.load(folder / "tokenizers", mapped)
    except FileNotFoundError as error:
        raise ValueError(f"{folder} is no whole checkpoint: {error.filename} is missing") from error
    except RuntimeError as error:  # of load_state_dict, on many lines
        raise ValueError(f"{weights}: its tensors are not those of a network of the sizes in model.json") from error
    if tokenizer_spec(tokenizers) != model.spec:
        raise ValueError(f"{folder / 'tokenizers'}: not the tokenizers of this network, whose sizes model.json holds")
    return model.eval().requires_grad_(False), tokenizers


def write_submodel(checkpoint: Path, out: Path, size: SubModelSize) -> str:
    """Writes the sub-model of a size as a checkpoint of its own; returns a line that says what it holds."""
    if size.is_full:
        raise ValueError("say what to keep: --layers, --experts or --top-k")
    check_new(out)
    check_checkpoint(checkpoint)
    from ernest.model.slicing import choose, extract, kept_importance

    model, tokenizers = load_model(checkpoint)
    importance = load_expert_importance(checkpoint)
    submodel = choose(model, importance, size)
    small = extract(model, submodel)
    recipe = read_json(checkpoint / "recipe.json")
    save_model(out, small, tokenizers, recipe, kept_importance(importance, submodel), load_learnt(checkpoint))
    counts = [sum(p.numel() for p in network.parameters()) for network in (small, model)]
    return (
        f"{out}: {counts[0] / 1e6:.2f} of {counts[1] / 1e6:.2f} million parameters, layers {', '.join(map(str, submodel.layers))}"
    )


def run_of(checkpoint: Path) -> Path:
    """The folder of the run that made a checkpoint, from wherever it is seen: through a link, or as the folder that one is in."""
    return checkpoint.resolve().parent


def network_sizes(folder: Path) -> ModelConfig:
    """The sizes of the network of a checkpoint. Raises ValueError where `folder` is not one. Imports no torch."""
    return _sizes(folder)[0]


def check_cut(folder: Path, size: SubModelSize) -> None:
    """Raises ValueError where `folder` is not a checkpoint, or its network cannot be cut to a size. Imports no torch."""
    config, spec = _sizes(folder)
    check_size(size, config, spec.levels)


def checkpoint_media(folder: Path) -> MediaSpec:
    """The sizes and rates of what the model of a checkpoint is given and makes. Imports no torch."""
    return read_media(folder / "tokenizers")


def load_expert_importance(folder: Path) -> "Tensor":
    """The contribution of each expert of a checkpoint, `[layers, experts]`."""
    return load_tensors(folder / "importance.safetensors")["importance"]


def load_learnt(folder: Path) -> Learnt:
    """What the model of a checkpoint was trained on. Imports no torch. Raises ValueError for a file that is damaged."""
    if (folder / "learnt.json").exists():
        learnt = read_json(folder / "learnt.json")
        try:
            return build(Learnt, learnt)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{folder / 'learnt.json'}: damaged: {error}") from error
    recipe = read_json(folder / "recipe.json") if (folder / "recipe.json").exists() else {}
    sequence = recipe.get("sequence", {})
    return Learnt((), (), max(int(sequence.get("length", SequenceConfig.length)), *sequence.get("grows_to", ()), 0))


def learnt_in_all(before: Learnt, now: Learnt) -> Learnt:
    """What a model knows that learnt one after the other."""
    directions = dict.fromkeys((*before.directions, *now.directions))
    return Learnt(tuple(directions), tuple(sorted({*before.words, *now.words})), max(before.positions, now.positions))


def _sizes(folder: Path) -> tuple[ModelConfig, TokenizerSpec]:
    """The sizes of the network, and those that it shares with its tokenizers."""
    check_checkpoint(folder)
    sizes = read_json(folder / "model.json")
    try:
        return build(ModelConfig, sizes["model"]), build(TokenizerSpec, sizes["spec"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder / 'model.json'}: damaged: {error!r}") from error
