"""Documents of every layout become records: what is given and what is made, where long ones are cut, and what is missing."""

import base64
import io
import json
from html import escape
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ernest.config.media import USUAL
from ernest.data.decoded import DecodedRecords
from ernest.data.documents import Document, Part, Room, records_of
from ernest.data.examples import outline
from ernest.data.importers import ImportSummary, import_folder
from ernest.data.layout import lay_out_example
from ernest.data.records import load_records, read_lines
from ernest.sequence.record import Record
from ernest.tokenizers.text import TextTokenizer
from tests.small import tokenizers

COLOURS = {"red": (255, 0, 0), "lime": (0, 255, 0), "blue": (0, 0, 255)}
NAMES = {colour: name for name, colour in COLOURS.items()}


def png(colour: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 40), colour).save(file, "png")
    return file.getvalue()


def write(path: Path, content: str | bytes | list) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, list):
        content = "".join(json.dumps(row) + "\n" for row in content)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder with a picture of each colour, and a sound."""
    import soundfile

    for colour in COLOURS:
        write(tmp_path / f"in/img/{colour}.png", png(colour))
    soundfile.write(tmp_path / "in/img/hum.wav", 0.1 * np.ones(800), 8000)
    return tmp_path / "in"


def shown(record: Record) -> list[str]:
    """The segments in short: a text, or the colour of a picture, or its kind; with a star where it is made."""
    names = []
    for segment in record.segments:
        name = segment.data
        if segment.kind != "text":
            name = f"<{NAMES.get(tuple(segment.data[16, 16]), '?') if segment.kind == 'image' else segment.kind}>"
        names.append(name + "*" * segment.made)
    return names


def imported(folder: Path, **settings) -> tuple[list[tuple[str, list[str]]], ImportSummary]:
    summary = import_folder(folder, folder.parent / "out", held_out=0, **settings)
    return [(record.task, shown(record)) for record in load_records(folder.parent / "out")], summary


READ = ("document→text", ["one*", "<red>", "two*", "<lime>", "three*"])
CONTINUED = [
    ("document→image", ["one", "<red>*", "two*"]),
    ("document→image", ["one", "<red>", "two", "<lime>*", "three*"]),
]

# ------------------------------------------------------------------ layouts

MARKDOWN = "---\ntitle: x\n---\none ![](img/red.png) two\n\n![red](<img/lime.png>)\n\n*three*\n"
HTML = """<!doctype html><title>t</title><style>p {}</style><body><p>one<img src="img/red.png?v=1#x" alt="red.png">
<p>two<figure><img src="data:image/png;base64,%s"><figcaption>three</figcaption></figure>
<script>let x = "<img src=no.png>"</script>"""
ROWS = {
    "interleaved": {"texts": ["one", None, "two", None, "three"], "images": [None, "red.png", None, "img/lime.png", None]},
    "numbered": {
        "text_list": ["one", "two", "three"],
        "image_info": [
            {"image_name": "lime.png", "matched_text_index": 2, "raw_url": "https://example.org/lime.png"},
            {"image_name": "red.png", "matched_text_index": 1},
        ],
        "similarity_matrix": [[0.1, 0.2, 0.3]] * 2,
    },
}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("page.md", MARKDOWN.replace("![red](<img/lime.png>)", "![[lime.png|200]]")),
        ("page.md", MARKDOWN.replace("![red](<img/lime.png>)", "![lime](/img/lime.png)")),
        ("page.html", HTML % base64.b64encode(png("lime")).decode()),
        ("deep/page.htm", "one<img src='..\\img\\red.png'>two<div><img data-src='../img/lime.png' src='x.gif'></div>three"),
        ("rows.jsonl", [ROWS["interleaved"]]),
        ("rows.json", json.dumps([ROWS["numbered"]])),
    ],
)
def test_a_document_is_read_and_continued(folder, name, content):
    write(folder / name, content)
    records, summary = imported(folder)
    assert records == [READ, *CONTINUED]
    assert (summary.documents, summary.skipped) == (1, ())


def test_the_words_of_a_medium_follow_where_it_is_read_and_go_before_where_it_is_made(folder):
    write(folder / "page.md", "![a red card](img/red.png)\n\nthen\n\n<audio><source src='img/hum.wav'>get a browser</audio>\n")
    assert imported(folder)[0] == [
        ("document→text", ["<red>", "a red card\nthen*", "<audio>"]),
        ("document→image", ["a red card", "<red>*", "then*"]),
        ("document→speech", ["a red card", "<red>", "then", "<audio>*"]),
    ]


URL = "data:image/png;base64," + base64.b64encode(png("red")).decode()


def said(*turns: object) -> list[dict[str, object]]:
    """Messages of the user and the assistant in turns."""
    return [{"role": ("user", "assistant")[number % 2], "content": content} for number, content in enumerate(turns)]


LLAVA = [{"from": "human", "value": "<image>\nwhich?"}, {"from": "gpt", "value": "red"}]
SHOWN = [{"type": "text", "text": "which?"}, {"type": "image_url", "image_url": {"url": URL}}]
DRAWN = [{"type": "text", "text": "red; in blue"}, {"type": "image", "path": "img/blue.png"}]
CHATS = [
    ({"image": "img/red.png", "conversations": LLAVA}, ("chat→text", ["<red>", "which?", "red*"])),
    (
        {"images": ["/moved/img/lime.png"], "messages": said("which?", "lime, not <video>")},
        ("chat→text", ["<lime>", "which?", "lime, not <video>*"]),
    ),
    (
        {"messages": [{"role": "system", "content": "be short"}, *said(SHOWN, DRAWN)]},
        ("chat→image", ["be short", "which?", "<red>", "red; in blue*", "<blue>*"]),
    ),
    (
        {"images": ["img/red.png", "img/blue.png"], "messages": said([{"type": "image"}, "and", {"type": "image"}], "2")},
        ("chat→text", ["<red>", "and", "<blue>", "2*"]),
    ),
    (
        {"images": ["img/red.png"], "texts": [{"user": "which?", "assistant": "red"}, {"user": "sure?", "assistant": "yes"}]},
        ("chat→text", ["<red>", "which?", "red*", "sure?", "yes*"]),
    ),
]


def test_chats_make_what_the_assistant_says(folder):
    write(folder / "chats.jsonl", [row for row, _ in CHATS])
    records, summary = imported(folder)
    assert records == [record for _, record in CHATS]
    assert summary.skipped == ()


def test_parquet_holds_rows_with_bytes_or_paths(folder):
    arrow, parquet = (pytest.importorskip(name) for name in ("pyarrow", "pyarrow.parquet"))
    media = [[None, {"bytes": png("red"), "path": "x.png"}, None, {"bytes": None, "path": "img/lime.png"}, None]]
    parquet.write_table(arrow.table({"texts": [ROWS["interleaved"]["texts"]], "images": media}), folder / "train.parquet")
    assert imported(folder)[0] == [READ, *CONTINUED]


# ------------------------------------------------------------------ what is missing or wrong


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("img/none.png", "img/none.png: there is no such file"),
        ("https://example.org/a.png", "https://example.org/a.png: lies elsewhere, and is not fetched"),
        ("//example.org/a.png", "lies elsewhere"),
        ("../secret.png", "../secret.png: lies outside of the folder"),
        ("file:///etc/passwd", "there is no such file"),
        ("torn.png", "torn.png: not a picture that can be read"),
        ("long.wav", "lasts"),
    ],
)
def test_a_document_is_cut_where_a_medium_is_missing(folder, source, reason):
    import soundfile

    write(folder.parent / "secret.png", png("red"))
    write(folder / "torn.png", png("red")[:60])
    soundfile.write(folder / "long.wav", np.zeros(80_000), 8000)
    write(folder / "page.md", f"one\n\n![words]({source})\n\ntwo\n\n![](img/red.png)\n")
    write(folder / "rows.jsonl", [{"image": [source], "conversations": [{"from": "human", "value": "<image> which?"},
                                                                         {"from": "gpt", "value": "red"}]}])  # fmt: skip
    records, summary = imported(folder)
    assert records == [
        ("document→text", ["one*"]),
        ("document→text", ["two*", "<red>"]),
        ("document→image", ["two", "<red>*"]),
    ]
    assert len(summary.skipped) == 2
    assert all(reason in line for line in summary.skipped)
    assert summary.skipped[0].startswith("page.md: cut: ")
    assert summary.skipped[1].startswith("rows.jsonl/1: left out: ")


def test_a_name_that_may_mean_two_files_means_none(folder):
    write(folder / "other/red.png", png("blue"))
    write(folder / "rows.jsonl", [{"texts": ["one", None], "images": [None, "red.png"]}])
    records, summary = imported(folder)
    assert records == [("document→text", ["one*"])]
    assert summary.skipped == ("rows.jsonl/1: cut: red.png: there is no such file",)


def test_a_chat_ends_before_the_question_that_lacks_a_medium(folder):
    asked = said("a <image>", "b") * 3
    write(folder / "chats.jsonl", [{"images": ["img/red.png", "no.png", "img/lime.png"], "messages": asked}])
    records, summary = imported(folder)
    assert records == [("chat→text", ["a", "<red>", "b*"])]
    assert summary.skipped == ("chats.jsonl/1: cut: no.png: there is no such file",)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("{", "not JSON"),
        (json.dumps({"text": "a"}), "neither messages, nor texts beside images"),
        (json.dumps({"texts": ["a"], "images": []}), "1 texts beside 0 media: not parallel"),
        (json.dumps({"texts": ["a"], "images": ["img/red.png"]}), "texts[0] stands beside a medium"),
        (json.dumps({"text_list": ["a"], "image_info": [{"matched_text_index": 1}]}), "matched_text_index 1 is none of the 1"),
        (json.dumps({"messages": [{"role": "poet", "content": "a"}]}), "messages[0]: role 'poet' is none of user"),
        (json.dumps({"messages": said("which?")}), "nothing is said by the assistant"),
        (json.dumps({"messages": [{"role": "user", "content": [{"type": "tool_use"}]}]}), "a part of type 'tool_use'"),
        (json.dumps({"messages": [{"role": "user", "content": [{"type": "image"}]}]}), "names no medium"),
        (
            json.dumps({"images": ["a", "b"], "messages": [{"role": "user", "content": "<image>"}]}),
            "1 places <image> for 2 media",
        ),
        (json.dumps({"messages": [{"role": "assistant", "content": "\ud800"}]}), "half a surrogate pair"),
        (json.dumps({"messages": [{"role": "assistant", "content": 3}]}), "expected a text, got '3'"),
        (json.dumps([1]), "neither messages"),
    ],
)
def test_one_bad_document_is_one_complaint(folder, row, reason):
    good = json.dumps(ROWS["interleaved"])
    write(folder / "rows.jsonl", f"{good}\n\n{row}\n{good}\n")
    records, summary = imported(folder)
    assert records == 2 * [READ, *CONTINUED]
    (line,) = summary.skipped
    assert line.startswith("rows.jsonl/2: ")
    assert reason in line


# ------------------------------------------------------------------ beside captioned media


def test_captioned_media_and_documents_come_in_together(folder):
    """A readme is no document, what a document shows needs no caption, and names of folders are none beside documents."""
    write(folder / "captions.csv", "file,caption\nimg/blue.png,a blue card\n")
    write(folder / "README.md", "![](img/blue.png) a readme")
    write(folder / "notes.md", "words alone")
    write(folder / "page.md", "one ![](img/red.png)")
    notes = []
    records, summary = imported(folder, tell=notes.append)
    assert records == [
        ("image→text", ["<blue>", "a blue card*"]),
        ("text→image", ["a blue card", "<blue>*"]),
        ("document→text", ["words alone*"]),
        ("document→text", ["one*", "<red>"]),
        ("document→image", ["one", "<red>*"]),
    ]
    assert (summary.documents, summary.captions, summary.skipped) == (2, "the table captions.csv", ())
    assert notes[:2] == [
        "2 documents, in notes.md, page.md",
        "not used: 2 files that no document shows and that have no caption",
    ]


def test_pages_without_media_are_no_documents(folder):
    write(folder / "notes.md", "words alone")
    write(folder / "dog/one.png", png("red"))
    assert imported(folder)[0] == [("image→text", ["<red>", "dog*"]), ("text→image", ["dog", "<red>*"])]


def test_whole_documents_are_held_out(folder):
    """A tenth, or those of the folder's own split; one that is there twice stays on one side."""
    rows = [{"texts": [f"text {n // 2}", None], "images": [None, "img/red.png"]} for n in range(80)]
    write(folder / "all.jsonl", rows)
    summary = import_folder(folder, folder.parent / "tenth")
    texts = [{record.stored[0].segments[0].text for record in [records]} | {one.segments[0].text for one in records.stored}
             for records in (read_lines(folder.parent / "tenth"), read_lines(folder.parent / "tenth/held_out"))]  # fmt: skip
    assert 4 <= summary.held_out <= 32
    assert not texts[0] & texts[1]
    (folder / "all.jsonl").unlink()
    write(folder / "train.jsonl", rows[:60])
    write(folder / "test.jsonl", [{**row, "texts": [f"new {n}", None]} for n, row in enumerate(rows[60:])])
    summary = import_folder(folder, folder.parent / "own")
    assert (summary.records, summary.held_out, summary.held_out_by) == (
        120,
        40,
        "the files of their own test or validation split",
    )


