"""What is written is whole whatever stops the writer; what is read does not hang on how it lay in the file or in memory."""

import errno
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file

from ernest import storage
from ernest.storage import (
    DiskFullError,
    fingerprint,
    load_tensors,
    own_folder,
    read_header,
    save_tensors,
    write_file,
    write_folder,
    write_text,
)

LOOP = """
import sys
from pathlib import Path
from ernest.storage import write_folder, write_text
file, folder = Path(sys.argv[1]), Path(sys.argv[2])
print(flush=True)
while True:
    for letter in "ab":
        write_text(file, letter * 300_000)
        with write_folder(folder) as aside:
            for name in "xyz":
                (aside / name).write_text(letter * 1000)
"""


def run(*arguments: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_kill_at_any_moment_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    file, folder = tmp_path / "file", tmp_path / "folder"
    draw = random.Random(0)
    write_text(file, "a" * 300_000)
    with write_folder(folder) as aside:
        for name in "xyz":
            (aside / name).write_text("a" * 1000)
    for _ in range(20):
        writer = run(LOOP, str(file), str(folder))
        writer.stdout.readline()
        time.sleep(draw.uniform(0, 0.05))
        writer.kill()
        writer.communicate()
        assert file.read_text() in ("a" * 300_000, "b" * 300_000)
        content = {(folder / name).read_text() for name in "xyz"}
        assert content in ({"a" * 1000}, {"b" * 1000})
    write_text(file, "")
    with write_folder(folder):
        pass
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "folder"]  # leftovers are cleared away


@pytest.mark.parametrize("swaps", [True, False])
def test_an_error_leaves_what_was_there(tmp_path: Path, swaps: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not swaps:
        monkeypatch.setattr("ernest.storage._swap", lambda one, other: False)
    for content in ("old", "new"):
        with write_folder(tmp_path / "folder") as aside:
            (aside / "x").write_text(content)
    with pytest.raises(RuntimeError), write_folder(tmp_path / "folder") as aside:
        raise RuntimeError
    assert (tmp_path / "folder" / "x").read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


def test_a_living_writer_keeps_what_it_wrote_aside(tmp_path: Path) -> None:
    with write_file(tmp_path / "file") as one:
        one.write_text("one")
        write_text(tmp_path / "file", "two")
    assert (tmp_path / "file").read_text() == "one"


def test_modes_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        save_tensors(tmp_path / "x", {"x": torch.ones(2)})
        with write_folder(tmp_path / "folder"):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o750


def test_a_full_disk_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path / "file", "old")

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(DiskFullError, match=r"/file: could not .*\(No space.*\): 3\.0 MB needed, .* MB free") as caught:
            write_text(tmp_path / "file", "x" * 3_000_000)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(DiskFullError, match=r"File too large\): 4\.0 MB needed"):
            save_tensors(tmp_path / "file", {"x": torch.ones(1_000_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "file").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 4), max_size=4), st.sampled_from(["f4", ">f8", "i2", "?", "u8", "c8"]), st.randoms())
def test_arrays_keep_their_meaning(tmp_path_factory: pytest.TempPathFactory, shape: list[int], kind: str, draw) -> None:
    path = tmp_path_factory.mktemp("arrays") / "x"
    array = np.array([draw.randrange(100) for _ in range(int(np.prod(shape)))]).astype(kind).reshape(shape)
    wanted = {"c": array, "t": array.T, "back": array[..., ::-1] if shape else array}
    save_tensors(path, wanted | {"f": np.array(array, order="F")})
    for read in (load_tensors(path), load_file(path)):
        for name, value in (wanted | {"f": array}).items():
            assert read[name].shape == value.shape
            np.testing.assert_array_equal(read[name].numpy(), value)


