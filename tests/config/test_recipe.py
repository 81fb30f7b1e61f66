"""Recipes: what a file and the command line may say, and how a mistake is named."""

import json
import re
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest

from ernest.config.effort import with_effort
from ernest.config.recipe import Recipe, find_recipe, from_tree, load_recipe, to_tree
from ernest.config.sizes import BLOCK, sized


def leaves(recipe, prefix: str = "") -> dict[str, object]:
    found = {}
    for field in fields(recipe):
        value = getattr(recipe, field.name)
        if is_dataclass(value):
            found |= leaves(value, f"{prefix}{field.name}.")
        else:
            found[prefix + field.name] = value
    return found


def test_without_a_file_the_defaults_hold():
    assert load_recipe() == Recipe()


def test_few_knobs():
    assert len(leaves(Recipe())) <= 80


def test_a_file_holds_differences_and_overrides_come_last(tmp_path: Path):
    file = tmp_path / "mine.toml"
    file.write_text("size = 6\n[training]\nsteps = 50\nlearning_rate = 1\n[mixture]\ntext = 2\n")
    recipe = load_recipe(file, ["training.steps=70", "model.experts=16", "training.bf16=false"])
    assert recipe.training.steps == 70
    assert recipe.training.learning_rate == 1.0
    assert isinstance(recipe.training.learning_rate, float)
    assert recipe.mixture == {"text": 2.0}
    assert recipe.model.layers == 6
    assert recipe.model.experts == 16
    assert not recipe.training.bf16
    changed = {name for name, value in leaves(recipe).items() if leaves(Recipe())[name] != value}
    sizes = {f"model.{name}" for name in sized(6)}
    assert changed - sizes == {"size", "training.steps", "training.learning_rate", "training.bf16", "model.experts", "mixture"}


