"""The demo's stages: what is finished is passed over, what is missing is made, and a stage that fails is not lost."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from ernest.config.recipe import Recipe
from ernest.config.tables import WorldConfig
from ernest.demo.folder import times
from ernest.demo.run import FIRST, in_order, run_stages
from ernest.demo.stages import STAGES, StageContext, judge_words, prepare_audio
from ernest.evaluation.results import StageTime
from ernest.tokenizers.text import TextTokenizer

SMALL = Recipe(world=WorldConfig(pictures=8, clips=24, videos=8, texts=40, held_out=4))
FINISHED = (
    *("tokenizers/vision.safetensors", "tokenizers/audio.safetensors", "tokenizers/text.json"),
    *("judges/digits.safetensors", "judges/families.safetensors", "judges/words.safetensors"),
    *("examples/vision/examples.jsonl", "examples/audio/examples.jsonl"),
)


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """The folder of a demo whose stages are all finished."""
    for name in FINISHED:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("finished")
    return tmp_path


def context(build: Path, jobs: list[str]) -> StageContext:
    return StageContext(build, SMALL, lambda job, step, steps, note: jobs.append(job))


def test_resuming_passes_over_finished_stages(build):
    jobs: list[str] = []
    for stage in STAGES:
        stage(context(build, jobs))
    assert jobs == []
    assert all((build / name).read_text() == "finished" for name in FINISHED)


def test_only_what_is_missing_is_made(build):
    """The text tokenizer is; the other files of its stage stay."""
    (build / "tokenizers/text.json").unlink()
    jobs: list[str] = []
    prepare_audio(context(build, jobs))
    assert TextTokenizer.load(build / "tokenizers/text.json").vocab_size > 256
    assert (build / "tokenizers/audio.safetensors").read_text() == "finished"
    assert jobs == []


def test_a_judge_is_trained_once_and_reported(build):
    (build / "judges/words.safetensors").unlink()
    jobs: list[str] = []
    few = replace(context(build, jobs), recipe=replace(SMALL, tokenizers=replace(SMALL.tokenizers, word_judge_steps=2)))
    judge_words(few)
    assert set(jobs) == set(few.times) == {"speech for the judge", "word judge"}
    assert all(cpu > 0 for _, cpu in few.times.values())
    made = (build / "judges/words.safetensors").read_bytes()
    jobs.clear()
    judge_words(few)
    assert jobs == []
    assert (build / "judges/words.safetensors").read_bytes() == made


def leave_a_file(stage: StageContext) -> None:
    stage.report("leaving a file", 1, 1, "")
    with stage.timed("leaving a file"):
        (stage.build / "judges" / "left").write_text(str(stage.recipe.seed))


def fail(stage: StageContext) -> None:
    raise ValueError(f"{stage.build.name} cannot be built")


def test_stages_run_in_processes_of_their_own_and_a_failure_is_raised(tmp_path):
    shown = io.StringIO()
    with pytest.raises(ValueError, match="cannot be built"):
        run_stages([leave_a_file, fail], tmp_path, replace(SMALL, seed=3), Console(file=shown, width=120))
    assert (tmp_path / "judges/left").read_text() == "3"
    assert [stage.within for stage in times(tmp_path).values()] == [FIRST]


def test_the_jobs_of_a_part_stand_below_it():
    """The longest first, wherever in the file of times they are; a part that has no jobs stands alone."""
    spent = (StageTime("short", 1, 1, FIRST), StageTime("long", 1, 5, FIRST), StageTime(FIRST, 6, 6), StageTime("scores", 2, 2))
    assert [stage.name for stage in in_order({one.name: one for one in spent})] == [FIRST, "long", "short", "scores"]
