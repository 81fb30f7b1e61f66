"""Folders and manifests of pictures, and what is wrong with them in one line."""

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ernest.lcnet.training.listing import UNLABELLED, Listing, concatenate, read_listing, read_unlabelled, split


def write(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    for name in ("cat/2.png", "cat/1.PNG", "cat/deep/er.bmp", "ant/x.png"):
        write(data / name)
    (data / "cat" / "notes.txt").write_text("no picture")
    (data / "cat" / ".hidden.png").write_text("no picture")
    (data / ".cache").mkdir()
    return data


def test_a_folder_has_a_class_for_each_sub_folder_sorted(folder: Path) -> None:
    found = read_listing(folder)
    assert found.labels == ("ant", "cat")
    assert [file.relative_to(folder).as_posix() for file in found.files] == [
        "ant/x.png",
        "cat/1.PNG",
        "cat/2.png",
        "cat/deep/er.bmp",
    ]
    assert found.targets == (0, 1, 1, 1)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
def test_a_manifest_tells_the_same(folder: Path, suffix: str) -> None:
    pairs = [("ant/x.png", "ant"), ("cat/2.png", "ein, Kater"), ("cat/1.PNG", "ant")]
    manifest = folder / f"list{suffix}"
    if suffix == ".jsonl":
        manifest.write_text("".join(json.dumps({"file": file, "label": label}) + "\n\n" for file, label in pairs))
    else:
        mark = "," if suffix == ".csv" else "\t"
        manifest.write_text(f"label{mark}file\n" + "".join(f'"{label}"{mark}{file}\n' for file, label in pairs))
    found = read_listing(manifest)
    assert found.labels == ("ant", "ein, Kater")
    assert found.targets == (0, 1, 0)
    assert found.files == tuple(folder / file for file, _ in pairs)


def test_given_labels_keep_their_places_and_admit_no_others(folder: Path) -> None:
    assert read_listing(folder, ("zebu", "cat", "ant")).targets == (2, 1, 1, 1)
    with pytest.raises(ValueError, match=r"data: class 'ant' is none of those trained for: zebu, cat"):
        read_listing(folder, ("zebu", "cat"))


def test_a_class_without_pictures_and_a_single_class_are_refused(folder: Path) -> None:
    (folder / "dog").mkdir()
    with pytest.raises(ValueError, match=r"data/dog: a class with no pictures"):
        read_listing(folder)
    only = write(folder.parent / "only" / "cat" / "1.png")
    with pytest.raises(ValueError, match=r"only: expected pictures of at least two classes, found cat"):
        read_listing(only.parent.parent)
    with pytest.raises(ValueError, match=r"cat: expected one sub-folder for each class, found none"):
        read_listing(only.parent)
    for place in (only.parent, only.parent.parent):
        (place / "metadata.csv").touch()
        with pytest.raises(ValueError, match=f"; if a table tells the classes, name it: {place / 'metadata.csv'}"):
            read_listing(place)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("l.csv", "", "l.csv: no lines"),
        ("l.csv", "a,b\n1,2\n", "l.csv, line 2: no file; the columns are to be called file and label"),
        ("l.csv", "file,label\nant/x.png\n", "l.csv, line 2: no label;"),
        ("l.csv", "file,label\nant/x.png,a\ngone.png,b\n", "l.csv, line 3: "),
        ("l.csv", "file,label\nant/x.png,a\nant/x.png,b\n", "is listed more than once"),
        ("l.jsonl", '{"file": 1', "l.jsonl, line 1: no JSON"),
        ("l.jsonl", "[1]", "l.jsonl, line 1: no file;"),
        ("l.txt", "", "l.txt: expected a folder of class sub-folders, or a manifest .csv, .jsonl, .tsv"),
        ("l.csv", b"\xff\xfe\x00", "l.csv: expected UTF-8"),
    ],
)
def test_wrong_manifests_name_the_line(folder: Path, name: str, text: str | bytes, said: str) -> None:
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=re.escape(said)):
        read_listing(folder / name)


def test_a_split_holds_out_a_share_of_each_class_and_loses_none() -> None:
    files = tuple(Path(f"{i}") for i in range(130))
    targets = (0,) * 100 + (1,) * 28 + (2,) * 2
    listing = Listing(files, targets, ("a", "b", "c"))
    learn, score = split(listing, 0.1, seed=3)
    assert Counter(score.targets) == {0: 10, 1: 3, 2: 1}
    assert sorted(learn.files + score.files) == sorted(files)
    assert split(listing, 0.1, seed=3) == (learn, score)
    assert split(listing, 0.1, seed=4) != (learn, score)
    with pytest.raises(ValueError, match="class 'c': expected at least two pictures"):
        split(Listing(files[:129], targets[:129], ("a", "b", "c")), 0.1, seed=0)


def test_pictures_without_labels_are_found_at_any_depth(folder: Path) -> None:
    more = read_unlabelled(folder, ("ant", "cat"))
    assert len(more.files) == 4
    assert set(more.targets) == {UNLABELLED}
    assert len(concatenate(read_listing(folder), more).files) == 8
    with pytest.raises(ValueError, match=r"gone: expected a folder with pictures"):
        read_unlabelled(folder / "gone", ("ant",))


def test_classes_that_go_by_numbers_stand_at_their_numbers(tmp_path: Path) -> None:
    """Whoever counts the answers of a network takes the tenth for class 10, not for class 2."""
    for number in range(12):
        write(tmp_path / "numbers" / str(number) / "x.png")
    assert read_listing(tmp_path / "numbers").labels == tuple(map(str, range(12)))
    write(tmp_path / "numbers" / "b1" / "x.png")
    assert read_listing(tmp_path / "numbers").labels == ("0", "1", "10", "11", *map(str, range(2, 10)), "b1")


def test_a_folder_that_names_no_class_is_refused_and_a_folder_around_all_is_told(tmp_path: Path) -> None:
    for name in (" ", "cat", "dog"):
        write(tmp_path / "flowers" / name / "x.png")
    with pytest.raises(ValueError, match="flowers: a sub-folder is called ' ', which names no class"):
        read_listing(tmp_path / "flowers")
    with pytest.raises(ValueError, match=f"found flowers; if the folders in it are the classes, name {tmp_path / 'flowers'}"):
        read_listing(tmp_path)
