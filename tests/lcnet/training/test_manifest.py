"""Manifests as people and spreadsheets write them."""

import json
import re
from pathlib import Path

import pytest

from ernest.lcnet.training.manifest import clean_label, read_manifest
from tests.lcnet.training.test_listing import write


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
        ("x.jsonl", '\ufeff{"file_name": "a/1.png", "label": ["cat"]}\n\n{"file_name": "a/2.png", "label": "dog "}\n'.encode()),
    ],
)
def test_all_of_these_say_the_same(name: str, content: str | bytes, folder: Path) -> None:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert read_manifest(folder / name) == [(folder / "a/1.png", ("cat",)), (folder / "a/2.png", ("dog",))]


@pytest.mark.parametrize(
    ("value", "label"),
    [(3, "3"), (3.0, "3"), (2.5, "2.5"), (True, "true"), (" cat ", "cat"), (["cat"], "cat"), ("0", "0"), (0, "0")],
)
def test_labels_of_json_are_one_word(value: object, label: str, folder: Path) -> None:
    (folder / "x.jsonl").write_text(json.dumps({"file": "a/1.png", "label": value}))
    assert read_manifest(folder / "x.jsonl") == [(folder / "a/1.png", (label,))]


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
        read_manifest(folder / name)


def test_one_name_has_one_spelling() -> None:
    assert clean_label(" cafe\u0301 ") == clean_label("caf\u00e9") == "caf\u00e9"
