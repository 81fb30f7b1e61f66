"""Verdicts, and outcomes on disk."""

import pytest

from ernest.results.outcome import Outcome, judged, judged_places, read_outcomes, write_outcomes


def test_verdicts_count_comparisons():
    assert [judged(hits, 4) for hits in (4, 3, 2, 1, 0)] == ["holds", *["holds in part"] * 2, *["doesn't hold here"] * 2]
    assert judged(0, 0) == "can't be judged here"
    assert [judged_places(wins, 9) for wins in (9, 1, 0)] == ["holds", "holds in part", "doesn't hold here"]


def test_outcomes_come_back_and_damaged_ones_are_named(tmp_path):
    written = [Outcome('says "a, b"', "1", "2 | 3", "holds in part")]
    write_outcomes(tmp_path, written)
    assert list(read_outcomes(tmp_path).values()) == written
    assert read_outcomes(tmp_path / "nowhere") == {}
    (tmp_path / "outcomes.csv").write_text("claim,paper,ours,verdict\na,b,c,perhaps\n")
    with pytest.raises(ValueError, match=r"outcomes\.csv: damaged"):
        read_outcomes(tmp_path)
