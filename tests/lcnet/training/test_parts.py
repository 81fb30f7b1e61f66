"""Parts of a data set are told from classes by the names of folders, or refused."""

import re
from pathlib import Path

import pytest

from ernest.lcnet.training.listing import read_parts
from ernest.lcnet.training.parts import word_of
from tests.lcnet.training.test_listing import write


def fill(folder: Path, *parts: str, count: int = 4) -> Path:
    for part in parts:
        for label in ("cat", "dog"):
            for number in range(count):
                write(folder / part / label / f"{number}.png")
    return folder


@pytest.mark.parametrize(
    "names",
    [
        ("train", "val"),
        ("train", "valid"),
        ("train", "validation"),
        ("training", "testing"),
        ("Train", "Val"),
        ("TRAIN", "TEST"),
        ("train", "dev"),
        ("seg_train", "seg_test"),
        ("train_set", "test_set"),
        ("trainset", "valset"),
        ("train2017", "val2017"),
        ("train-images", "val-images"),
        ("train/train", "test/test"),
    ],
)
def test_parts_are_recognised_by_their_names(names: tuple[str, str], tmp_path: Path) -> None:
    learn, score = read_parts(fill(tmp_path, *names), None, 0.25, 0)
    assert learn.labels == score.labels == ("cat", "dog")
    assert (len(learn.files), len(score.files)) == (8, 8)
    assert not learn.left_out
    for listing, name in ((learn, names[0]), (score, names[1])):
        assert {file.relative_to(tmp_path).as_posix().startswith(name) for file in listing.files} == {True}


def test_what_is_kept_for_the_end_is_left_alone_and_told(tmp_path: Path) -> None:
    learn, score = read_parts(fill(tmp_path, "train", "valid", "test"), None, 0.25, 0)
    assert (len(learn.files), len(score.files), learn.left_out) == (8, 8, (("in test", 8),))
    assert score.files[0].is_relative_to(tmp_path / "valid")


def test_a_lonely_part_to_learn_from_is_split(tmp_path: Path) -> None:
    learn, score = read_parts(fill(tmp_path, "train"), None, 0.25, 0)
    assert (learn.labels, len(learn.files), len(score.files)) == (("cat", "dog"), 6, 2)


def test_a_class_called_train_is_a_class(tmp_path: Path) -> None:
    for label in ("bus", "train", "car"):
        for number in range(4):
            write(tmp_path / label / f"{number}.png")
    assert read_parts(tmp_path, None, 0.25, 0)[0].labels == ("bus", "car", "train")
    assert [word_of(name) for name in ("train station", "Test tubes", "contest", "data")] == ["", "", "contest", ""]


def test_pictures_to_score_with_may_be_named(tmp_path: Path) -> None:
    fill(tmp_path, "train", "val", "other")
    learn, score = read_parts(tmp_path, tmp_path / "other", 0.25, 0)
    assert learn.files[0].is_relative_to(tmp_path / "train")
    assert score.files[0].is_relative_to(tmp_path / "other")
    assert learn.left_out == (("in val", 8),)
    assert read_parts(tmp_path, tmp_path / "val", 0.25, 0)[0].left_out == (("in other", 8),)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (
            ("fold1", "fold2"),
            "fold1, fold2 hold the same sub-folders (cat, dog): are they parts of the data",
        ),
        (("2024", "2025", "2026"), "2024, 2025, 2026 hold the same sub-folders"),
        (("train1", "train2", "test"), "train1 and train2 are both to learn from"),
    ],
)
def test_parts_under_other_names_are_refused(names: tuple[str, ...], said: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        read_parts(fill(tmp_path, *names), None, 0.25, 0)


@pytest.mark.parametrize("names", [("train", "holdout"), ("fold1", "fold2", "fold3"), ("Training", "unseen")])
def test_a_part_may_lack_a_rare_class(names: tuple[str, ...], tmp_path: Path) -> None:
    write(fill(tmp_path, *names) / names[0] / "bird" / "1.png")
    with pytest.raises(ValueError, match=r"hold the same sub-folders \(cat, dog\)"):
        read_parts(tmp_path, None, 0.25, 0)


@pytest.mark.parametrize("site", ["site1", "site3"])
def test_classes_that_share_some_sub_folders_are_classes(site: str, tmp_path: Path) -> None:
    """Whether all of them share one, or none does."""
    for name in ("fox/site1/1", "fox/site1/2", "fox/site2/1", "hare/site1/1", "hare/site1/2", f"train/{site}/1", "train/site3/2"):
        write(tmp_path / f"{name}.png")
    assert read_parts(tmp_path, None, 0.25, 0)[0].labels == ("fox", "hare", "train")


def test_classes_with_sub_folders_of_their_own_are_classes(tmp_path: Path) -> None:
    for name in ("cat/inside/1", "cat/outside/1", "dog/inside/1", "dog/2", "dog/outside/1", "cat/2", "cat/3"):
        write(tmp_path / f"{name}.png")
    assert read_parts(tmp_path, None, 0.25, 0)[0].labels == ("cat", "dog")


@pytest.mark.parametrize(("there", "taken"), [(("test",), None), (("test", "val"), "val")])
def test_a_part_with_pictures_of_no_class_is_left_alone_and_told(
    there: tuple[str, ...], taken: str | None, tmp_path: Path
) -> None:
    """As competitions hand out what is to be answered."""
    fill(tmp_path, "train", *(part for part in there if part != "test"))
    for number in range(3):
        write(tmp_path / "test" / f"{number}.png")
    learn, score = read_parts(tmp_path, None, 0.25, 0)
    assert learn.left_out == (("in test", 3),)
    assert (len(learn.files), len(score.files)) == ((8, 8) if taken else (6, 2))
