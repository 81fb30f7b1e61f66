"""Tokenizers of text, pictures and sounds: interfaces, networks, and the folder that a checkpoint carries."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from ernest.tokenizers.standalone import Kind, Standalone


def load(folder: "str | Path", kind: "Kind | None" = None) -> "Standalone":
    """A tokenizer that stands alone: that of `ernest tokenizer train`, or the one of a `kind` of a checkpoint.

    `load("build/eyes").encode(pixels)` are the bits of a picture, and `decode` makes it of them. Raises ValueError, which names
    the folder, where there is none, or several and no `kind` is named.
    """
    from pathlib import Path

    from ernest.tokenizers.standalone import load_standalone

    return load_standalone(Path(folder), kind)