@pytest.mark.parametrize("size", range(5, 25))
def test_every_size_is_a_network(size):
    model = load_recipe(overrides=[f"size={size}"]).model
    assert model.layers == size
    assert model.head_dim == 64
    assert size < 6 or 27 <= model.width / size <= 36
    assert model.expert_width % BLOCK == 0


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.step=5", "unknown field 'training.step'; did you mean 'steps'?"),
        ("trainin.steps=5", "unknown field 'trainin'; did you mean 'training'?"),
        ("model.layer=9", "unknown field 'model.layer'; did you mean 'layers'?"),
        ("model.zzz=9", "unknown field 'model.zzz'; the fields are layers, width"),
        ("training.steps=many", "training.steps = 'many': expected int, got str"),
        ("training.steps=1.5", "training.steps = 1.5: expected int, got float"),
        ("training.bf16=1", "training.bf16 = 1: expected bool, got int"),
        ("model.heads=true", "model.heads = True: expected int, got bool"),
        ("training.learning_rate=NaN", "training.learning_rate = nan: expected a finite number"),
        ("training.clip=null", "training.clip = None: expected float, got NoneType"),
        ("mixture.text=much", "mixture.text = 'much': expected float, got str"),
        ("mixture=3", "mixture: expected a table, got 3"),
        ("training=3", "training: expected a table, got 3"),
        ("model=3", "model: expected a table, got 3"),
        ("size=big", "size = 'big': expected int, got str"),
        ("size=4", "size = 4 must be at least 5"),
        ("training.steps", "write it as field=value"),
        ("training.steps=0", "training.steps = 0 must be at least 1"),
        ("training.save_every=0", "training.save_every = 0 must be at least 1"),
        ("training.decay_share=1.5", "training.decay_share = 1.5 must lie between 0 and 1"),
        ("training.learning_rate=0", "training.learning_rate = 0.0 must be more than 0"),
        ("parallel.replicate=33", "parallel.replicate = 33 must not exceed sequence.rows = 32"),
        ("parallel.replicate=-1", "parallel.replicate = -1 must be at least 0"),
        ("parallel.expert=5", "parallel.expert = 5 must divide model.experts = 48"),
        ("parallel.expert=0", "parallel.expert = 0 must be at least 1"),
        ("parallel.expert=48", "parallel.replicate = 0 and parallel.expert = 48 must not exceed sequence.rows = 32"),
        ("parallel.tensor=3", "parallel.tensor = 3 must divide model.heads = 4"),
        ("parallel.tensor=0", "parallel.tensor = 0 must be at least 1"),
        ("parallel.tensor=4", "parallel.tensor = 4 must divide model.kv_heads = 2"),
        ("parallel.compile=true", "parallel.compile: not built"),
        ("parallel.pipeline=2", "parallel.pipeline: not built; parallel.replicate, shard, expert and tensor are"),
        ("elastic.full_depth=-1", "elastic.full_depth = -1.0 must lie between 0 and 1"),
        ("sequence.bit_flip_rate=2", "sequence.bit_flip_rate = 2.0 must lie between 0 and 1"),
        ("sequence.rows=0", "sequence.rows = 0 must be at least 1"),
        ("mixture.text=-1", "mixture.text = -1.0 must not be negative"),
        ("model.heads=0", "model.heads = 0 must be at least 1"),
        ("model.heads=3", "model.width = 256 must be an even multiple of model.heads = 3"),
        ("model.kv_heads=3", "model.heads = 4 must be a multiple of model.kv_heads = 3"),
        ("model.top_k=99", "model.top_k = 99 must lie between 1 and model.experts = 48"),
        ("tokenizers.vocabulary=265", "tokenizers.vocabulary = 265 must be at least 266"),
        ("model.vit_width=30", "model.vit_width = 30 must be a multiple of 4"),
    ],
)
def test_mistakes_are_named_in_one_line(override, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        load_recipe(overrides=[override])
    assert "\n" not in str(caught.value)


def test_processes_of_one_tensor_share_rows_and_cut_whole_columns():
    asked = ["parallel.tensor=2", "parallel.replicate=4"]
    assert load_recipe(overrides=[*asked, "sequence.rows=4"]).parallel.asked == 8
    with pytest.raises(
        ValueError, match=r"parallel\.tensor = 2 must not exceed sequence\.rows = 3: each 2 processes take a row$"
    ):
        load_recipe(overrides=[*asked, "sequence.rows=3"])
    with pytest.raises(ValueError, match=r"parallel\.tensor = 2 must cut model\.expert_width = 24 into multiples of 8$"):
        load_recipe(overrides=["parallel.tensor=2", "model.expert_width=24"])


def test_a_field_of_a_value_is_named():
    with pytest.raises(ValueError, match=r"override 'size\.x=1': size = 8 is a value"):
        load_recipe(overrides=["size=8", "size.x=1"])


def test_files_that_cannot_be_read_are_named(tmp_path: Path):
    with pytest.raises(ValueError, match=r"nowhere\.toml: No such file"):
        load_recipe(tmp_path / "nowhere.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("size = = 3")
    with pytest.raises(ValueError, match=r"broken\.toml: .*line 1"):
        load_recipe(broken)
    with pytest.raises(ValueError, match=r"recipe 'tinny': neither a file nor one of .*tiny"):
        find_recipe("tinny")


def test_the_recipe_of_the_demo_loads():
    recipe = load_recipe(find_recipe("tiny"))
    assert from_tree(json.loads(json.dumps(to_tree(recipe)))) == recipe


def test_a_recipe_survives_json():
    recipe = load_recipe(overrides=["size=6", "mixture.text=0.25", "training.learning_rate=0.0017", "seed=3"])
    assert from_tree(json.loads(json.dumps(to_tree(recipe)))) == recipe


def test_effort_scales_every_stage():
    recipe = load_recipe()
    assert with_effort(recipe, 1.0) == recipe
    half, double = with_effort(recipe, 0.5), with_effort(recipe, 2.0)
    scaled = [name for name in leaves(recipe) if name.endswith("_steps")]
    scaled += [f"training.{name}" for name in ("steps", "warmup", "ramp", "save_every", "show_every")]
    for name in scaled:
        assert leaves(half)[name] == round(leaves(recipe)[name] * 0.5), name
        assert leaves(double)[name] == round(leaves(recipe)[name] * 2.0), name
    for name in (n for n in leaves(recipe) if n.startswith("world.")):
        assert abs(leaves(half)[name] - leaves(recipe)[name] * 0.5**0.5) <= 1
        assert leaves(double)[name] == leaves(recipe)[name]
    same = {n for n in leaves(recipe) if leaves(half)[n] == leaves(recipe)[n]}
    off = {name for name in scaled if leaves(recipe)[name] == 0}  # a stage that is left out stays so
    assert same == {n for n in leaves(recipe) if not n.startswith("world.")} - set(scaled) | off


def test_the_least_effort_still_runs_every_stage_and_the_smallest_recipe_is_left_alone():
    whole, least = leaves(load_recipe()), leaves(with_effort(load_recipe(), 1e-6))
    assert all((value >= 2) == (whole[name] > 0) for name, value in least.items() if name.endswith("steps"))
    small = load_recipe(overrides=["training.steps=5", "training.show_every=0", "world.held_out=10", "tokenizers.vision_steps=3"])
    assert with_effort(small, 1.0) == small
    assert with_effort(small, 0.01).training.show_every == 0


def test_a_task_misspelt_is_told_beside_the_usual_mixture_which_is_no_mistake():
    tasks, usual = ["image→text", "images→text"], find_recipe("tiny")
    assert load_recipe(usual).weights(tasks[1:]) == {"images→text": 1.0}
    with pytest.raises(ValueError, match=r"mixture\.imgae→text: the data has no such task; did you mean 'image→text'\?"):
        load_recipe(usual, ["mixture.imgae→text=3"]).weights(tasks)


def test_the_mixture_weighs_the_tasks_of_the_data():
    recipe = load_recipe(overrides=["mixture.text→image=2", "mixture.text→video=0.5"])
    assert recipe.weights(["image→text", "text→image"]) == {"image→text": 1.0, "text→image": 2.0}


@pytest.mark.parametrize("name", ["image->text", "image→tex", "Image→text", "image → text"])
def test_a_misspelt_task_is_told(name):
    with pytest.raises(ValueError, match=rf"mixture\.{re.escape(name)}: .*; did you mean 'image→text'\?"):
        load_recipe(overrides=[f"mixture.{name}=2"]).weights(["image→text", "text→image"])
