"""The study of elastic training: which networks it trains, that it goes on where it was, and how its scores are judged."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from ernest.config.recipe import to_tree
from ernest.config.tables import ElasticConfig
from ernest.data.store import ExampleStore
from ernest.evaluation.results import EvalResult
from ernest.evaluation.run import CURVE_DIRECTIONS
from ernest.model.cost import training_flops
from ernest.results import small_runs
from ernest.results.elastic import training
from ernest.results.elastic.page import judge, run_elastic, run_longer
from ernest.results.elastic.training import COMPACT, OWN, OWN_COMPUTE, SIZES, SYSTEMS, Length, recipe_of, whole_length
from ernest.results.outcome import read_outcomes
from ernest.results.small_runs import Study
from ernest.storage import load_tensors
from tests.small import documents, network, recipe, tokenizers

VALUES = {"elastic, full": 0.80, "plain, full": 0.80, "elastic, all three": 0.70, "plain, all three": 0.20, OWN: 0.60,
          OWN_COMPUTE: 0.75, COMPACT: 0.79}  # fmt: skip
LENGTH = Length(3, 1)


@pytest.fixture
def study(tmp_path, monkeypatch) -> Study:
    """A demo of two short records, scored by how many layers run."""
    demo = tmp_path / "demo"
    demo.mkdir()
    small = recipe(rows=1)
    small = replace(small, model=replace(small.model, layers=7), elastic=ElasticConfig(0.5, 0.5, 0.5))
    (demo / "recipe.json").write_text(json.dumps(to_tree(small)))
    ExampleStore.write(demo / "examples/own", documents())
    tokenizers().save(demo / "tokenizers")
    monkeypatch.setattr(training, "SIZES", {"full": {}, "all three": {"layers": 5, "experts": 2, "top_k": 1}})
    monkeypatch.setattr(small_runs.Judges, "load", lambda folder: None)
    return Study(demo, tmp_path / "work")


def test_every_system_is_trained_and_scored_once(study, monkeypatch):
    """The compact network alone begins with weights, those of the elastic run's slice."""
    trained, scored, given, made = [], [], {}, {}
    whole = small_runs.train

    def train(settings, store, tools, run, on_step=None, begin_with=None):
        trained.append((run.name, settings.elastic == small_runs.PLAIN, settings.model.layers, settings.training.steps))
        if begin_with is not None:
            given.update(load_tensors(begin_with))
            return whole(settings, store, tools, run, on_step=on_step, begin_with=begin_with)
        made[run.name] = network(config=settings.model)
        return made[run.name]

    def evaluate(direction, engine, judges, seed, count):
        scored.append(engine)
        return (EvalResult(0.5, count),)

    monkeypatch.setattr(small_runs, "train", train)
    monkeypatch.setattr(small_runs, "evaluate", evaluate)
    scores = training.measure(study, 0, LENGTH)
    systems = [name for name in SYSTEMS if name.partition(", ")[2] not in SIZES or name.partition(", ")[2] in training.SIZES]
    assert list(scores) == systems
    assert [set(values) for values in scores.values()] == [set(CURVE_DIRECTIONS)] * len(systems)
    full = recipe_of(study, 0, LENGTH).model
    small = replace(full, layers=5, experts=2, top_k=1)
    more = round(3 * training_flops(full, 128) / training_flops(small, 128)) + 1
    assert trained == [
        ("elastic", False, 7, 3),
        ("plain", True, 7, 3),
        ("own-size-same-records", True, 5, 3),
        ("own-size-same-compute", True, 5, more),
        ("compact-trained-on", True, 5, 1),
    ]
    last, sliced = made["elastic"].state_dict(), {name: value for name, value in given.items() if ".moe." not in name}
    assert all(torch.equal(value, last[name.replace("blocks.4.", "blocks.6.")]) for name, value in sliced.items()
               if not name.startswith(("backbone.blocks.1.", "backbone.blocks.2.", "backbone.blocks.3.")))  # fmt: skip
    told = len(scored)
    assert training.measure(study, 0, LENGTH) == scores
    assert len(scored) == told == len(systems) * len(CURVE_DIRECTIONS)


def test_a_page_is_written_after_every_seed(study, monkeypatch, tmp_path):
    """And trainings as long as the demo's have a block of their own on it."""
    lengths: list[Length] = []
    monkeypatch.setattr(training, "measure", lambda study, seed, length: lengths.append(length) or made_up(VALUES, seed))
    for module in ("small_runs", "elastic.page"):
        monkeypatch.setattr(f"ernest.results.{module}.SEEDS", (0, 1))
    monkeypatch.setattr("ernest.results.elastic.page.SIZES", SIZES)
    run_elastic(study, tmp_path / "out")
    assert len(read_outcomes(tmp_path / "out/elastic")) == 5
    page = (tmp_path / "out/elastic.md").read_text()
    assert f"{np.mean([scores_of(seed) for seed in (0, 1)]):.3f}" in page
    assert "+0.500 ± 0.000" in page
    assert (tmp_path / "out/elastic/scores.png").is_file()
    run_longer(study, tmp_path / "out")
    whole = whole_length(study)
    assert (whole.steps, whole.rows) == (study.whole().training.steps, study.whole().sequence.rows)
    assert lengths == [training.SHORT] * 2 + [whole] * 2
    both = (tmp_path / "out/elastic.md").read_text()
    assert both.startswith(page.rstrip())
    assert f"## In {whole.steps} steps of {whole.rows} rows" in both
    assert read_outcomes(tmp_path / "out/elastic-longer") == read_outcomes(tmp_path / "out/elastic")


def scores_of(seed: int) -> float:
    return float(np.mean(list(made_up(VALUES, seed)["elastic, full"].values())))


def made_up(values: dict[str, float], seed: int) -> dict[str, dict[str, float]]:
    """Scores with the noise of a seed, which all systems share."""
    noise = np.random.default_rng(seed).normal(0, 0.05, len(CURVE_DIRECTIONS))
    return {name: dict(zip(CURVE_DIRECTIONS, values.get(name, 0.5) + noise, strict=True)) for name in SYSTEMS}


def test_differences_are_paired_by_seed():
    """Noise that systems share does not hide a difference; without one nothing can be said, and of one seed neither."""
    seeds = [made_up(VALUES, seed) for seed in range(3)]
    found = judge(seeds, (0.54, 0.36))
    assert [one.verdict for one in found] == ["holds", "holds", "holds", "doesn't hold here", "holds"]
    assert "+0.500 ± 0.000" in found[1].ours
    assert [one.verdict for one in judge(seeds[:1], (0.54, 0.36))] == ["can't be judged here"] * 5
    worse = [made_up(VALUES | {"elastic, full": 0.7}, seed) for seed in range(3)]
    assert judge(worse, (0.54, 0.36))[0].verdict == "doesn't hold here"