# ------------------------------------------------------------------ properties

WORDS = st.lists(st.sampled_from(["a", "of", "stone", "river."]), min_size=1, max_size=6).map(" ".join)
CONTENTS = st.lists(st.one_of(WORDS, st.sampled_from([f"<{name}>" for name in COLOURS])), min_size=1, max_size=7)


def reference(contents: list[str]) -> list[tuple[str, list[str]]]:
    """The records of a document that fits a row, from its definition."""

    def joined(parts: list[tuple[str, bool]]) -> list[str]:
        found: list[list] = []
        for name, made in parts:
            if found and not name.startswith("<") and not found[-1][0].startswith("<") and found[-1][1] == made:
                found[-1][0] += f"\n{name}"
            else:
                found.append([name, made])
        return [name + "*" * made for name, made in found]

    is_text = [not name.startswith("<") for name in contents]
    records = [("document→text", joined(list(zip(contents, is_text, strict=True))))] if any(is_text) else []
    for index in range(1, len(contents)):
        if not is_text[index]:
            end = next((n for n in range(index + 1, len(contents)) if not is_text[n]), len(contents))
            parts = [(name, n >= index) for n, name in enumerate(contents[:end])]
            records.append(("document→image", joined(parts)))
    return records


@settings(max_examples=8)
@given(documents=st.lists(CONTENTS, min_size=1, max_size=4))
def test_pages_and_rows_of_one_content_become_the_records_of_its_definition(tmp_path_factory, documents):
    folder = tmp_path_factory.mktemp("documents") / "in"
    for colour in COLOURS:
        write(folder / f"{colour}.png", png(colour))
    source = lambda name: f"{name[1:-1]}.png"
    image = lambda name: name.startswith("<")
    for number, contents in enumerate(documents):
        markdown = "\n\n".join(f"![]({source(one)})" if image(one) else one for one in contents)
        page = "".join(f"<img src={source(one)}>" if image(one) else f"<p>{escape(one)}" for one in contents)
        rows = {"texts": [None if image(one) else one for one in contents],
                "images": [source(one) if image(one) else None for one in contents]}  # fmt: skip
        write(folder / f"{number}a.jsonl", [rows])
        if any(map(image, contents)):
            write(folder / f"{number}b.md", markdown)
            write(folder / f"{number}c.html", page)
    expected = []
    for contents in documents:
        expected += reference(contents) * (3 if any(map(image, contents)) else 1)
    if expected:
        records, summary = imported(folder)
        assert records == expected
        assert all("holds nothing that could be made" in line for line in summary.skipped)
    else:
        with pytest.raises(ValueError, match="holds nothing that could be made"):
            imported(folder)


