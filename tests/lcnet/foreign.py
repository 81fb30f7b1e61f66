"""Writers of other people's files, for tests of the readers: only here may anything be pickled."""

import pickle  # noqa: TID251
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch

from tests.lcnet.reference import Arrays


class Wish:
    """An object whose pickle asks for a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.wish = (function, arguments)

    def __reduce__(self) -> tuple:
        return self.wish


def write_paddle(path: Path, arrays: Arrays, protocol: int = 4, layout: str = "A") -> Path:
    """As `paddle.save` does: names to arrays with a table of other names (A), or names to pairs (B)."""
    content: dict[str, Any] = dict(arrays)
    if layout == "A":
        content["StructuredToParameterName@@"] = {name: f"parameter_{number}" for number, name in enumerate(arrays)}
    else:
        pairs = enumerate(arrays.items())
        content = OrderedDict((name, Wish(tuple, (f"parameter_{number}", array))) for number, (name, array) in pairs)
    return write_pickle(path, content, protocol)


def write_pickle(path: Path, content: Any, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(content, protocol))
    return path


def write_torch(path: Path, content: Any, protocol: int = 2, zipped: bool = True) -> Path:
    torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)  # noqa: TID251
    return path


def write_legacy(path: Path, content: Any) -> Path:
    """In torch's format before 1.6."""
    return write_torch(path, content, zipped=False)
