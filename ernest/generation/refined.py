"""Puts a refiner behind what a model or a tokenizer makes: it is checked before work starts, and draws in the end."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ernest.config.media import MediaSpec
from ernest.sequence.record import Kind

if TYPE_CHECKING:  # these import torch
    from ernest.refiner.network import Refiner
    from ernest.tokenizers.standalone import Standalone


def check_refinable(to: Kind, folder: Path | None) -> None:
    """Raises ValueError where a refiner is named for something else than pictures and videos. Imports no torch."""
    if folder is not None and to not in ("image", "video"):
        raise ValueError(f"--refine goes with pictures and videos, and {to} is to be made")


def load_refiner(folder: Path | None, media: MediaSpec) -> "Refiner | None":
    """The refiner of a folder, if one is named. Raises ValueError where it is one of other sizes than `media`."""
    if folder is None:
        return None
    from ernest.refiner.network import Refiner

    refiner = Refiner.load(folder)
    try:
        refiner.check(media.size)
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from None
    return refiner


def refined(refiner: "Refiner | None", pixels: np.ndarray, seed: int = 0) -> np.ndarray:
    """A picture or film uint8 `[..., height, width, 3]` as the refiner draws it; as it came, without one."""
    if refiner is None:
        return pixels
    from ernest.refiner.refine import refine

    return refine(refiner, pixels, seed)


def decode_refined(tokenizer: "Standalone", codes: np.ndarray, folder: Path | None) -> np.ndarray | str:
    """What a tokenizer makes of codes, drawn larger by the refiner of a folder, if one is named. Raises ValueError for a refiner
    of other sizes, and for codes of sounds and texts."""
    if folder is None:
        return tokenizer.decode(codes)
    kind = tokenizer.about.kind
    check_refinable("image" if kind == "vision" else kind, folder)
    refiner, made = load_refiner(folder, tokenizer.media), tokenizer.decode(codes)
    assert isinstance(made, np.ndarray)
    return refined(refiner, made)
