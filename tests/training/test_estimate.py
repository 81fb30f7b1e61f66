"""What a run will cost: positions and draws by the recipe, seconds by the steps that were timed, and lines in log files."""

import io
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from ernest.config.media import MediaSpec
from ernest.config.parallel import ParallelConfig
from ernest.config.recipe import Recipe
from ernest.config.tables import TokenizerConfig
from ernest.data.examples import outline
from ernest.data.importers import both_directions
from ernest.data.layout import lay_out_example
from ernest.model.cost import trained_parameters
from ernest.planner.plan import split_parameters
from ernest.training import estimate, progress, tokenizer_data
from ernest.training.estimate import estimate_run, time_steps
from ernest.training.progress import stage_bar
from ernest.training.tokenizer_data import TokenizerData, time_stages
from tests.small import network, recipe, tokenizers


class Clock:
    """Runs by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_steps_are_timed_without_what_comes_before_them(monkeypatch):
    """A training of n steps that takes 7 s to begin, 2 s a step, and 5 s more the very first time."""
    clock, asked = Clock(), []
    monkeypatch.setattr(estimate, "time", SimpleNamespace(perf_counter=clock))

    def run(steps: int) -> None:
        clock.now += 7 + 2 * steps + 5 * (not asked)
        asked.append(steps)

    assert time_steps(run, 1000) == pytest.approx(2000)
    assert sum(asked) <= 10


def test_a_training_on_films_is_timed_by_a_few_of_its_steps(monkeypatch):
    """And not whole, which would take as long as the run; both stages are told."""
    taken = 0

    def train(_: object, some: Recipe, *__: object, **___: object) -> None:
        nonlocal taken
        taken += some.tokenizers.vision_steps + (some.media.temporal_stride > 1) * some.tokenizers.film_steps

    monkeypatch.setattr(tokenizer_data, "vision_tokenizer", train)
    monkeypatch.setattr(tokenizer_data, "shown_frames", lambda _: ([object()], 1))
    monkeypatch.setattr(tokenizer_data, "heard_sounds", lambda _: ([], ()))
    monkeypatch.setattr(tokenizer_data, "voice_samples", lambda _: ([], []))
    for stride, stages in ((1, ["vision tokenizer"]), (4, ["vision tokenizer", "films"])):
        taken, films = 0, replace(recipe(), media=MediaSpec(temporal_stride=stride), tokenizers=TokenizerConfig())
        timed = time_stages(films, TokenizerData(SimpleNamespace()))
        assert [name for name, seconds in timed.items() if seconds() >= 0] == stages
        assert 0 < taken < 25


def test_positions_and_draws_follow_from_the_recipe_and_memory_grows_with_the_rows():
    data = np.random.default_rng(0).integers(0, 256, (30, 32, 32, 3), dtype=np.uint8)
    records = [record for one in data for record in both_directions("image", one, "a red seven", {})]
    small = replace(recipe(rows=2, steps=50), parallel=ParallelConfig(replicate=1))
    told = estimate_run(small, tokenizers(), records, {"vision tokenizer": lambda: 90.0})
    kit = tokenizers()
    lengths = [len(lay_out_example(outline(record, kit), kit, kit.text.encode).layout) for record in records]
    assert told.positions == 50 * 2 * 120
    assert told.of_a_record == np.mean(lengths)
    assert told.draws == pytest.approx(50 * 2 * 120 / sum(lengths))
    assert told.seconds["vision tokenizer"] == 90
    assert told.seconds["model"] > 0
    assert told.memory > 16 * trained_parameters(small.model, network().spec)
    more = estimate_run(replace(small, sequence=replace(small.sequence, rows=64)), tokenizers(), records, {})
    assert more.memory > told.memory
    assert "million positions" in str(told)
    stages = replace(small, sequence=replace(small.sequence, rows=8, grows_to=(480,)),
                     training=replace(small.training, decay_share=0.5, ramp=2))  # fmt: skip
    growing = estimate_run(stages, tokenizers(), records, {})
    assert growing.positions == (2 + 5 + 48 * 8) * 120
    assert growing.memory > told.memory
    rounded = replace(small, training=replace(small.training, fp8=True))
    assert estimate_run(rounded, tokenizers(), records, {}).memory > told.memory
    shared = {
        name: estimate_run(replace(small, parallel=ParallelConfig(**{name: 2})), tokenizers(), records, {}).memory
        for name in ("replicate", "shard", "expert")
    }
    count = split_parameters(small)
    assert shared["replicate"] - shared["expert"] == 16 * count.experts
    everything = 16 * trained_parameters(small.model, network().spec)
    assert shared["replicate"] - shared["shard"] == pytest.approx(everything, abs=64)


def test_a_log_file_hears_now_and_then_how_far_a_stage_is(monkeypatch):
    clock, written = Clock(), io.StringIO()
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=clock))
    with stage_bar(Console(file=written, force_terminal=False)) as bar:
        task = bar.add_task("vision tokenizer", total=None, note="")
        for step in range(100):
            clock.now += 1.0
            bar.update(task, completed=step + 1, total=100, note="loss 3")
        lines = [line for line in written.getvalue().splitlines() if line.startswith("vision tokenizer")]
    assert lines == [f"vision tokenizer {step}/100  loss 3" for step in (31, 61, 91)]