def parts(spec: list, chat: bool) -> list[Part]:
    return [
        Part("text", "x" * one, made=chat and turn % 2 == 1, turn=turn if chat else 0)
        if isinstance(one, int)
        else Part("image", np.full((32, 32, 3), turn, np.uint8), made=chat and turn % 2 == 1, turn=turn if chat else 0)
        for turn, one in enumerate(spec)
    ]


@given(spec=st.lists(st.one_of(st.integers(1, 150), st.none()), min_size=1, max_size=12), chat=st.booleans())
def test_pieces_fit_rows_and_lose_nothing_that_is_made(spec, chat):
    """In order, each text that is read is made once, in pieces that may be joined; and no record is longer than a row."""
    room = Room(60, USUAL, len)
    document = Document("d", "", parts(spec, chat), chat)
    records = records_of([document.units()], document, room)
    reading = [record for record in records if record.task == "document→text" or chat]
    told = "".join(segment.data for record in reading for segment in record.segments if segment.kind == "text" and segment.made)
    assert told == "".join(part.data for part in document.parts if part.kind == "text" and (part.made or not chat))
    for record in records:
        taken = [Part(one.kind, one.data) for one in record.segments]
        assert 1 + sum(room.positions(part, one.made) for part, one in zip(taken, record.segments, strict=True)) <= 60


