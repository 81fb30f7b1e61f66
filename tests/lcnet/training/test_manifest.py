"""Manifests as people and spreadsheets write them."""

import json
import re
import unicodedata
from pathlib import Path

import pytest

from ernest.lcnet.training.listing import Target, read_listing, read_parts
from ernest.lcnet.training.manifest import clean_label, read_manifest
from tests.lcnet.training.test_listing import write


def pairs(path: Path, separator: str = "") -> list[tuple[Path, tuple[str, ...]]]:
    return [(row.file, row.labels) for row in read_manifest(path, separator)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "a/1.png")
    write(tmp_path / "a/2.png")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.csv", "file,label\na/1.png,cat\na/2.png,dog\n"),
        ("x.csv", "\ufefffile,label\r\na/1.png,cat\r\na/2.png,dog\r\n".encode()),
        ("x.csv", "file;label\na/1.png;cat\na/2.png;dog\n"),
        ("x.csv", "file\tlabel\na/1.png\tcat\na/2.png\tdog\n"),
        ("x.tsv", "file,label\na/1.png,cat\na/2.png,dog\n"),
        ("x.csv", "file\tlabel\na/1.png\tcat\na/2.png\tdog\n".encode("utf-16")),
        ("x.csv", '\n, \nid, File ,Label,note\n\n1, a/1.png , cat ,\n,,,\n2,a/2.png,dog,"two\nlines, both"\n'),
        ("x.csv", 'Filename,Class\n"a\\1.png","cat"\n"a\\2.png","dog"\n'),
        ("x.csv", "sep=;\r\nfile;label\r\na/1.png;cat\r\na/2.png;dog\r\n"),
        ("x.csv", '\ufeff"sep=,"\nfile,label\na/1.png,cat\na/2.png,dog\n'.encode()),
        ("x.csv", "image_path|category\na/1.png|cat\na/2.png|dog"),
        ("x.csv", "image_name,tags\na/1.png,cat\na/2.png,dog"),
        ("x.csv", "img_path,labels,class_id\na/1.png,cat,0\na/2.png,dog,1"),
        ("x.jsonl", '\ufeff{"file_name": "a/1.png", "label": ["cat"]}\n\n{"file_name": "a/2.png", "label": "dog "}\n'.encode()),
    ],
)
def test_all_of_these_say_the_same(name: str, content: str | bytes, folder: Path) -> None:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert pairs(folder / name) == [(folder / "a/1.png", ("cat",)), (folder / "a/2.png", ("dog",))]


@pytest.mark.parametrize(
    ("value", "label"),
    [(3, "3"), (3.0, "3"), (2.5, "2.5"), (True, "true"), (" cat ", "cat"), (["cat"], "cat"), ("0", "0"), (0, "0")],
)
def test_labels_of_json_are_one_word(value: object, label: str, folder: Path) -> None:
    (folder / "x.jsonl").write_text(json.dumps({"file": "a/1.png", "label": value}))
    assert pairs(folder / "x.jsonl") == [(folder / "a/1.png", (label,))]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("x.jsonl", '{"file": "a/1.png", "label": ["cat", "dog"]}', "x.jsonl, line 1: expected one label, got 2: cat, dog"),
        (
            "x.jsonl",
            '{"file": "a/1.png", "label": {"id": 3}}',
            'expected a label of text or a number, got {"id": 3}',
        ),
        ("x.jsonl", '{"file": "a/1.png", "label": null}', "x.jsonl, line 1: no label"),
        ("x.jsonl", '{"file": "a/1.png", "label": []}', "x.jsonl, line 1: no label"),
        ("x.jsonl", '{"file": "a/1.png", "label": NaN}', "x.jsonl, line 1: no JSON (NaN is neither text nor a number)"),
        (
            "x.csv",
            "file,label\na/1.png,a cat, red\n",
            "expected 2 columns, got 3 cells; a name with ',' in it needs quotes",
        ),
        ("x.csv", "file,label\na/1.png,  \n", "line 2: no label"),
        ("x.csv", "a/1.png,cat\na/2.png,dog\n", "line 2: no file; the columns are to be called file and label"),
        ("x.csv", f"file,label\n{'x' * 300},cat\n", "x.csv, line 2: "),
        ("x.csv", f"file,label\na/1.png,{'x' * 140_000}\n", "x.csv: no table: field larger than field limit"),
        ("x.csv", "file,label\na/1.png,c\0t\na\0.png,dog\n", "x.csv"),
    ],
)
def test_wrong_lines_are_told(name: str, text: str, said: str, folder: Path) -> None:
    (folder / name).write_text(text)
    with pytest.raises(ValueError, match=re.escape(said)):
        pairs(folder / name)


