"""What makes a run the same run, and what is said where it is another one."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ernest.config.recipe import Recipe, load_recipe, to_tree
from ernest.training.run_settings import RUN_FILE, check_free, unusual_settings


def settings(recipe: Recipe, records: str = "abc") -> str:
    return json.dumps({"records": records, "recipe": to_tree(recipe)}, indent=1)


def begun_by(out: Path, tree: dict) -> Path:
    (out / RUN_FILE).write_text(json.dumps(tree))
    return out


def test_a_run_of_before_a_field_was_there_goes_on_where_it_is_at_its_usual_value(tmp_path: Path) -> None:
    tree = json.loads(settings(Recipe()))
    del tree["recipe"]["training"]["adapter_rank"], tree["recipe"]["elastic"]
    begun_by(tmp_path, tree)
    check_free(tmp_path, settings(Recipe()))
    ranked = replace(Recipe(), training=replace(Recipe().training, adapter_rank=4))
    with pytest.raises(ValueError, match=r"other records, tokenizers or settings \(recipe\.training\.adapter_rank\): choose"):
        check_free(tmp_path, settings(ranked))


def test_what_a_kill_left_among_its_records_does_not_stop_a_run(tmp_path: Path) -> None:
    (tmp_path / ".aside-records-abc/records").mkdir(parents=True)
    check_free(tmp_path, settings(Recipe()))
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds something else than a run"):
        check_free(tmp_path, settings(Recipe()))


def test_what_differs_is_named(tmp_path: Path) -> None:
    begun_by(tmp_path, json.loads(settings(Recipe())))
    other = load_recipe(overrides=["training.steps=7", "mixture.text→image=2"])
    with pytest.raises(ValueError, match=r"\(recipe\.mixture\.text→image, recipe\.training\.steps, records\): choose"):
        check_free(tmp_path, settings(other, "def"))


def test_a_field_that_a_run_had_and_that_is_no_more_is_another_run(tmp_path: Path) -> None:
    tree = json.loads(settings(Recipe()))
    tree["recipe"]["training"]["momentum"] = 0.9
    begun_by(tmp_path, tree)
    with pytest.raises(ValueError, match=r"\(recipe\.training\.momentum\)"):
        check_free(tmp_path, settings(Recipe()))


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / RUN_FILE).write_text('{"records": ')
    with pytest.raises(ValueError, match=r"run\.json: damaged"):
        check_free(tmp_path, settings(Recipe()))


def test_only_what_is_not_usual_counts_for_a_state() -> None:
    assert unusual_settings(Recipe()) == {}
    changed = load_recipe(overrides=["training.steps=7", "training.save_every=3", "parallel.replicate=2"])
    usual = unusual_settings(load_recipe())
    assert {name: value for name, value in unusual_settings(changed).items() if usual.get(name) != value} == {"training.steps": 7}
