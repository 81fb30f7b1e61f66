"""The study of reinforcement learning over seeds: what is run once, what is written, and when its claim holds."""

from dataclasses import replace
from pathlib import Path

import pytest

from ernest.results.outcome import read_outcomes
from ernest.results.rl import laws
from ernest.results.rl.laws import Films, judge, run_reinforcement
from ernest.results.rl.study import Study
from ernest.rl.assess import Look


def films(passed: float, distance: float = 20.0) -> Films:
    look = Look("text→video", 50, 1000, passed, {"family": 0.9, "energy law": 0.8, "area law": 0.3}, distance, 1.0)
    return Films(look, replace(look, passed=0.25))


def of(before: float, *after: float) -> dict[str, Films]:
    return {"before": films(before)} | {f"seed {seed}": films(passed) for seed, passed in enumerate(after)}


def test_it_holds_where_every_seed_gains_more_than_draws_scatter():
    """Two standard errors of a difference of shares of 1,000 are .041 at .7."""
    assert judge(of(0.7, 0.75, 0.8))[0].verdict == "holds in part"  # of three seeds
    assert judge(of(0.7, 0.75, 0.8, 0.9))[0].verdict == "holds"
    assert judge(of(0.7, 0.73, 0.9))[0].verdict == "doesn't hold here"
    assert judge(of(0.7, 0.75))[0].ours == "films that pass 0.700 → 0.750 (0.750)"


def test_seeds_are_trained_looked_at_and_told_one_after_the_other(tmp_path, monkeypatch):
    trained, looked = [], []

    def reinforce(checkpoint: Path, judges: Path, run: Path, recipe, on_step) -> Path:
        trained.append((checkpoint, judges, run.name, recipe.seed, recipe.tasks[0].verifiers, recipe.update.assess))
        return run / "model"

    def look(study: Study, model: Path, path: Path, seed: int) -> Films:
        looked.append(model)
        return films(0.7 if model == checkpoint else 0.92)

    monkeypatch.setattr("ernest.results.rl.study.reinforce", reinforce)
    monkeypatch.setattr(laws, "_looked", look)
    monkeypatch.setattr(laws, "_ceiling", lambda study: films(1.0))
    monkeypatch.setattr(laws, "SEEDS", (0, 1))
    checkpoint, build = tmp_path / "demo/model", tmp_path / "rl"
    run_reinforcement(Study(checkpoint, build), tmp_path / "out")
    judges, usual = checkpoint.parent / "judges", ("family", "energy law")
    assert trained == [
        (checkpoint, judges, "seed-0", 0, usual, 0),
        (checkpoint, judges, "seed-1", 1, usual, 0),
        (checkpoint, judges, "seed-0-area-law-rewarded-too", 0, (*usual, "area law"), 0),
    ]
    assert looked == [checkpoint, *(build / name / "model" for _, _, name, *_ in trained)]
    page = (tmp_path / "out/rl.md").read_text()
    assert "mean of 2 seeds is 0.920, the least 0.920; wanted were 0.9 and 0.85: reached" in page
    assert "| before | 0.700 | 0.900 | 0.800 | 0.300 | 0.250 | 20.000 | 1.000 |" in page
    assert read_outcomes(tmp_path / "out/rl")[laws.CLAIM].verdict == "holds"


@pytest.mark.parametrize(("passed", "word"), [((0.95, 0.84), "**not reached**"), ((0.9, 0.9), "reached")])
def test_no_seed_may_fall_behind(tmp_path, passed, word):
    laws._write(of(0.6, *passed), tmp_path)
    assert f"wanted were 0.9 and 0.85: {word}." in (tmp_path / "rl.md").read_text()
