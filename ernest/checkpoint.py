"""Checkpoints: a folder of weights, sizes, recipe and tokenizers, written whole or not at all; nothing is ever unpickled."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ernest.config.recipe import ModelConfig
from ernest.config.tokenizer_spec import TokenizerSpec
from ernest.overrides import build
from ernest.storage import load_tensors, save_tensors, write_folder, write_text

if TYPE_CHECKING:  # torch takes seconds to import: a folder that is no checkpoint is refused without it
    from torch import Tensor

    from ernest.model.network import Ernest
    from ernest.tokenizers.bundle import Tokenizers


def tokenizer_spec(tokenizers: "Tokenizers") -> TokenizerSpec:
    """The shapes that the network shares with its tokenizers."""
    vision, audio = tokenizers.vision.spec, tokenizers.audio.spec
    return TokenizerSpec(
        vocabulary=tokenizers.text.vocab_size,
        bits=vision.bits,
        scales=vision.scales,
        levels=audio.levels,
        codes=audio.codebook,
        patch=vision.size // vision.grid[0],
        grid=vision.grid,
        features=vision.feature_channels,
    )


def save_model(folder: Path, model: "Ernest", tokenizers: "Tokenizers", recipe: dict[str, Any], importance: "Tensor") -> None:
    """Writes a checkpoint: weights, sizes, recipe, tokenizers, and what each expert contributes `[layers, experts]`."""
    weights = model.state_dict()
    with write_folder(folder, need=sum(value.nbytes for value in weights.values())) as aside:
        save_tensors(aside / "model.safetensors", weights)
        save_tensors(aside / "importance.safetensors", {"importance": importance})
        write_text(aside / "model.json", json.dumps({"model": asdict(model.config), "spec": asdict(model.spec)}, indent=1))
        write_text(aside / "recipe.json", json.dumps(recipe, indent=1))
        tokenizers.save(aside / "tokenizers")


def check_checkpoint(folder: Path, needs: str = "model.json") -> None:
    """Raises ValueError where `folder` is not a checkpoint, or not one with what is needed of it. Imports no torch."""
    if not (folder / needs).exists():
        raise ValueError(f"{folder} is not a checkpoint: it has no {needs} (`ernest train` and `ernest demo` make one)")


def load_model(folder: Path) -> "tuple[Ernest, Tokenizers]":
    """A checkpoint ready to use. Raises ValueError where `folder` is not one, or is damaged."""
    check_checkpoint(folder)
    from ernest.model.network import Ernest
    from ernest.tokenizers.bundle import Tokenizers

    sizes = json.loads((folder / "model.json").read_text())
    model = Ernest(build(ModelConfig, sizes["model"]), build(TokenizerSpec, sizes["spec"]))
    model.load_state_dict(load_tensors(folder / "model.safetensors"))
    return model.eval().requires_grad_(False), Tokenizers.load(folder / "tokenizers")


def load_expert_importance(folder: Path) -> "Tensor":
    """What each expert of a checkpoint contributes, `[layers, experts]`."""
    return load_tensors(folder / "importance.safetensors")["importance"]