def test_views_keep_their_meaning(tmp_path: Path) -> None:
    z = torch.randn(3, 4, dtype=torch.complex64)
    views = {"conj": z.conj(), "neg": z.conj().imag, "t": z.T, "part": z[1:, ::2], "again": z, "half": z.real.bfloat16()}
    save_tensors(tmp_path / "x", views | {"number": torch.tensor(3), "z": z}, {"b": "1", "a": "2"})
    read = load_tensors(tmp_path / "x")
    assert all(torch.equal(read[name], view) for name, view in views.items())
    assert read["number"] == 3
    assert read_header(tmp_path / "x").metadata == {"a": "2", "b": "1"}
    assert read_header(tmp_path / "x").tensors["half"] == ("BF16", (3, 4))
    with pytest.raises(ValueError, match="y is complex128"):
        save_tensors(tmp_path / "x", {"y": z.to(torch.complex128)})


def test_where_data_lie_in_a_file_changes_no_product(tmp_path: Path) -> None:
    x, path = torch.randn(64, 37, generator=torch.Generator().manual_seed(0)), tmp_path / "x"
    products = []
    for shift in range(64):
        text = json.dumps({"x": {"dtype": "F32", "shape": [64, 37], "data_offsets": [0, x.nbytes]}}).encode() + b" " * shift
        path.write_bytes(len(text).to_bytes(8, "little") + text + x.numpy().tobytes())
        read = load_tensors(path)["x"]
        assert read.data_ptr() % 64 == 0
        products.append(read.T @ read)
    assert all(torch.equal(product, products[0]) for product in products)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 200), st.binary(min_size=1, max_size=12))
def test_damaged_files_are_named_in_one_line(tmp_path_factory: pytest.TempPathFactory, at: int, noise: bytes) -> None:
    path = tmp_path_factory.mktemp("damage") / "x"
    save_tensors(path, {"x": torch.ones(9)}, {"a": "1"})
    whole = path.read_bytes()
    huge, nested = b"\xff" * 8 + whole[8:], (90_000).to_bytes(8, "little") + b"[" * 90_000
    for content in (whole[: at % len(whole)], whole[: -len(noise)], whole + noise, huge, nested):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="/x: damaged: ") as caught:
            load_tensors(path)
        assert "\n" not in str(caught.value)


def test_the_metadata_are_those_that_others_read(tmp_path: Path) -> None:
    save_tensors(tmp_path / "x", {"x": torch.ones(2)}, {"ä": "ö"})
    with safe_open(tmp_path / "x", "pt") as file:
        assert file.metadata() == {"ä": "ö"}


def test_a_fingerprint_knows_where_parts_end(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"ab")
    assert fingerprint(tmp_path / "x", "c") == fingerprint(b"ab", b"c") != fingerprint("a", "bc")


def test_a_folder_has_one_owner_until_it_dies(tmp_path: Path) -> None:
    owner = run(
        "import os,sys,time\nfrom ernest.storage import own_folder\nwith own_folder(sys.argv[1]):\n"
        " child = os.fork()\n if not child: print(os.getpid(), flush=True)\n time.sleep(60)",
        str(tmp_path),
    )
    child = int(owner.stdout.readline())
    try:
        said = rf"{tmp_path} is in use by process {owner.pid} on .* \(-c {tmp_path}\)"
        with pytest.raises(ValueError, match=said), own_folder(tmp_path):
            pass
        owner.kill()
        owner.wait()
        with own_folder(tmp_path):  # though the fork of the dead owner lives
            os.kill(child, 0)
    finally:
        os.kill(child, signal.SIGKILL)
        owner.kill()
        owner.communicate()
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_synced_before_it_takes_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a loss of power a name must not stand for a file whose content never reached the disk."""
    order: list[str] = []
    sync, replace = storage._sync_one, os.replace
    monkeypatch.setattr(storage, "_sync_one", lambda entry: (order.append(f"sync {Path(entry).name}"), sync(entry)))
    monkeypatch.setattr(os, "replace", lambda one, other: (order.append(f"replace {Path(one).name}"), replace(one, other)))
    storage.write_text(tmp_path / "note.txt", "words")
    assert order == ["sync note.txt", "replace note.txt", f"sync {tmp_path.name}"]
