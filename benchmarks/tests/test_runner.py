"""Findings: how they are kept, what becomes of their rows, and how tables reach the documentation."""

import json
from pathlib import Path

import pytest

from benchmarks import findings
from benchmarks.findings import Findings, Latency, Panel
from benchmarks.page import PAGES, insert, markdown
from benchmarks.tables import Figure, Table


def test_findings_come_back_and_rows_replace_their_own(tmp_path: Path) -> None:
    found = Findings(
        (Figure("a", 2.0, 1.0), Figure("b", 2.0, 1.0, less=True, threads=2)),
        (Table("t", ("x", "y"), (("1", "2"),), "note"),),
        (Latency("PPLCNet_x1_0", "native/fp32", 1, 2.0, 2.0, 2.0, 2.0, 99.0, (2.0,)),),
        ("OpenVINO/int8, 1 threads: not there: ...",),
        (Panel("p", {"GS(3, 4, 1)": ((1.0, 1e-3), (2.0, 1e-5))}),),
    )
    findings.write("wing", "one", found, "command --part one", tmp_path)
    findings.write("wing", "two", Findings((Figure("c", 1.0),)), "command --part two", tmp_path)
    findings.write("wing", "one", found, "command --part one", tmp_path)
    assert findings.read("wing", ["one", "absent"], tmp_path) == {"one": found}
    rows = [json.loads(line) for line in (tmp_path / "wing.jsonl").read_text().splitlines()]
    assert sorted(row["row"] for row in rows) == ["a", "b", "c"]
    assert all(set(row) == {"row", "value", "bar", "ok", "threads", "command"} for row in rows)
    assert {row["row"]: row["ok"] for row in rows} == {"a": True, "b": False, "c": True}
    text = markdown({"one": found}, "Where from.")
    assert "| b | 2 | ≤ 1 | **no** |" in text
    assert "- OpenVINO/int8, 1 threads: not there" in text
    assert text.endswith("Where from.")


def test_a_page_gets_the_newest_table_between_its_markers() -> None:
    page = "before\n<!-- results: begin -->\nold\n<!-- results: end -->\nafter"
    once = insert(page, "| new |")
    assert "old" not in once
    assert once.startswith("before\n")
    assert once.endswith("\nafter")
    assert insert(once, "| new |") == once
    with pytest.raises(ValueError, match="results: begin"):
        insert("no markers", "| new |")


@pytest.mark.parametrize("page", PAGES.values())
def test_every_page_has_a_place_for_the_results(page: Path) -> None:
    assert "new" in insert(page.read_text(), "new")
