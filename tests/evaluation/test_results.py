"""Findings outlive their run: what was kept comes back as it was."""

from dataclasses import fields

import numpy as np
import pytest

from ernest.evaluation.own_run import judge_run
from ernest.evaluation.results import Findings, Sample, Score, load, save
from tests.report.made_up import findings


def same(one, other) -> bool:
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, Sample):
        return all(same(getattr(one, f.name), getattr(other, f.name)) for f in fields(one))
    return one == other


def test_what_was_kept_comes_back(tmp_path):
    kept = findings()
    save(tmp_path / "findings", kept)
    found = load(tmp_path / "findings")
    for field in fields(Findings):
        assert same(getattr(kept, field.name), getattr(found, field.name)), field.name


def test_findings_with_nothing_in_them_come_back(tmp_path):
    save(tmp_path / "findings", Findings("nothing yet"))
    assert load(tmp_path / "findings") == Findings("nothing yet")


def test_the_scores_of_a_demo_are_told_and_stay(tmp_path):
    (tmp_path / "model").mkdir()
    for name in ("recipe.json", "demo.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(ValueError, match="holds a demo without its scores: the same `ernest demo` goes on"):
        judge_run(tmp_path)
    save(tmp_path / "findings", findings())
    kept = {file: file.read_bytes() for file in (tmp_path / "findings").iterdir()}
    found, lines = judge_run(tmp_path)
    assert (found.scores, lines) == (findings().scores, [])
    assert {file: file.read_bytes() for file in (tmp_path / "findings").iterdir()} == kept


def test_newer_findings_take_the_place_of_older_ones(tmp_path):
    save(tmp_path / "findings", findings())
    save(tmp_path / "findings", Findings("newer"))
    assert load(tmp_path / "findings").title == "newer"
    assert [path.name for path in tmp_path.iterdir()] == ["findings"]


def test_numbers_of_numpy_are_kept_as_numbers(tmp_path):
    sample = Sample("text", correct=np.True_)
    save(tmp_path / "findings", Findings("numpy", (Score("text", "full", np.float32(0.5)),), (sample,)))
    found = load(tmp_path / "findings")
    assert found.scores[0].value == 0.5
    assert found.samples[0].correct is True


def test_a_folder_without_findings_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"findings\.json is missing"):
        load(tmp_path)
    (tmp_path / "findings.json").write_text('{"title": ')
    with pytest.raises(ValueError, match=r"findings\.json: damaged: "):
        load(tmp_path)


@pytest.mark.parametrize(
    ("value", "bar", "lower", "ok"),
    [
        (0.9, 0.9, False, True),
        (0.89, 0.9, False, False),
        (0.5, 0.5, True, True),
        (0.51, 0.5, True, False),
        (0.3, None, False, None),
    ],
)
def test_a_bar_is_reached_or_missed_on_the_right_side(value, bar, lower, ok):
    assert Score("x", "full", value, bar, lower_is_better=lower).ok is ok
