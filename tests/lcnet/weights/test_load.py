"""Readers of weights read tensors and nothing else: what a hostile file asks for never happens."""

import os
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from ernest.lcnet.weights.load import read_weights
from ernest.lcnet.weights.paddle_file import PADDLE_NAMES
from ernest.lcnet.weights.pickle_reader import Call, Name, read_pickle
from tests.lcnet.foreign import Wish, write_legacy, write_pickle, write_torch

ARRAY = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_paddle_arrays_of_all_kinds(protocol: int, tmp_path: Path) -> None:
    arrays = {"f4": ARRAY, "f8": ARRAY.astype("f8"), "f2": ARRAY.astype("f2"), "i8": ARRAY.astype("i8"), "u1": ARRAY.astype("u1")}
    arrays |= {"transposed": ARRAY.T, "scalar": np.array(3.0, np.float32), "bytes above 127": np.full(40, -1, np.int32)}
    found = read_weights(write_pickle(tmp_path / "x", arrays, protocol))
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].numpy().dtype == array.dtype
        assert np.array_equal(found[name].numpy(), array)


def test_numpy_before_its_second_version_spelled_its_module_otherwise(tmp_path: Path) -> None:
    path = write_pickle(tmp_path / "x", {"a": ARRAY}, 2)
    path.write_bytes(path.read_bytes().replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert np.array_equal(read_weights(path)["a"].numpy(), ARRAY)


def test_big_arrays_come_in_slices(tmp_path: Path) -> None:
    content = {"w@@.0": ARRAY.ravel()[:4], "w@@.1": ARRAY.ravel()[4:], "b": ARRAY[0]}
    about = {"w": {"OriginShape": (2, 3), "slices": ["w@@.0", "w@@.1"]}}
    path = write_pickle(tmp_path / "x", content | {"UnpackBigParamInfor@@": about}, 2)
    found = read_weights(path)
    assert set(found) == {"w", "b"}
    assert np.array_equal(found["w"].numpy(), ARRAY)
    about["w"]["OriginShape"] = (2, 4)
    with pytest.raises(ValueError, match="w: damaged, its slices do not fit together"):
        read_weights(write_pickle(tmp_path / "x", content | {"UnpackBigParamInfor@@": about}, 2))


def test_torch_tensors_share_storages_and_have_strides(tmp_path: Path) -> None:
    base = torch.arange(12.0)
    tensors = OrderedDict(a=base[2:8].view(2, 3).T, b=base, c=torch.tensor(5), d=base.to(torch.bfloat16))
    found = read_weights(write_torch(tmp_path / "x.pth", tensors))
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("kind", ["system", "eval", "tensor of Paddle", "inside an array", "in a key's place"])
def test_calls_are_refused_and_never_made(kind: str, protocol: int, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    wish = Wish(os.system, f"touch {marker}")
    content = {
        "system": {"a": wish},
        "eval": {"a": ARRAY, "b": Wish(eval, f"open({str(marker)!r}, 'w')")},
        "tensor of Paddle": {"a": Wish(eval, "data", {"data": ARRAY})},
        "inside an array": {"a": np.array([wish], dtype=object)},
        "in a key's place": {Fraction(1, 2): ARRAY},
    }[kind]
    path = write_pickle(tmp_path / "x.pdparams", content, protocol)
    with pytest.raises(ValueError, match=r"x\.pdparams: refused: it asks for .*, which weights have no use for"):
        read_weights(path)
    assert not marker.exists()


def test_a_zip_file_of_torch_is_no_more_trusted(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    path = write_torch(tmp_path / "x.pth", {"a": torch.ones(3), "b": Wish(os.system, f"touch {marker}")})
    with pytest.raises(ValueError, match=r"x\.pth: refused: it asks for posix\.system"):
        read_weights(path)
    assert not marker.exists()


def test_allowed_names_are_only_notes() -> None:
    data = b"\x80\x02cnumpy\nndarray\n(I1\ntR."
    with pytest.raises(ValueError, match="refused: weights need no pickle instruction INT"):
        read_pickle(data, PADDLE_NAMES)
    assert read_pickle(b"\x80\x02cnumpy\nndarray\n.", PADDLE_NAMES) == Name("numpy.ndarray")
    assert read_pickle(b"\x80\x02cnumpy\nndarray\nK\x01\x85R.", PADDLE_NAMES) == Call("numpy.ndarray", (1,))


@pytest.mark.parametrize(
    "instructions",
    [
        b"(cnumpy\nndarray\no.",  # makes an object
        b"(inumpy\nndarray\n.",
        b"cnumpy\nndarray\n)\x81.",
        b"\x82\x01.",  # looks into the registry of extensions
        b"K\x01)R.",  # calls a number
        b"cnumpy\nndarray\n}b.",  # changes a class
        b"}K\x01b.",  # changes a dictionary
        b"K\x01.",
        b"]K\x01K\x02s.",
        b"(t",
        b"e.",
        b"h\x05.",
        b"0.",
        b"",
    ],
)
def test_odd_pickles_are_refused(instructions: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.pdparams"
    path.write_bytes(b"\x80\x02" + instructions)
    with pytest.raises(ValueError, match=r"x\.pdparams: "):
        read_weights(path)


@pytest.mark.parametrize("kind", ["pickle", "torch", "safetensors"])
def test_truncated_files_are_damaged(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    if kind == "pickle":
        write_pickle(path, {"a": ARRAY})
    elif kind == "torch":
        write_torch(path, {"a": torch.ones(6)})
    else:
        save_file({"a": torch.ones(6)}, path)
    whole = path.read_bytes()
    for kept in (0, 5, len(whole) // 4, len(whole) // 2, len(whole) - 20, len(whole) - 1):
        path.write_bytes(whole[:kept])
        with pytest.raises(ValueError, match="x: "):
            read_weights(path)


@pytest.mark.parametrize("write", [write_pickle, write_torch, write_legacy])
@given(place=st.integers(0, 3000), byte=st.integers(0, 255))
def test_a_changed_byte_gives_tensors_or_one_error(write: Callable, place: int, byte: int, tmp_path_factory) -> None:
    kind = torch.from_numpy if write is not write_pickle else np.copy
    content = {"a": kind(ARRAY), "b": kind(ARRAY.astype("i8"))}
    path = write(tmp_path_factory.getbasetemp() / "changed", content)
    data = bytearray(path.read_bytes())
    data[place % len(data)] = byte
    path.write_bytes(data)
    problem = ""
    try:
        read_weights(path)
    except ValueError as error:
        problem = str(error)
    assert not problem or problem.startswith(f"{path}: ")


def rewrite(path: Path, change) -> None:
    """A zip file again, each of its files through `change(name, content)`, which may also ask for compression."""
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            content, method = change(name, content)
            archive.writestr(name, content, method)


def test_storages_must_hold_what_their_tensors_claim(tmp_path: Path) -> None:
    path = write_torch(tmp_path / "x.pth", {"a": torch.ones(64)})
    rewrite(path, lambda name, content: (content[:-4] if "/data/" in name else content, zipfile.ZIP_STORED))
    with pytest.raises(ValueError, match=r"a: damaged, the storage does not hold \(64,\)"):
        read_weights(path)
    path = write_torch(tmp_path / "x.pth", {"a": torch.ones(64)})
    rewrite(path, lambda name, content: (content.replace(b"K@\x85", b"K\x41\x85"), zipfile.ZIP_STORED))
    with pytest.raises(ValueError, match=r"a: damaged, the storage does not hold \(65,\)"):
        read_weights(path)


def test_compressed_storages_may_be_bombs(tmp_path: Path) -> None:
    path = write_torch(tmp_path / "x.pth", {"a": torch.ones(64)})
    rewrite(path, lambda name, content: (content, zipfile.ZIP_DEFLATED if "/data/" in name else zipfile.ZIP_STORED))
    with pytest.raises(ValueError, match=r"refused: x/data/0 is compressed"):
        read_weights(path)


def test_other_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13))
    with pytest.raises(
        ValueError, match=r"picture\.png: expected Paddle's \.pdparams, a zip file of torch\.save, or safetensors"
    ):
        read_weights(path)
    with pytest.raises(ValueError, match="expected a dictionary of tensors by name"):
        read_weights(write_pickle(path, [ARRAY]))
    with pytest.raises(ValueError, match="a: expected an array, got int"):
        read_weights(write_pickle(path, {"a": 1}))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "hello")
    with pytest.raises(ValueError, match=r"expected a zip file of torch\.save"):
        read_weights(path)
    with pytest.raises(FileNotFoundError):
        read_weights(tmp_path / "absent")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.pth", b"", "an empty file"),
        ("pytorch_model.bin", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "a pointer of Git LFS to a file"),
        ("x.pth", b"<!DOCTYPE html><html>not found</html>", "a web page, or other text"),
        ("x.xml", b"<?xml version='1.0'?>", "a deployed network"),
        ("x.tar", b"x.pdparams".ljust(257, b"\0") + b"ustar  \0", "packed: unpack it"),
        ("x.tar.gz", b"\x1f\x8b\x08" + bytes(30), "packed: unpack it"),
    ],
)
def test_what_holds_no_weights_is_called_what_it_is(name: str, content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name}: expected .*; this is {said}"):
        read_weights(tmp_path / name)
