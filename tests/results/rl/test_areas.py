"""The mass of films that are rewarded: what is measured of films, what is trained, and when it counts as kept."""

from pathlib import Path

import numpy as np
import pytest

from ernest.config.rl import RLRecipe, TaskConfig
from ernest.lcnet.network import PPLCNet, small_images
from ernest.results.outcome import read_outcomes
from ernest.results.rl import areas
from ernest.results.rl.areas import AREAS, BEFORE, CLAIM, LAWS, TRUE, judge, measure, run_areas
from ernest.results.rl.study import Study
from ernest.rl.tasks import trained_tasks
from ernest.verifiers.judges import Judges
from ernest.verifiers.speech import WordJudge
from ernest.verifiers.vision import FamilyNetwork
from ernest.world import video
from ernest.world.video import FAMILIES


def numbers(lawful: float, conserved: float) -> dict[str, list[float]]:
    return {family: [lawful, conserved, min(lawful, conserved), -0.05] for family in FAMILIES}


def test_what_is_measured_is_that_of_the_verifiers():
    """True films keep their areas, and one whose last frame is all bright does not; the judge is untrained."""
    judges = Judges(PPLCNet(small_images(classes=10)), FamilyNetwork(9, len(FAMILIES) + 1), WordJudge())
    (task,) = trained_tasks(RLRecipe((TaskConfig("text→video", ("family", "energy law")),)), judges, {})
    film = video.simulate(1, 0, range(1))[0]
    broken = film.copy()
    broken[-1] = video.colours(np.ones(broken.shape[1:3]))
    found = measure(task, {FAMILIES[1]: [film, broken]})
    lawful, conserved, everything, change = found[FAMILIES[1]]
    assert conserved == 0.5
    assert everything <= min(lawful, conserved)
    assert change == pytest.approx((1 - video.areas(film)[0]) / 2, abs=1e-3)


def test_mass_must_go_by_the_one_and_stay_by_the_other():
    found = {BEFORE: numbers(0.7, 0.6), LAWS: numbers(0.9, 0.2)}
    assert judge(found)[0].verdict == "holds in part"  # the second has not been run
    assert judge(found | {AREAS: numbers(0.91, 0.7)})[0].verdict == "holds"
    assert judge(found | {AREAS: numbers(0.85, 0.7)})[0].verdict == "holds in part"
    assert judge(found | {AREAS: numbers(0.91, 0.55)})[0].verdict == "holds in part"
    assert judge(found | {LAWS: numbers(0.9, 0.65)})[0].verdict == "doesn't hold here"


def test_both_recipes_are_trained_and_told(tmp_path, monkeypatch):
    trained = []

    def reinforce(checkpoint: Path, judges: Path, run: Path, recipe, on_step) -> Path:
        trained.append((checkpoint, judges, run.name, recipe.tasks[0].verifiers, recipe.update.steps, recipe.update.assess))
        return run / "model"

    monkeypatch.setattr("ernest.results.rl.study.reinforce", reinforce)
    monkeypatch.setattr(areas, "trained_tasks", lambda recipe, judges, own: ["task"])
    monkeypatch.setattr(areas, "rebuilt_films", lambda checkpoint, seed, count: {})
    monkeypatch.setattr(areas, "measure", lambda task, films: numbers(1.0, 0.9))
    monkeypatch.setattr(areas, "_drawn", lambda model, path, task: numbers(0.9, 0.2 if "laws" in str(model) else 0.6))
    monkeypatch.setattr(Judges, "load", lambda folder: None)
    checkpoint = tmp_path / "demo/model"
    run_areas(Study(checkpoint, tmp_path / "build"), tmp_path / "out")
    rewarded, folder = ("family", "energy law"), tmp_path / "demo/judges"
    assert trained == [
        (checkpoint, folder, "laws", rewarded, 100, 0),
        (checkpoint, folder, "areas", (*rewarded, "coarse area law"), 100, 0),
    ]
    page = (tmp_path / "out/rl.md").read_text()
    assert f"| family | {TRUE} | {BEFORE} | {LAWS} | {AREAS} |" in page
    assert "| a star rounding off | 1.00 / 0.90 / 0.90 / -0.050 | 0.90 / 0.60 / 0.60 / -0.050 |" in page
    assert "| all | 1.000 / 0.900 / 0.900 | 0.900 / 0.600 / 0.600 | 0.900 / 0.200 / 0.200 | 0.900 / 0.600 / 0.600 |" in page
    assert read_outcomes(tmp_path / "out/rl-areas")[CLAIM].verdict == "holds"
