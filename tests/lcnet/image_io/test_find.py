"""Which files of a folder are pictures, and what is told of the others."""

import inspect
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ernest.lcnet.image_io import find
from ernest.lcnet.image_io.find import describe_left_out, find_pictures, name_pictures, printable


def write(path: Path, kind: str = "PNG") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(path, kind)
    return path


def names(folder: Path) -> list[str]:
    return [file.relative_to(folder).as_posix() for file in find_pictures(folder).files]


def test_pictures_are_known_by_their_endings_and_without_one_by_how_they_begin(tmp_path: Path) -> None:
    kinds = {"a.jfif": "JPEG", "b.avif": "AVIF", "c": "PNG", "d": "JPEG", "e": "WEBP", "f": "GIF", "g": "TIFF", "h": "BMP"}
    kinds["i.JPE"] = "JPEG"
    for name, kind in kinds.items():
        write(tmp_path / name, kind)
    for name, text in (("README", "words"), ("empty", ""), ("1.txt", "words"), ("2.txt", "words"), ("Thumbs.db", "words")):
        (tmp_path / name).write_text(text)
    os.mkfifo(tmp_path / "pipe")
    assert names(tmp_path) == sorted(kinds)
    told = describe_left_out(find_pictures(tmp_path).left_out)
    assert told == "1 .db, 2 .txt, 3 without an ending"


def test_copies_and_hidden_files_are_counted_and_not_taken(tmp_path: Path) -> None:
    for name in (
        "1.png",
        "._1.png",
        ".ipynb_checkpoints/1-checkpoint.png",
        "@eaDir/1.png/SYNOPHOTO_THUMB_M.png",
        "in/__MACOSX/in/1.png",
    ):
        write(tmp_path / name)
    found = find_pictures(tmp_path)
    assert names(tmp_path) == ["1.png"]
    assert dict(found.left_out) == {"hidden": 1, "in .ipynb_checkpoints": 1, "in @eaDir": 1, "in __MACOSX": 1}


def test_links_are_followed_once_even_in_circles(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere/1.png")
    write(tmp_path / "data/2.png")
    (tmp_path / "data/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data/zlinked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/up").symlink_to(tmp_path / "data")
    (tmp_path / "data/3.png").symlink_to(tmp_path / "elsewhere/1.png")
    (tmp_path / "data/self").symlink_to("self")
    assert names(tmp_path / "data") == ["2.png", "3.png", "linked/1.png"]


def test_a_folder_that_cannot_be_read_stands_for_its_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "good/1.png")
    write(tmp_path / "locked/2.png")
    scan = os.scandir

    def scandir(path: str):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(find.os, "scandir", scandir)
    assert names(tmp_path) == ["good/1.png", "locked"]


def test_very_deep_folders_are_walked(tmp_path: Path) -> None:
    """Deeper than Python calls functions."""
    deep = tmp_path.joinpath(*["d"] * 300)
    deep.mkdir(parents=True)
    write(deep / "1.png")
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 150)
    try:
        assert find_pictures(tmp_path).files == (deep / "1.png",)
    finally:
        sys.setrecursionlimit(before)


def test_names_that_are_no_text_can_be_printed(tmp_path: Path) -> None:
    write(Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png")))
    name = find_pictures(tmp_path).files[0].name
    assert printable(name) == r"caf\xe9.png"
    assert printable("naïve.png") == "naïve.png"


def test_named_files_are_taken_whatever_they_are_called(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("words")
    with pytest.raises(ValueError, match="expected a folder with pictures"):
        name_pictures([tmp_path])
    write(tmp_path / "1.png")
    found = name_pictures([tmp_path / "notes.txt", tmp_path, "x" * 300])
    assert [str(file) for file in found.files] == [f"{tmp_path}/notes.txt", f"{tmp_path}/1.png", "x" * 300]
    assert found.left_out == ((".txt", 1),)


@pytest.mark.parametrize("name", ["frame.0001", "1.jpg?width=640&x", "Screenshot at 10.11.12", "a.", "x.7 (copy)", "photo.été"])
def test_what_stands_behind_a_dot_is_not_always_a_kind(name: str, tmp_path: Path) -> None:
    write(tmp_path / "in" / name)
    (tmp_path / "in" / f"2{name}").write_text("words")
    assert names(tmp_path) == [f"in/{name}"]
    assert find_pictures(tmp_path).left_out == (("without an ending", 1),)


def test_of_many_reasons_the_most_frequent_are_told() -> None:
    reasons = [(f".k{number:03}", 1 + number % 50) for number in range(200)]
    told = describe_left_out(reasons)
    assert told.startswith("50 .k049, 50 .k099, 50 .k149, 50 .k199, 49 .k048, ")
    assert told.endswith(f"{sum(count for _, count in reasons) - 4 * 50 - 4 * 49} of other kinds")
    assert describe_left_out(reasons[:9]) == ", ".join(f"{count} {reason}" for reason, count in reasons[:9])