def test_one_name_has_one_spelling() -> None:
    assert clean_label(" cafe\u0301 ") == clean_label("caf\u00e9") == "caf\u00e9"


@pytest.mark.parametrize("column", ["split", "Subset", "set"])
def test_parts_that_a_manifest_names_are_learnt_from_scored_with_or_left_alone(column: str, folder: Path) -> None:
    parts = ["train", "TRAIN", "val", "train", "test", "Validation", "?", "test"]
    rows = [f"{write(folder / f'{place}.png').name},{'cat' if place % 2 else 'dog'},{part}" for place, part in enumerate(parts)]
    (folder / "x.csv").write_text("\n".join([f"file,label,{column}", *rows]))
    learn, score = read_parts(folder / "x.csv", None, 0.1, 0)
    assert [file.name for file in learn.files] == ["0.png", "1.png", "3.png"]
    assert [file.name for file in score.files] == ["2.png"]  # of val and validation, as of val and test, the first
    assert learn.left_out == (("of part test", 2), ("of part unknown", 1), ("of part validation", 1))
    assert {len(part.files) for part in read_parts(folder / "x.csv", folder / "x.csv", 0.1, 0)} == {3, 8}
    (folder / "y.csv").write_text("file,label\n0.png,dog\n")
    left_out = read_parts(folder / "x.csv", folder / "y.csv", 0.1, 0)[0].left_out
    assert left_out == (*learn.left_out, ("of the part to score with", 1))


def test_a_column_of_parts_without_one_to_learn_from_is_not_looked_at(folder: Path) -> None:
    rows = [f"{write(folder / f'{place}.png').name},{'ab'[place % 2]},{'xy'[place // 4]}" for place in range(8)]
    (folder / "x.csv").write_text("\n".join(["file,label,split", *rows]))
    assert sum(len(part.files) for part in read_parts(folder / "x.csv", None, 0.25, 0)) == 8


@pytest.mark.parametrize("name", ["caf\u00e9/\u1e69.png", "cafe\u0301/s\u0323\u0307.png"])
def test_a_file_is_found_however_its_accents_are_spelled(name: str, folder: Path) -> None:
    """A Mac writes e and an accent, others one letter; both look the same."""
    write(folder / name)
    for form in ("NFC", "NFD"):
        for mark in ("/", "\\"):
            (folder / "x.csv").write_text(f"file,label\n{unicodedata.normalize(form, name).replace('/', mark)},a\n")
            assert pairs(folder / "x.csv") == [(folder / name, ("a",))]


def test_whole_numbers_of_a_table_are_classes_however_they_are_written(folder: Path) -> None:
    """A table of pandas that has an empty cell writes 1.0 for 1."""

    def found(*labels: str, known: tuple[str, ...] | None = None) -> tuple[tuple[str, ...], tuple[Target, ...]]:
        rows = [f"{write(folder / f'{place}.png').name},{label}" for place, label in enumerate(labels)]
        (folder / "x.csv").write_text("\n".join(["file,label", *rows]))
        listing = read_listing(folder / "x.csv", known)
        return listing.labels, listing.targets

    assert found("2.0", "10.0", "2") == (("2", "10"), (0, 1, 0))
    assert found("2.0", "10.5", "2") == (("10.5", "2", "2.0"), (2, 0, 1))
    assert found("1.0", "1", known=("0", "1")) == (("0", "1"), (1, 1))
    assert found("1.0", known=("0.5", "1.0")) == (("0.5", "1.0"), (1,))


def test_two_columns_of_one_name_are_refused(folder: Path) -> None:
    (folder / "x.csv").write_text("file,label,Label,,\na/1.png,cat,dog,,\n")
    with pytest.raises(ValueError, match=r"x\.csv, line 1: two columns are called 'label'"):
        pairs(folder / "x.csv")
