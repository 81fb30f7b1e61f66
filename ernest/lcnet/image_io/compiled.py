"""The compiled part of reading pictures: decoders, resizing and normalising; compiled at first use, like the executor."""

import ctypes
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).with_name("source") / "pictures.cpp"

_INT, _LONG, _ADDRESS = ctypes.c_int, ctypes.c_int64, ctypes.c_void_p


@cache
def library() -> ctypes.CDLL | None:
    """The functions of `pictures.cpp`, during which other threads of Python work; None where there is no compiler."""
    from ernest.lcnet.native import build

    try:
        compiled = build.library("generic", str(SOURCE))
    except build.BuildError:
        return None
    compiled.jpeg_eighth.argtypes = [ctypes.c_char_p, _LONG, _INT, _INT, _INT, _ADDRESS]
    compiled.small_files.argtypes = [ctypes.c_char_p, _INT, _LONG, _LONG, _INT, _ADDRESS, _ADDRESS]
    compiled.resize_levels.argtypes = [
        *(_ADDRESS, _LONG, _INT, _INT, _INT, _INT),
        *(_ADDRESS, _ADDRESS, _INT, _ADDRESS, _ADDRESS, _INT),
        *(_INT, _ADDRESS),
    ]
    compiled.normalise_levels.argtypes = [_ADDRESS, _LONG, _LONG, _INT, _ADDRESS, _ADDRESS, _ADDRESS]
    compiled.small_files.restype = compiled.normalise_levels.restype = None
    return compiled
