"""What is written is whole whatever stops the writer; what is read does not hang on how it lay in the file or in memory."""

import errno
import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file

from ernest.storage import (
    DiskFullError,
    check_replaceable,
    check_writable,
    files,
    fingerprint,
    folder_fingerprint,
    free_bytes,
    load_tensors,
    log_lines,
    own_folder,
    read_header,
    read_json,
    read_log,
    remove_files,
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
        monkeypatch.setattr("ernest.storage.files._swap", lambda one, other: False)
    for content in ("old", "new"):
        with write_folder(tmp_path / "folder") as aside:
            (aside / "x").write_text(content)
    with pytest.raises(RuntimeError), write_folder(tmp_path / "folder") as aside:
        raise RuntimeError
    assert (tmp_path / "folder" / "x").read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


NAMES = st.sampled_from(["a", "b/a", "b/c/a", "b/c", "0.vti", "b/1.vti", "link", "b/link"])


def fill(folder: Path, names: set[str], content: str) -> None:
    """Files with this content, and links to nowhere; a name below that of another file is left out."""
    folder.mkdir()
    for name in sorted(names):
        if any(above.is_file() or above.is_symlink() for above in (folder / name).parents):
            continue
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("link"):
            (folder / name).symlink_to("nowhere")
        elif not (folder / name).is_dir():
            (folder / name).write_text(content)


def tree(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): os.readlink(path) if path.is_symlink() else path.read_text()
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


@settings(max_examples=60, deadline=None)
@given(old=st.sets(NAMES), new=st.sets(NAMES), knows=st.booleans(), swaps=st.booleans())
def test_a_new_folder_loses_no_file_that_its_writer_did_not_make(
    tmp_path_factory: pytest.TempPathFactory, old: set[str], new: set[str], knows: bool, swaps: bool
) -> None:
    """With `mine` the files that end in .vti are the writer's: those go, and what stands in the way of new ones is refused."""
    place = tmp_path_factory.mktemp("place")
    fill(place / "folder", old, "old")
    before, written, swap, refused = tree(place / "folder"), dict[str, str](), files._swap, ""
    files._swap = swap if swaps else lambda one, other: False
    try:
        with write_folder(place / "folder", mine=(lambda file: file.suffix == ".vti") if knows else None) as aside:
            aside.rmdir()
            fill(aside, new, "new")
            written = tree(aside)
    except ValueError as error:
        refused = str(error)
    finally:
        files._swap = swap
    others = {name: content for name, content in before.items() if not (knows and name.endswith(".vti"))}
    in_the_way = any(a in Path(b).parents or b in Path(a).parents for a in map(Path, others) for b in map(Path, written))
    assert bool(refused) == (in_the_way or (knows and bool(others.keys() & written.keys())))
    assert not refused or re.search("would be lost: move it, or choose another name$", refused)
    assert tree(place / "folder") == (before if refused else others | written)
    assert [entry.name for entry in place.iterdir()] == ["folder"]


def write_two(path: Path, second: Callable[[Path], object], mine: Callable[[Path], bool] | None = None) -> None:
    with write_file(path, mine=mine) as aside:
        aside.write_text("new")
        second(aside)


def test_a_file_does_not_take_the_place_of_a_folder_nor_the_other_way_round(tmp_path: Path) -> None:
    (tmp_path / "run.npz").mkdir()
    (tmp_path / "run.npz/notes.txt").write_text("mine")
    (tmp_path / "film").write_text("mine")
    with pytest.raises(ValueError, match=r"/run\.npz is a folder, which would be lost: move it, or choose another name"):
        write_text(tmp_path / "run.npz", "x")
    with pytest.raises(ValueError, match=r"/film is a file, which would be lost"), write_folder(tmp_path / "film"):
        pass
    with pytest.raises(ValueError, match=r"/film is a file, which would be lost"):
        write_two(tmp_path / "film.pvd", lambda aside: aside.with_suffix("").mkdir())
    assert tree(tmp_path) == {"run.npz/notes.txt": "mine", "film": "mine"}


def test_a_second_file_is_replaced_only_if_it_is_the_writers(tmp_path: Path) -> None:
    for name in ("run.h5", "run.xdmf"):
        (tmp_path / name).write_text("mine")
    second = lambda aside: aside.with_suffix(".xdmf").write_text("new")
    with pytest.raises(ValueError, match=r"/run\.xdmf was not made here and would be lost"):
        write_two(tmp_path / "run.h5", second, mine=lambda file: False)
    assert tree(tmp_path) == {"run.h5": "mine", "run.xdmf": "mine"}
    write_two(tmp_path / "run.h5", second, mine=lambda file: True)
    assert tree(tmp_path) == {"run.h5": "new", "run.xdmf": "new"}


def test_a_link_that_the_user_set_stays_one(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "file").symlink_to("disk/file")
    (tmp_path / "folder").symlink_to("disk/folder")
    for content in ("old", "new"):
        write_text(tmp_path / "file", content)
        with write_folder(tmp_path / "folder") as aside:
            (aside / "x").write_text(content)
    assert (tmp_path / "file").is_symlink()
    assert (tmp_path / "folder").is_symlink()
    assert tree(tmp_path / "disk") == {"file": "new", "folder/x": "new"}


def test_what_cannot_be_written_is_known_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    check_writable(tmp_path / "new/folder/x")
    with pytest.raises(ValueError, match=r"/file/new/x cannot be written: .*/file is no folder"):
        check_writable(tmp_path / "file/new/x")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # the superuser may write everywhere
    with pytest.raises(ValueError, match=r"/new/x cannot be written: .* does not permit it"):
        check_writable(tmp_path / "new/x")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_only_files_of_the_patterns_are_removed(tmp_path: Path) -> None:
    fill(tmp_path / "work", {"a", "b/a", "b/c/a", "0.vti", "b/1.vti"}, "x")
    remove_files(tmp_path / "work", "*.vti", "b/*.vti", "b/c/a", "d/*")
    assert tree(tmp_path / "work") == {"a": "x", "b/a": "x"}
    assert not (tmp_path / "work/b/c").exists()
    remove_files(tmp_path / "work", "a", "b/a")
    assert not (tmp_path / "work").exists()


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
    for read in (load_tensors(path), load_tensors(path, mapped=True), load_file(path)):
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


def test_what_is_mapped_stands_in_the_file_alone_where_it_starts_a_line(tmp_path: Path) -> None:
    """Tensors of whole lines come first, so that those of odd sizes move no other."""
    tensors = {"a": torch.ones(3), "b": torch.arange(32.0), "c": torch.arange(5), "d": torch.ones(4, 16)}
    save_tensors(tmp_path / "x", tensors)
    read = load_tensors(tmp_path / "x", mapped=True)
    assert all(torch.equal(read[name], tensor) and read[name].data_ptr() % 64 == 0 for name, tensor in tensors.items())
    for tensor in read.values():
        tensor.zero_()
    again = load_tensors(tmp_path / "x")
    assert all(torch.equal(again[name], tensor) for name, tensor in tensors.items())  # nobody writes into the file
    held = Path("/proc/self/maps")
    if held.exists():
        spans = [line.split() for line in held.read_text().splitlines() if line.endswith(str(tmp_path / "x"))]
        inside = [tuple(int(end, 16) for end in span[0].split("-")) for span in spans]
        found = {name for name, tensor in read.items() if any(low <= tensor.data_ptr() < high for low, high in inside)}
        assert {"b", "d"} <= found


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
    sync, replace = files._sync_one, os.replace
    monkeypatch.setattr(files, "_sync_one", lambda entry: (order.append(f"sync {Path(entry).name}"), sync(entry)))
    monkeypatch.setattr(os, "replace", lambda one, other: (order.append(f"replace {Path(one).name}"), replace(one, other)))
    files.write_text(tmp_path / "note.txt", "words")
    assert order == ["sync note.txt", "replace note.txt", f"sync {tmp_path.name}"]


def test_two_links_to_a_folder_have_one_owner_between_them(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to("run")
    code = "import sys\nfrom ernest.storage import own_folder\nwith own_folder(sys.argv[1]): pass"
    with own_folder(tmp_path / "run"):
        other = run(code, str(tmp_path / "link"))
        assert "is in use by process" in other.communicate()[1]


def test_room_is_that_of_the_disk_where_a_folder_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr("shutil.disk_usage", lambda path: asked.append(path) or SimpleNamespace(free=7))
    (tmp_path / "disk").mkdir()
    (tmp_path / "run").symlink_to("disk")
    assert [free_bytes(tmp_path / name) for name in ("run", "disk/a/b")] == [7, 7]
    assert asked == [tmp_path / "disk"] * 2


def test_where_a_disk_begins_no_new_folder_can_take_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_replaceable(tmp_path)
    check_replaceable(tmp_path / "new")
    monkeypatch.setattr("os.path.ismount", lambda path: path == str(tmp_path))
    with pytest.raises(ValueError, match="is where a disk begins, which cannot be replaced: name a new folder in it"):
        check_replaceable(tmp_path)


@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff{}", b"[" * 100_000])
def test_what_is_no_json_object_is_named_as_damaged(content, tmp_path):
    path = tmp_path / "about.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"about\.json: damaged: \S"):
        read_json(path)
    path.write_text('{"name": "ö"}', encoding="utf-8")
    assert read_json(path) == {"name": "ö"}


def test_a_log_is_read_up_to_a_torn_line_which_may_end_in_a_brace(tmp_path):
    log = tmp_path / "log.jsonl"
    lines = ['{"step": 0, "failures": {"a": 1}}', '{"step": 1}']
    log.write_text("\n".join([*lines, '{"step": 2, "failures": {"a": 1}', '{"step": 3}']))
    assert list(log_lines(log)) == [(line, json.loads(line)) for line in lines]
    assert read_log(log) == [json.loads(line) for line in lines]


def test_the_fingerprint_of_a_folder_is_that_of_its_files_and_their_names(tmp_path):
    found = []
    for name, inside in (("a", "one"), ("a", "two"), ("b", "one"), ("c/a", "one")):
        folder = tmp_path / str(len(found))
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(inside)
        found.append(folder_fingerprint(folder))
    assert len(set(found)) == 4
    (tmp_path / "0").rename(tmp_path / "moved")
    assert folder_fingerprint(tmp_path / "moved") == found[0]
