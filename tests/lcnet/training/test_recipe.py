"""The recipe is the published table; files and overrides are checked field by field."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from ernest.lcnet import PUBLISHED, STRIDES_32, STRIDES_64
from ernest.lcnet.training.recipe import (
    Recipe,
    architecture_of,
    distillation_recipe,
    dump,
    fields_of_size,
    load_recipe,
    peak_rate,
    preprocessing_of,
    published_recipe,
)

PAPER = {
    "size": 224,
    "epochs": 360,
    "batch": 2048,
    "rate": 0.8,
    "warmup": 5.0,
    "momentum": 0.9,
    "nesterov": False,
    "smoothing": 0.1,
    "ema": 0.0,
    "crop_area": [0.08, 1.0],
    "crop_aspect": [0.75, 4 / 3],
    "flip": True,
    "sizes": [],
    "stage_rates": [1.0] * 6,
    "elastic_distort": False,
    "augment": 0,
    "erase": 0.0,
}
"""arXiv 2109.15099, section 4.1, with what PaddleClas adds."""

DECAYS = {"0_25": 3e-5, "0_35": 3e-5, "0_5": 3e-5, "0_75": 3e-5, "1_0": 3e-5, "1_5": 4e-5, "2_0": 4e-5, "2_5": 4e-5}


@pytest.mark.parametrize(("width", "decay"), DECAYS.items())
def test_the_first_version_dumps_as_the_published_table(width: str, decay: float) -> None:
    told = dump(published_recipe(f"PPLCNet_x{width}"))
    assert {name: told[name] for name in PAPER} == PAPER
    assert told["weight_decay"] == decay
    preprocessing = preprocessing_of(published_recipe(f"PPLCNet_x{width}"))
    assert (preprocessing.resize, preprocessing.crop, preprocessing.antialias) == (256, (224, 224), False)
    assert architecture_of(published_recipe(f"PPLCNet_x{width}"), 1000) == PUBLISHED[f"PPLCNet_x{width}"]


def test_the_second_version_and_the_students_have_their_own() -> None:
    base, small, large = (published_recipe(f"PPLCNetV2_{size}") for size in ("base", "small", "large"))
    assert (base.epochs, base.rate, base.weight_decay) == (480, 0.8, 4e-5)
    assert base.sizes == (160, 192, 224, 288, 320)
    assert (small.weight_decay, large.rate) == (2e-5, 0.4)
    student, wide = distillation_recipe("PPLCNet_x1_0"), distillation_recipe("PPLCNet_x2_5")
    assert (student.epochs, peak_rate(student), student.weight_decay, student.dropout) == (200, 0.4, 1e-5, 0.0)
    assert (wide.epochs, peak_rate(wide), wide.weight_decay, wide.dropout) == (100, 0.2, 4e-5, None)


def test_the_rate_follows_the_batch() -> None:
    assert peak_rate(Recipe()) == 0.8
    assert peak_rate(Recipe(batch=256)) == pytest.approx(0.1)


def test_a_file_and_overrides_make_a_recipe(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text('arch = "PPLCNet_x2_0"\nepochs = 20\nstage_rates = [0, 0.4, 0.4, 0.8, 0.8, 1]\n')
    recipe = load_recipe(file, ["batch=64", "rate=1", "strides=32", "arch=PPLCNet_x1_5"])
    assert (recipe.epochs, recipe.batch, recipe.rate, recipe.strides, recipe.arch) == (20, 64, 1.0, "32", "PPLCNet_x1_5")
    assert recipe.stage_rates == (0.0, 0.4, 0.4, 0.8, 0.8, 1.0)
    assert recipe.weight_decay == 4e-5
    assert load_recipe(overrides=dump(recipe)) == recipe


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("epoch=3", "unknown field 'epoch'; did you mean 'epochs'?"),
        ("qqq=3", "unknown field 'qqq'; the fields are arch,"),
        ("epochs", "'epochs': expected field=value, such as epochs=20"),
        ("epochs=many", "epochs = 'many': expected int, got str"),
        ("epochs=0", "epochs: expected a positive number, got 0"),
        ("rate=NaN", "rate = nan: expected a finite number"),
        ("arch=PPLCNet_x1.0", "got 'PPLCNet_x1.0'; did you mean PPLCNet_x1_0?"),
        ("stage_rates=[1,1]", "stage_rates: expected six factors"),
        ("crop_area=[0.5,0.1]", "crop_area: expected two positive numbers, the smaller first"),
        ("crop_area=0.5", "crop_area = 0.5: expected a list, got float"),
        ("fit=letter", "fit = 'letter': expected one of crop, squash, letterbox"),
        ("width=64", "width: expected a positive width, with fit squash or letterbox, got 64 with crop"),
        ("balance=2", "balance: expected 0 to 1, got 2"),
        ("patience=-1", "patience: expected 0 or more, got -1"),
        ("at_once=0", "at_once: expected 1 or more, got 0"),
        ("resize=100", "resize: expected at least the size of 224, got 100"),
        ("ema=1", "ema: expected 0 to below 1, got 1"),
        ("channels=4", "channels: expected one of 1, 3, got 4"),
        ("arch=3", "arch = 3: expected str, got int"),
        ("flip=1", "flip = 1: expected bool, got int"),
    ],
)
def test_wrong_fields_are_named(override: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        load_recipe(overrides=[override])


def test_one_picture_at_once_needs_a_map_to_normalise() -> None:
    for fields in ({"batch": 1}, {"batch": 8, "at_once": 1}, {"batch": 3, "at_once": 2}):
        field = [*fields][-1]
        with pytest.raises(ValueError, match=f"{field}: expected 2 pictures or more, got 1: at 32x32 the last map"):
            Recipe(size=32, strides="published", **fields)
        assert Recipe(size=33, strides="published", **fields).size == 33
        assert Recipe(size=32, arch="small", **fields).size == 32


def test_a_file_that_is_no_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"gone\.toml: No such file"):
        load_recipe(tmp_path / "gone.toml")
    (tmp_path / "bad.toml").write_text("epochs = = 3")
    with pytest.raises(ValueError, match=r"bad\.toml: "):
        load_recipe(tmp_path / "bad.toml")


def test_strides_follow_the_size_unless_they_are_chosen() -> None:
    recipe = Recipe(size=32)
    assert architecture_of(recipe, 10).strides == STRIDES_32
    assert architecture_of(replace(recipe, size=64), 10).strides == STRIDES_64
    assert architecture_of(replace(recipe, strides="published"), 10).strides == (2, 1, 2, 2, 2, 2)
    assert architecture_of(replace(recipe, size=224, strides="32"), 10).strides == STRIDES_32
    assert preprocessing_of(recipe).resize == 32
    grey = replace(recipe, channels=1, arch="small", dropout=0.3)
    assert (architecture_of(grey, 10).in_channels, architecture_of(grey, 10).dropout) == (1, 0.3)
    assert len(preprocessing_of(grey).mean) == 1


def test_a_squashed_picture_has_no_border() -> None:
    preprocessing = preprocessing_of(Recipe(size=160, fit="squash"))
    assert (preprocessing.resize, preprocessing.crop) == ((160, 160), None)
    with pytest.raises(ValueError, match="resize: a picture that is seen whole has no border to cut away"):
        Recipe(resize=300, fit="squash")


@pytest.mark.parametrize(
    ("text", "fields", "expected"),
    [
        ("64", (), (64, None, "crop")),
        ("64x64", (), (64, None, "crop")),
        ("64x256", (), (64, 256, "squash")),
        ("80×40", ("fit=letterbox",), (80, 40, "letterbox")),
        ("48X96", ("epochs=3",), (48, 96, "squash")),
    ],
)
def test_a_size_may_be_told_as_height_x_width(text: str, fields: tuple[str, ...], expected: tuple) -> None:
    recipe = load_recipe(overrides=[*fields_of_size(text, fields), *fields])
    assert (recipe.size, recipe.width, recipe.fit) == expected


@pytest.mark.parametrize("text", ["", "x", "64x", "0x64", "64x64x3", "-4", "6 4", "²", "large"])
def test_a_size_that_is_none_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="size: expected a side such as 64, or height x width such as 64x256, got"):
        fields_of_size(text)
