"""Checkpoints: safetensors and the recipe, written aside and renamed; nothing is ever unpickled."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from ernest.config.recipe import ModelConfig
from ernest.config.tokenizer_spec import TokenizerSpec
from ernest.model.network import Ernest
from ernest.tokenizers.bundle import Tokenizers


def tokenizer_spec(tokenizers: Tokenizers) -> TokenizerSpec:
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


def write_folder(folder: Path, files: dict[str, Any], also: Callable[[Path], None] | None = None) -> None:
    """Writes tensors (dicts) as safetensors and the rest as JSON into a new folder, and what `also` writes there; renames it
    into place once all is synced."""
    aside = folder.with_name(folder.name + ".part")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    for name, content in files.items():
        if name.endswith(".safetensors"):
            save_file(content, aside / name)
        else:
            (aside / name).write_text(json.dumps(content, indent=1))
        with (aside / name).open("rb") as written:
            os.fsync(written.fileno())
    if also is not None:
        also(aside)
    _replace(aside, folder)


def _replace(aside: Path, folder: Path) -> None:
    """Renames a finished folder into place; what stood there before goes last."""
    if not folder.exists():
        aside.rename(folder)
        return
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    folder.rename(old)
    aside.rename(folder)
    shutil.rmtree(old)


def save_model(folder: Path, model: Ernest, tokenizers: Tokenizers, recipe: dict[str, Any], importance: Tensor) -> None:
    """What a user keeps: weights, sizes, recipe, tokenizers, and what each expert contributes `[layers, experts]`."""
    files = {
        "model.safetensors": {name: value.contiguous() for name, value in model.state_dict().items()},
        "model.json": {"model": asdict(model.config), "spec": asdict(model.spec)},
        "importance.safetensors": {"importance": importance.contiguous()},
        "recipe.json": recipe,
    }
    write_folder(folder, files, also=lambda aside: tokenizers.save(aside / "tokenizers"))


def load_model(folder: Path) -> tuple[Ernest, Tokenizers]:
    """A checkpoint ready to use. Raises ValueError where `folder` is not one."""
    if not (folder / "model.json").is_file():
        raise ValueError(f"{folder} is not a checkpoint: it has no model.json (train one with `ernest demo`)")
    sizes = json.loads((folder / "model.json").read_text())
    spec = sizes["spec"]
    spec["scales"] = tuple(tuple(scale) for scale in spec["scales"])
    spec["grid"] = tuple(spec["grid"])
    model = Ernest(ModelConfig(**sizes["model"]), TokenizerSpec(**spec))
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model.eval().requires_grad_(False), Tokenizers.load(folder / "tokenizers")


def load_expert_importance(folder: Path) -> Tensor:
    """What each expert of a checkpoint contributes, `[layers, experts]`."""
    return load_file(folder / "importance.safetensors")["importance"]
