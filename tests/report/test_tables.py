"""The score table says the same in the terminal, on the page and in the benchmark file."""

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from ernest.evaluation.results import Findings, Score
from ernest.report.page import page
from ernest.report.rows import write_rows
from ernest.report.tables import figure, headline, html_table, rows, table
from tests.report.made_up import findings


def printed(found: Findings, width: int = 180) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(table(found))
    return console.file.getvalue()


def test_the_terminal_shows_every_figure_of_a_line():
    lines = printed(findings()).splitlines()
    number = next(number for number, line in enumerate(lines) if "text → image" in line)
    assert lines[number].split()[3:] == ["0.852", "≥", "0.9", "✗", "0.613", "≤", "0.01", "0.983", "0.957", "299"]
    assert lines[number + 1].strip() == "judge"


def test_a_narrow_terminal_loses_no_figure():
    text = printed(findings(), width=80)
    for number in ("0.937", "0.811", "0.852", "0.613", "0.983", "0.957", "0.312"):
        assert number in text


def test_the_headline_counts_bars():
    """Three are set on records, one of them missed; balance and speed are reached."""
    assert headline(findings()) == "4 of 5 bars reached"
    assert headline(Findings("none", (Score("x", "full", 1.0),))) == "no bars were set"


def test_rows_are_one_for_each_score_and_system():
    entries = {entry["row"]: entry for entry in rows(findings(), "make demo")}
    assert entries["text → image"] == {
        "row": "text → image", "value": 0.852, "bar": 0.9, "ok": False, "threads": 2, "command": "make demo",
    }  # fmt: skip
    assert entries["text → image [half]"]["bar"] is None
    assert entries["text → image [half]"]["ok"] is None
    assert entries["bits per byte ÷ unigram's"]["ok"] is True
    assert len(entries) == 7


def test_a_command_replaces_its_own_rows_and_no_others(tmp_path):
    path = tmp_path / "bench" / "model.jsonl"
    path.parent.mkdir()
    path.write_text(json.dumps({"row": "latency", "command": "make bench"}) + "\n")
    write_rows(rows(findings(), "make demo"), path)
    write_rows(rows(replace(findings(), scores=findings().scores[-2:]), "make demo"), path)
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    assert [entry["row"] for entry in entries] == ["latency", "mixture-load entropy, worst layer", "positions per second"]


def test_the_page_draws_no_track_where_a_figure_is_no_share():
    shown = html_table(Findings("speed", (Score("fast", "full", 7412.0, 6000.0), Score("right", "full", 0.5, 0.4))))
    assert "7,412" in shown
    assert "≥ 6,000" in shown
    assert shown.count('class="track') == 1
    assert "width:50.0%" in shown
    assert "left:40.0%" in shown


def test_columns_that_nothing_fills_are_left_out():
    """As of a run on data of one's own, which has no bars and no judge; a loss is no share, and gets no track."""
    known = {"chance": "0.143", "count": 35, "group": "g"}
    scores = [Score("a: text", "full", 0.343, **known), Score("a: loss", "full", 0.59, lower_is_better=True, **known)]
    own = Findings("own", (*scores, Score("a: text", "before", 0.25, **known)))
    lines = printed(own).splitlines()
    assert next(line for line in lines if "direction" in line).split() == ["direction", "score", "before", "chance", "n"]
    assert next(line for line in lines if "a: text" in line).split() == ["a:", "text", "0.343", "0.250", "0.143", "35"]
    html = html_table(own)
    assert "rebuilt" not in html
    assert html.count('class="track') == 1
    shown = page(own)
    assert "Before: the model from which the training went on." in shown
    assert "sub-models" not in shown
    assert "Scored, on records held out from training." in shown
    assert "sub-models, cut from the same weights" in page(findings())


@pytest.mark.parametrize(
    ("value", "shown"), [(None, "–"), (0.9374, "0.937"), (12.34, "12.3"), (7412.4, "7,412"), (float("nan"), "none")]
)
def test_figures_are_shown_to_what_they_are_worth(value, shown):
    assert figure(value) == shown
