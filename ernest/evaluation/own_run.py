"""Judges a finished run on its own data by the records that were held out of it: findings for the report and the terminal."""

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ernest.checkpoint import load_model
from ernest.config.recipe import read_recipe
from ernest.config.stages import longest
from ernest.data.store import ExampleStore
from ernest.evaluation.own_data import DirectionScore, advice, score_tasks
from ernest.evaluation.results import BEFORE, FULL, Findings, Score, load, save
from ernest.evaluation.routing import mixture_load, usage
from ernest.evaluation.run_facts import facts_of
from ernest.generation.engine import Engine, bf16_pays
from ernest.model.network import Ernest
from ernest.storage import fingerprint, load_tensors, read_log
from ernest.training.makers import open_examples
from ernest.training.run_settings import JUDGED_BY, START

DEMO = "demo.json"
"""The file that tells the folder of a demo, and its recipe."""
FINDINGS = "findings"
"""The folder of a run in which its findings are kept."""
MODEL = "model.json"
"""The file of them that tells by its fingerprint which model they are of: one may be exported before the run has ended."""


def judge_run(run: Path) -> tuple[Findings, list[str]]:
    """What a run has learnt of its own data, and advice on the directions that it has not; kept in the run for later calls.

    A demo scores its model itself: what it found is told, and stays. Raises ValueError for a folder without a finished run.
    """
    if (run / DEMO).is_file():
        if not (run / FINDINGS / "findings.json").is_file():
            raise ValueError(f"{run} holds a demo without its scores: the same `ernest demo` goes on, and writes the report")
        return load(run / FINDINGS), []
    if not (run / "recipe.json").is_file() or not (run / "model").is_dir():
        raise ValueError(f"{run} holds no finished run of `ernest train`")
    told, judged = run / FINDINGS / "advice.json", fingerprint(run / "model/model.safetensors")
    if told.is_file() and _of_model(run) in (None, judged):
        return load(run / FINDINGS), json.loads(told.read_text())
    findings, lines = _judged(run)
    save(run / FINDINGS, findings, {"advice.json": lines, MODEL: judged})
    return findings, lines


def _judged(run: Path) -> tuple[Findings, list[str]]:
    """Findings and advice, by the scores of the model and, where it went on from another one, of that."""
    recipe = read_recipe(run / "recipe.json")
    model, tokenizers = load_model(run / "model")
    store = open_examples(run, tokenizers)
    engine = Engine(model, tokenizers, bf16=bf16_pays(model))
    scores, samples = score_tasks(engine, ExampleStore(run / JUDGED_BY)) if (run / JUDGED_BY).is_dir() else ([], [])
    earlier, before = [], []
    if (run / START).is_dir():
        old = Ernest(model.config, model.spec)
        old.load_state_dict(load_tensors(run / START / "model.safetensors"))
        earlier, before = _earlier(run, engine, Engine(old, tokenizers, bf16=bf16_pays(old)))
    metrics = tuple(read_log(run / "metrics.jsonl"))
    findings = Findings(
        f"Ernest on data of your own: {run.name}",
        (*rows_of([*scores, *earlier]), *rows_of(before, BEFORE)),
        tuple(samples),
        metrics=metrics,
        usage=usage(model, store, tokenizers, longest(recipe)),
        load=mixture_load(model, store, recipe.weights(store.tasks), tokenizers, longest(recipe), recipe.seed),
        facts=facts_of(model, recipe, metrics),
        threads=os.cpu_count() or 1,
    )
    return findings, advice(scores, recipe.weights(store.tasks), recipe.training.steps)


def _of_model(run: Path) -> str | None:
    """The fingerprint of the model that the findings of a run are of; None of findings that an earlier version wrote."""
    file = run / FINDINGS / MODEL
    return json.loads(file.read_text()) if file.is_file() else None


def _earlier(run: Path, engine: Engine, old: Engine) -> tuple[list[DirectionScore], list[DirectionScore]]:
    """Of a run that goes on: the new model's scores on what the old one was judged by, and the old one's on that and on what the
    run is judged by."""
    before, scores = [], []
    if (run / JUDGED_BY).is_dir():
        before, _ = score_tasks(old, ExampleStore(run / JUDGED_BY), samples=0)
    if (run / START / JUDGED_BY).is_dir():
        known = ExampleStore(run / START / JUDGED_BY)
        named = [[replace(one, task=f"{one.task}, earlier data") for one in score_tasks(by, known, samples=0)[0]]
                 for by in (engine, old)]  # fmt: skip
        scores, before = named[0], [*before, *named[1]]
    return scores, before


def rows_of(scores: Sequence[DirectionScore], system: str = FULL) -> list[Score]:
    """The rows of a system: for each direction the texts that are right, and its loss beside that with what others give."""
    rows = [
        Score(
            f"{score.name}: the very text",
            system,
            score.exact,
            chance=f"{score.chance:.3f}",
            verifier="one of the texts of that file",
            count=score.asked,
            group="right answers",
        )
        for score in scores
        if score.exact is not None
    ]
    for score in scores:
        other = "–" if score.other is None else f"{score.other:.3f}"
        checked = "chance: with what another record gives" + (", on its plateau" if score.on_plateau else "")
        rows.append(Score(f"{score.name}: loss", system, score.loss, chance=other, verifier=checked, count=score.count,
                          lower_is_better=True, group="losses"))  # fmt: skip
    return rows
