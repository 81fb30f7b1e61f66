"""Ernest: one model over text, image, video and audio, with PP-LCNet as its eye and phase-field physics as its world."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from ernest.model.network import Ernest
    from ernest.tokenizers.bundle import Tokenizers

__version__ = "0.1.0"
__all__ = ["load"]


def load(folder: "str | Path") -> "tuple[Ernest, Tokenizers]":
    """The network and the tokenizers of a checkpoint, such as `ernest train` and `ernest demo` write, ready to use.

    Raises ValueError, which names the folder or the file, where it is not a checkpoint or is damaged.
    """
    from pathlib import Path

    from ernest.checkpoint import load_model

    return load_model(Path(folder))
