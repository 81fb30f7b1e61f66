"""Captions from the names of folders, where these say what their files show and not how they are kept."""

import re
from collections.abc import Sequence

_SAYS_NOTHING = re.compile(
    r"^(train|training|trainval|val|valid|validation|validate|test|testing|dev|eval|unlabell?ed|extra|split)[\d_\-.]*(clean|other)?[\d_\-.]*$"
    r"|^(images?|imgs?|pictures?|pics|photos?|jpe?g(images|s)?|png|videos?|films|movies|clips?|sounds?|audios?|wavs?(48|16)?|flac|mp3"
    r"|annotations?|trimaps?|labels?|segmentation\w*|data|dataset|files?|media|all|raw|samples?|recordings?|part|partition|subset|fold|batch|shard|content|out|output|.+\.tar)[\d_\-.]*$|^\d{5,}$",
    re.IGNORECASE,
)
"""Names of folders that say how files are kept, and not what they show."""


def folder_captions(media: Sequence[str]) -> dict[str, list[str]]:
    """The name of the nearest folder that says what its files show; numbers before such names only order them."""
    labels = {name: _label(name) for name in media}
    found = {label for label in labels.values() if label}
    numbered = len(found) > 1 and all(re.match(r"\d+[._\- ]+\D", label) for label in found)
    plain = lambda label: re.sub(r"^\d+[._\- ]+", "", label) if numbered else label
    return {name: [" ".join(plain(label).replace("_", " ").split())] for name, label in labels.items() if label}


def says_nothing(name: str) -> bool:
    """Whether a name says how files are kept, and not what they show."""
    return bool(_SAYS_NOTHING.match(name))


def own_names(media: Sequence[str]) -> dict[str, list[str]]:
    """What the files themselves are called, without their ending, and the numbers before and behind: cat.12.jpg is "cat"."""
    words = {name: re.sub(r"[\W_]+", " ", name.rpartition("/")[2].rpartition(".")[0]).strip() for name in media}
    plain = {name: re.sub(r"^(\d+ )+|( \d+)+$", "", text) for name, text in words.items()}
    return {name: [text] for name, text in plain.items() if re.search(r"[^\W\d_]", text)}


def _label(name: str) -> str:
    return next((part for part in reversed(name.split("/")[:-1]) if not _SAYS_NOTHING.match(part) and part.strip("_ ")), "")
