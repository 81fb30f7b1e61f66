"""The demo's folder is its own: nothing of the user's is taken or lost, and interrupted work is counted in full."""

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from ernest.config.recipe import Recipe
from ernest.demo import folder
from ernest.demo.folder import add_times, claim, timed, times

RECIPE = Recipe()
LEFT = (
    *(
        "judges/digits.safetensors",
        "tokenizers/text.json",
        "examples/vision/examples.jsonl",
        "step-0000050/model.safetensors",
    ),
    *("model/model.json", "findings/findings.json", "bench/model.jsonl"),
    *("recipe.json", "times.json", "metrics.jsonl", "report.html"),
)
MINE = ("notes.txt", "my.json", "photos/seven.png", "old/report.html", "steps.txt", "model/notes.txt", "bench/mine/a.csv")


def console() -> Console:
    return Console(file=io.StringIO(), width=200)


def fill(build: Path, names: tuple[str, ...]) -> None:
    for name in names:
        (build / name).parent.mkdir(parents=True, exist_ok=True)
        (build / name).write_text(name)


def files(build: Path) -> set[str]:
    return {path.relative_to(build).as_posix() for path in build.rglob("*") if path.is_file()}


def spent(build: Path) -> dict[str, tuple[float, float]]:
    return {name: (stage.wall, stage.cpu) for name, stage in times(build).items()}


def test_a_new_folder_is_claimed_for_the_recipe(tmp_path):
    claim(tmp_path / "new" / "demo", RECIPE, console())
    assert files(tmp_path / "new" / "demo") == {"demo.json"}
    assert json.loads((tmp_path / "new/demo/demo.json").read_text())["seed"] == RECIPE.seed


def test_a_folder_that_holds_something_else_is_refused_and_left_alone(tmp_path):
    fill(tmp_path, MINE)
    with pytest.raises(ValueError, match="is not empty and holds no demo: choose a new folder"):
        claim(tmp_path, RECIPE, console())
    assert files(tmp_path) == set(MINE)


def test_what_changes_no_number_starts_nothing_anew(tmp_path):
    claim(tmp_path, RECIPE, console())
    fill(tmp_path, LEFT)
    claim(tmp_path, replace(RECIPE, parallel=replace(RECIPE.parallel, replicate=2)), console())
    assert files(tmp_path) == {"demo.json", *LEFT}
    claim(tmp_path, replace(RECIPE, training=replace(RECIPE.training, steps=3)), console())
    assert files(tmp_path) == {"demo.json"}


def test_the_same_recipe_goes_on_with_what_is_there(tmp_path):
    claim(tmp_path, RECIPE, console())
    fill(tmp_path, (*LEFT, *MINE))
    shown = console()
    claim(tmp_path, RECIPE, shown)
    assert files(tmp_path) == {"demo.json", *LEFT, *MINE}
    assert "going on in" in shown.file.getvalue()


def test_a_field_that_a_later_version_adds_starts_nothing_anew(tmp_path):
    claim(tmp_path, RECIPE, console())
    fill(tmp_path, LEFT)
    before = json.loads((tmp_path / "demo.json").read_text())
    del before["training"]["adapter_rank"]
    (tmp_path / "demo.json").write_text(json.dumps(before))
    claim(tmp_path, RECIPE, console())
    assert files(tmp_path) == {*LEFT, "demo.json"}


def test_another_recipes_work_is_cleared_only_of_what_the_demo_made(tmp_path):
    claim(tmp_path, RECIPE, console())
    fill(tmp_path, (*LEFT, *MINE))
    shown = console()
    claim(tmp_path, replace(RECIPE, seed=1), shown)
    assert files(tmp_path) == {"demo.json", *MINE}
    assert json.loads((tmp_path / "demo.json").read_text())["seed"] == 1
    assert "starting anew" in shown.file.getvalue()


def test_times_add_up_after_an_interruption(tmp_path, monkeypatch):
    clock = iter([100.0, 107.0, 500.0, 503.0, 600.0, 601.0])
    work = iter([10.0, 14.0, 50.0, 51.0, 60.0, 60.5])
    monkeypatch.setattr(folder.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(folder, "processor_seconds", lambda: next(work))
    with pytest.raises(KeyboardInterrupt), timed(tmp_path, "unified model"):
        raise KeyboardInterrupt
    assert spent(tmp_path) == {"unified model": (7.0, 4.0)}
    with timed(tmp_path, "unified model"):
        pass
    with timed(tmp_path, "scores"):
        pass
    assert spent(tmp_path) == {"unified model": (10.0, 5.0), "scores": (1.0, 0.5)}
    assert list(times(tmp_path)) == ["unified model", "scores"]
    for _ in range(2):  # jobs within a part add up too, and know which part counts them already
        add_times(tmp_path, {"judge": (2.0, 1.0), "world": (1.0, 1.0)}, within="scores")
    assert spent(tmp_path) == {"unified model": (10.0, 5.0), "scores": (1.0, 0.5), "judge": (4.0, 2.0), "world": (2.0, 2.0)}
    assert [stage.within for stage in times(tmp_path).values()] == ["", "", "scores", "scores"]


def test_processor_time_of_children_counts(tmp_path):
    import subprocess
    import sys

    with timed(tmp_path, "work"):
        subprocess.run([sys.executable, "-c", "sum(range(3_000_000))"], check=True)
    assert times(tmp_path)["work"].cpu > 0.01
