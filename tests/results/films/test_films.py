"""What is measured of films and of few bits first, at the size of a test, and what is said of it."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from ernest.config.recipe import Recipe
from ernest.data.store import ExampleStore
from ernest.results.films import long_films, switched
from ernest.results.films.long_films import BASE, GROWING, HIDDEN, WINDOW, energy_rise, removal
from ernest.results.films.page import judge, write
from ernest.results.films.switched import SCRATCH, SWITCHED
from ernest.results.outcome import read_outcomes
from ernest.tokenizers.vision import VisionTokenizer, VisionTokenizerConfig
from ernest.world.video import simulate
from tests.small import network, recipe, tokenizers


@dataclass(frozen=True)
class Stub:
    """A study of test size."""

    build: Path
    store: ExampleStore
    tokenizers = tokenizers()

    def whole(self) -> Recipe:
        return recipe(rows=2)

    def tell(self, line: str) -> None:
        pass


@pytest.fixture
def study(store, tmp_path) -> Stub:
    return Stub(tmp_path, store)


def as_if_measured(slope: float = 0.5, cost: float = 0.5, above: float = 0.0) -> dict[str, dict[str, float]]:
    """All bars met, where nothing else is asked for; shares of what the plain run has."""
    plain = {"nats a bit": 0.5, "error, a frame": 0.01, "error, mean": 0.1, "a frame hidden, rise": 0.02}
    switch = {"nats a bit": 0.5 + above, "excess, a tenth behind it": 0.0}
    arms = {BASE: plain, GROWING: plain | {"error, a frame": 0.01 * slope}, HIDDEN: plain | {"a frame hidden, rise": 0.02 * cost}}
    return arms | {WINDOW: plain, SCRATCH: {"nats a bit": 0.5}, SWITCHED: switch}


def test_bars_are_where_the_specification_has_them(tmp_path):
    def verdicts(*settings: tuple[float, float, float]) -> list[str]:
        return [outcome.verdict for outcome in judge([as_if_measured(*one) for one in settings])]

    assert verdicts((0.78, 0.68, 0.005), (0.79, 0.69, 0.005), (0.77, 0.67, 0.005)) == ["holds"] * 3
    missed = verdicts((0.82, 0.72, 0.015), (0.82, 0.72, 0.015), (0.82, 0.72, 0.015))
    assert missed == ["doesn't hold here", "doesn't hold here", "holds in part"]
    assert verdicts((0.5, 0.5, 0.0)) == ["can't be judged here"] * 3  # one seed tells no verdict
    write([as_if_measured(), as_if_measured(0.9)], tmp_path)
    assert len(read_outcomes(tmp_path / "films")) == 3
    assert "2 of 3 seeds" in (tmp_path / "films.md").read_text()


def test_the_energy_of_true_films_never_rises_and_that_of_noise_does():
    true = simulate(0, 0, [0], frames=9)[0]
    assert energy_rise(true).max() < 0.02
    noisy = true.copy()
    noisy[5:] = np.random.default_rng(0).integers(0, 256, noisy[5:].shape)
    assert energy_rise(noisy)[5:].min() > 0.2


def test_a_frame_that_is_gone_changes_what_is_read(study, monkeypatch):
    monkeypatch.setattr(long_films, "READ", 2)
    found = removal(study, network())
    assert 0.3 < found["nats a bit"] < 2
    assert found["a frame hidden, rise"] != found["a frame out of attention, rise"] != 0


def test_a_switched_training_is_measured_beside_one_from_scratch(study, monkeypatch):
    for name, value in {"STEPS": 10, "FEW": 4, "LEARNT": 3, "READ": 2}.items():
        monkeypatch.setattr(switched, name, value)
    tiny = lambda study, seed, weights, **training: recipe(rows=1, **(training | {"save_every": 50}))
    few = VisionTokenizer(VisionTokenizerConfig(bits=4, width=8)).eval().requires_grad_(False)
    monkeypatch.setattr(switched, "_few_bits", lambda study: replace(study.tokenizers, vision=few))
    monkeypatch.setattr(switched, "small", tiny)
    found = switched.measure(study, 0)
    assert found[SCRATCH].keys() < found[SWITCHED].keys()
    monkeypatch.setattr(switched, "train", None)  # what is kept is not measured again
    assert switched.measure(study, 0) == found
