"""Files for tokenizers that stand alone: what each kind reads, and what it makes."""

from pathlib import Path

import numpy as np

from ernest.data import media
from ernest.tokenizers.standalone import ABOUT, Kind, PictureTokenizer, SoundTokenizer, Standalone

OF_MEDIA: dict[str, Kind] = {"image": "vision", "video": "vision", "audio": "audio"}


def kind_for(folder: Path, file: Path) -> Kind | None:
    """The kind of the tokenizer of a checkpoint that reads a file; None where `folder` holds but one."""
    if (folder / ABOUT).is_file():
        return None
    kind = media.kind_of(file)
    return OF_MEDIA[kind] if kind else "text"


def read_for(tokenizer: Standalone, file: Path) -> np.ndarray | str:
    """The file as its tokenizer takes it. Raises ValueError, naming it, where it is of another kind."""
    if isinstance(tokenizer, PictureTokenizer | SoundTokenizer):
        kind = media.kind_of(file)
        if kind is None or OF_MEDIA[kind] != tokenizer.about.kind:
            raise ValueError(f"{file}: expected {'a picture or a video' if tokenizer.about.kind == 'vision' else 'a sound'}")
        return media.read(file, kind, tokenizer.media)
    try:
        return file.read_bytes().decode("utf-8")  # with the line ends that it has
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: expected a text in UTF-8: byte {error.start} is {error.object[error.start]:#x}") from None


def write_for(tokenizer: Standalone, made: np.ndarray | str, file: Path) -> None:
    """Writes what a tokenizer made. Raises ValueError for a name that does not suit it."""
    if isinstance(made, str) and any(media.suffix(file) in endings for endings in media.SUFFIXES.values()):
        raise ValueError(f"{file}: a text is written to a file such as .txt, not to one that ends as pictures and sounds do")
    file.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(made, str):
        file.write_bytes(made.encode("utf-8"))
    elif made.ndim == 1:
        media.write_audio(file, made, tokenizer.media.sample_rate)
    elif made.ndim == 3:
        media.write_image(file, made)
    else:
        media.write_video(file, made, tokenizer.media.frame_rate)