def test_chats_are_cut_before_questions():
    lengths = [5, 5, 5, 5, 5, 20]  # a question and two answers, twice
    said = [Part("text", "x" * count, made=number % 3 > 0, turn=number) for number, count in enumerate(lengths)]
    document = Document("d", "", said, chat=True)
    cut = lambda length: [[len(one.data) for one in record.segments]
                          for record in records_of([document.units()], document, Room(length, USUAL, len))]  # fmt: skip
    assert cut(60) == [lengths]
    assert cut(45) == [lengths[:3], lengths[3:]]
    assert cut(25) == [[5, 5, 5], [5, 5], [20]]


def test_long_texts_are_cut_at_lines_sentences_words_and_then_anywhere():
    room = Room(20, USUAL, len)
    cut = lambda text: [record.segments[0].data for record in records_of([[[Part("text", text)]]], Document("d", "", []), room)]
    assert cut("one two\nthree four. Five\nsix") == ["one two", "three four.", "Five\nsix"]
    assert cut("one two three four five six") == ["one two three", "four five six"]
    assert cut("a" * 40) == ["a" * 10] * 4
    assert cut("短い文です。これは次の文です。") == ["短い文です。これは次の文です。"]


def test_pieces_of_real_texts_fit_the_rows_of_a_training(folder):
    """By the tokenizer that is trained on the records themselves, as `ernest train` does."""
    rng = np.random.default_rng(0)
    words = ["river", "stone", "house", "tower", "green", "über", "under", "the", "a", "of"]
    long = lambda count: " ".join(rng.choice(words, count)) + "."
    write(folder / "page.md", "\n\n".join(f"{long(60)} {long(20)}\n\n![{long(5)}](img/red.png)" for _ in range(8)))
    summary = import_folder(folder, folder.parent / "out", held_out=0, length=96, vocabulary=300)
    assert summary.skipped == ()
    records = load_records(folder.parent / "out")
    texts = [one.data for record in records for one in record.segments if one.kind == "text"]
    shapes, tokenizer = tokenizers(), TextTokenizer.train(texts, 300)
    lengths = [len(lay_out_example(outline(record, shapes), shapes, tokenizer.encode).layout) for record in records]
    assert max(lengths) <= 96
    assert np.mean(lengths) > 40


def test_the_texts_beside_a_picture_are_those_up_to_the_next_one(folder):
    write(folder / "rows.jsonl", [ROWS["interleaved"]])
    import_folder(folder, folder.parent / "out", held_out=0)
    DecodedRecords.write(folder.parent / "decoded", read_lines(folder.parent / "out"), lambda line, record: None)
    assert list(DecodedRecords(folder.parent / "decoded").captions("image").values()) == [["one", "two"], ["two", "three"]]
