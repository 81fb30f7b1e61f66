"""The report is one valid page that needs nothing else, shows what was found, and bears what is missing."""

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from ernest.evaluation.results import Findings, Sample, StageTime, SubModelRow
from ernest.report import charts
from ernest.report.page import page, write_report
from ernest.report.svg import PALETTE
from tests.report.made_up import TASKS, findings

VOID = {"meta", "link", "img", "br", "input", "hr"}


class Reader(HTMLParser):
    """Reads a page strictly: every element is closed by its own end. Collects attributes and the text that is seen."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def text() -> str:
    return page(findings())


@pytest.fixture(scope="module")
def read(text) -> Reader:
    return Reader(text)


def test_nothing_is_fetched_from_elsewhere(read, text):
    for tag, attributes in read.elements:
        for name in ("src", "href", "xlink:href", "data", "poster", "action"):
            if name in attributes:
                assert attributes[name].startswith(("data:", "#")), (tag, attributes[name][:80])
        assert tag not in {"script", "iframe", "object"}
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    assert "http" not in re.sub(r"base64,[^\"]*", "", text)


def test_names_within_the_page_are_unique_and_found(read, text):
    names = [attributes["id"] for _, attributes in read.elements if "id" in attributes]
    assert len(names) == len(set(names))
    pointed = {attributes["href"][1:] for _, attributes in read.elements if attributes.get("href", "").startswith("#")}
    pointed |= set(re.findall(r"url\(#([^)]+)\)", text))
    assert pointed <= set(names)


def test_samples_decode_to_what_went_in(read):
    found = findings()
    pictures = [Image.open(io.BytesIO(base64.b64decode(a["src"].partition(",")[2]))) for a in read.all("img")]
    for sample in found.samples:
        if sample.pixels is not None:
            still = sample.pixels if sample.pixels.ndim == 3 else sample.pixels[0]
            assert any(p.size == (32, 32) and np.array_equal(np.asarray(p.convert("RGB")), still) for p in pictures), sample.kind
    waves = [np.frombuffer(base64.b64decode(a["src"].partition(",")[2])[44:], "<i2") / 32767 for a in read.all("audio")]
    assert len(waves) == 3
    assert np.abs(waves[0] - found.samples[2].wave).max() < 1e-4
    assert all("controls" in attributes for attributes in read.all("audio"))


def test_words_are_shown_as_they_are_and_never_as_markup(read):
    assert "a <b>blue</b> six" in read.text
    assert "in truth: a blue six" in read.text
    assert "a <small> one" in read.text
    assert "A kind of its own".lower() in read.text.lower()


def test_tables_hold_the_numbers(read):
    for number in ("0.937", "0.811", "0.852", "0.613", "0.983", "0.957", "0.312", "299", "54 %", "36 %"):
        assert number in read.text
    assert "4 of 5 bars reached" in read.text
    assert "13.8 minutes on 2 processors" in read.text
    assert "energy ends at 40 %" in read.text
    assert "breaks the energy law" in read.text


def test_every_chart_is_there_in_the_colours_of_the_page(read, text):
    drawn = [attributes for attributes in read.all("svg") if attributes.get("class") == "chart"]
    # Three losses and speed; two elastic; three layers and entropy; three layers and their mean; stages.
    assert len(drawn) == 4 + 2 + 4 + 4 + 1
    body = text[text.index("</style>") :]
    assert not [colour for colour in PALETTE.values() if colour in body]
    assert "#000000" not in body
    for variable in PALETTE:
        assert text.count(f"--{variable}:") == 2, "one by day and one by night"


def test_pages_are_the_same_each_time(text):
    assert page(findings()) == text


@pytest.mark.parametrize("name", ["scores", "samples", "submodels", "metrics", "usage", "load", "stages", "facts"])
def test_each_part_stands_alone(name):
    alone = Reader(page(replace(Findings("alone"), **{name: getattr(findings(), name)})))
    assert alone.all("section")


def test_a_run_that_has_hardly_begun_has_a_report():
    found = Findings(
        "one step",
        metrics=({"step": 0, "text": 5.9, "vision": float("nan"), "positions": 10, "seconds": 0.0},),
        usage={"text": np.full((1, 4), 0.25)},
        submodels=(SubModelRow("full", 1.0, 1.0, 1, 4, 1, {"text": 0.0}),),
        stages=(StageTime("world", 0.0, 0.0),),
        samples=(
            Sample("video made", pixels=np.zeros((1, 32, 32, 3), np.uint8)),
            Sample("speech made", wave=np.zeros(1, np.float32)),
        ),
    )
    read = Reader(page(found))
    assert "5.90" in read.text
    assert "How it learned" in read.text
    nothing = Reader(page(Findings("nothing")))
    assert nothing.text.startswith("nothing")
    assert nothing.all("section") == []


def test_a_report_is_written_in_place(tmp_path):
    path = tmp_path / "demo" / "report.html"
    write_report(path, Findings("older"))
    write_report(path, Findings("new – née"))
    assert path.read_text(encoding="utf-8") == page(Findings("new – née"))
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]


def test_the_curve_names_the_stages_of_a_run_that_has_some():
    lines = [{"step": n, "text": 3.0 - n, "stage": 1 + (n > 0), "length": 256 << n} for n in range(3)]
    (svg,) = charts.losses(lines).values()
    assert "stage 2, rows of 512" in svg
    assert "stage 2, rows of 1,024" in svg
    plain = [{name: value for name, value in line.items() if name in ("step", "text")} for line in lines]
    assert "rows of" not in next(iter(charts.losses(plain).values()))


def test_labels_of_curves_never_overlap():
    """Six curves that end at one height: their labels stand a line apart."""
    names = [f"text→image {number}" for number in range(6)]
    rows = [SubModelRow(str(share), share, share, 1, 1, 1, dict.fromkeys(names, share)) for share in (0.5, 1.0)]
    (drawn, _) = charts.elastic(rows).values()
    heights = sorted(float(y) for y, _ in re.findall(r' y="([\d.]+)"[^>]*>(text→image \d)', drawn))
    assert len(heights) == 6
    assert np.diff(heights).min() > 10


@pytest.mark.parametrize(
    ("direction", "kind", "makes"),
    [
        ("text", "text", False),
        ("text→image", "image", True),
        ("image → text", "image", False),
        ("question about image", "image", False),
        ("text→first frame", "video", True),
        ("speech→text, voices never heard", "audio", False),
        ("image→speech", "audio", True),
    ],
)
def test_directions_are_coloured_by_what_is_not_text(direction, kind, makes):
    assert charts.modality(direction) == kind
    assert charts.generates_media(direction) is makes


def test_experts_are_sorted_by_favourite_task(monkeypatch):
    """Specialists of one task stand side by side, in the order of the tasks, each task's most specialised expert first."""
    drawn: dict[str, np.ndarray] = {}

    def keep(name, draw, height):
        drawn[name] = draw.keywords["share"]
        return name

    monkeypatch.setattr(charts, "chart", keep)
    titles = charts.usage({"text": np.array([[0.1, 0.5, 0.1, 0.3]]), "image": np.array([[0.4, 0.0, 0.6, 0.0]])})
    assert list(titles) == ["Last layer"]
    (share,) = drawn.values()
    assert share.tolist() == [[0.5, 0.3, 0.1, 0.1], [0.0, 0.0, 0.6, 0.4]]


def test_every_map_of_experts_names_every_task():
    for drawn in charts.usage(findings().usage).values():
        assert all(task in drawn for task in TASKS)
