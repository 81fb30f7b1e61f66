"""The recipe that is chosen where none is named: what follows from the pictures, the time and the fields that are given."""

import json
import math
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from torch import nn

from ernest.lcnet import PPLCNet, read_picture
from ernest.lcnet.training import plan as planning
from ernest.lcnet.training import train
from ernest.lcnet.training.flips import Mirrored
from ernest.lcnet.training.listing import Listing
from ernest.lcnet.training.loop import update
from ernest.lcnet.training.losses import supervised
from ernest.lcnet.training.memory import pictures_at_once
from ernest.lcnet.training.plan import Budget, make_plan, step_seconds, typical_form
from ernest.lcnet.training.recipe import Recipe, architecture_of, sides_of
from tests.lcnet.training.test_listing import write


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """A machine whose time for a picture grows with its area and with the width of the network; and the side of pictures."""
    facts = {"nanoseconds": 150.0, "side": 224.0, "form": 1.0, "mirrored": 0.45}
    width = {"PPLCNet_x0_25": 0.15, "PPLCNet_x0_5": 0.35, "PPLCNet_x1_0": 1.0, "small": 0.1}

    def seconds(recipe: Recipe, classes: int) -> float:
        return 1e-9 * facts["nanoseconds"] * recipe.batch * math.prod(sides_of(recipe)) * width.get(recipe.arch, 1.0)

    monkeypatch.setattr(planning, "step_seconds", seconds)
    monkeypatch.setattr(planning, "typical_form", lambda listing: (int(facts["side"]), facts["form"]))
    monkeypatch.setattr(planning, "try_mirrored", lambda listing: Mirrored(300, 0.5, facts["mirrored"], facts["mirrored"] < 0.2))
    return facts


def listing(count: int, classes: int = 10) -> Listing:
    return Listing((Path("x"),) * count, tuple(i % classes for i in range(count)), tuple(map(str, range(classes))))


def minutes(recipe: Recipe, count: int) -> float:
    return recipe.epochs * (count // recipe.batch) * planning.step_seconds(recipe, 10) / 60


@pytest.mark.parametrize("count", [2000, 20_000, 200_000])
@pytest.mark.parametrize("asked", [5.0, 20.0, 300.0])
def test_a_run_takes_about_the_time_that_was_asked_for(count: int, asked: float, machine: dict, tmp_path: Path) -> None:
    recipe = make_plan(listing(count), Budget(asked), tmp_path).recipe
    spent = minutes(recipe, count)
    assert spent <= 1.01 * asked or recipe.epochs == planning.LEAST_EPOCHS
    assert spent >= 0.5 * asked or recipe.epochs in (
        planning.MOST_EPOCHS,
        planning.MOST_STEPS // (count // recipe.batch),
        2 * planning.ENOUGH_EPOCHS,
    )


def test_small_pictures_are_seen_small_and_large_ones_smaller_where_time_is_short(machine: dict, tmp_path: Path) -> None:
    sizes = []
    for side in (28, 32, 64, 100, 150, 300, 3000):
        machine["side"] = side
        sizes.append(make_plan(listing(1000), Budget(600.0), tmp_path).recipe.size)
    assert sizes == [32, 32, 64, 96, 160, 224, 224]
    machine["nanoseconds"] = 5000
    slow = make_plan(listing(20_000), Budget(20.0), tmp_path).recipe
    assert (slow.arch, slow.size) == ("PPLCNet_x0_25", 128)


def test_tiny_pictures_get_a_network_of_their_size_where_they_are_few_or_the_time_is_short(machine: dict, tmp_path: Path) -> None:
    machine["side"] = 32
    assert make_plan(listing(300), Budget(20.0), tmp_path).recipe.arch == "small"
    assert make_plan(listing(20_000), Budget(600.0), tmp_path).recipe.arch == "PPLCNet_x1_0"
    machine["nanoseconds"] = 9000
    assert make_plan(listing(20_000), Budget(20.0), tmp_path).recipe.arch == "small"


def test_a_start_says_which_network_it_is(machine: dict, tmp_path: Path) -> None:
    for name in ("PPLCNet_x0_35", "PPLCNetV2_base", "small"):
        started = architecture_of(Recipe(arch=name, size=224), 5)
        recipe = make_plan(listing(2000), Budget(20.0), tmp_path, started).recipe
        assert recipe.arch == name
        assert recipe.rate == pytest.approx(0.2 * make_plan(listing(2000), Budget(20.0), tmp_path).recipe.rate)


def test_pictures_are_mirrored_unless_that_makes_them_look_like_others(machine: dict, tmp_path: Path) -> None:
    plan = make_plan(listing(1000), Budget(20.0), tmp_path)
    assert plan.recipe.flip
    assert any(
        "flips on: 50% of 300 pictures look most like another of their class, 45% when mirrored" in line for line in plan.reasons
    )
    machine["mirrored"] = 0.1
    assert not make_plan(listing(1001), Budget(20.0), tmp_path).recipe.flip
    assert make_plan(listing(1001), Budget(20.0, ("flip=true",)), tmp_path).recipe.flip


def test_the_batch_follows_the_number_of_pictures(machine: dict, tmp_path: Path) -> None:
    batches = [make_plan(listing(count), Budget(20.0), tmp_path).recipe.batch for count in (20, 300, 2000, 20_000, 1_000_000)]
    assert batches == [16, 16, 64, 128, 128]


def test_fields_that_are_given_stay(machine: dict, tmp_path: Path) -> None:
    fields = {"arch": "PPLCNetV2_small", "size": 64, "epochs": 7, "batch": 48, "rate": 0.3, "flip": False}
    recipe = make_plan(listing(1000), Budget(20.0, fields), tmp_path).recipe
    assert {name: getattr(recipe, name) for name in fields} == fields
    with pytest.raises(ValueError, match="minutes: expected a positive number, got 0"):
        make_plan(listing(1000), Budget(0.0), tmp_path)


def test_the_plan_is_kept_for_the_same_question_only(machine: dict, tmp_path: Path) -> None:
    first = make_plan(listing(1000), Budget(20.0), tmp_path)
    machine["nanoseconds"] = 9000
    again = make_plan(listing(1000), Budget(20.0), tmp_path)
    assert again.recipe == first.recipe
    assert "as planned before" in again.reasons[0]
    assert make_plan(listing(1001), Budget(20.0), tmp_path).recipe != first.recipe
    (tmp_path / "plan.json").write_text("damaged")
    assert "as planned before" not in make_plan(listing(1000), Budget(20.0), tmp_path).reasons[0]
    assert json.loads((tmp_path / "plan.json").read_text())["asked"]["pictures"] == 1000


def test_more_minutes_are_more_epochs_of_a_run_that_has_begun(machine: dict, tmp_path: Path) -> None:
    first = make_plan(listing(20_000), Budget(20.0), tmp_path).recipe
    assert make_plan(listing(20_000), Budget(300.0), tmp_path).recipe.arch != first.arch
    (tmp_path / "plan.json").unlink()
    assert make_plan(listing(20_000), Budget(20.0), tmp_path).recipe == first
    (tmp_path / "state.safetensors").touch()
    longer = make_plan(listing(20_000), Budget(60.0), tmp_path)
    assert longer.recipe == replace(first, epochs=3 * first.epochs)
    assert f"{3 * first.epochs} epochs instead of {first.epochs}" in longer.reasons[0]
    fields = ("epochs=77", "patience=5")
    assert make_plan(listing(20_000), Budget(20.0, fields), tmp_path).recipe == replace(first, epochs=77, patience=5)


def test_uneven_classes_are_told(machine: dict, tmp_path: Path) -> None:
    uneven = replace(listing(1000), targets=(0,) * 980 + (1,) * 20, labels=("a", "b"))
    assert any(
        "classes have 20 to 980 pictures: --set balance=1" in line for line in make_plan(uneven, Budget(), tmp_path).reasons
    )
    balanced = make_plan(uneven, Budget(20.0, ("balance=1",)), tmp_path)
    assert not any(
        "pictures: --set balance" in line for line in (*balanced.reasons, *make_plan(listing(1000), Budget(), tmp_path).reasons)
    )


def test_the_typical_form_is_the_median_of_short_sides_and_of_ratios(tmp_path: Path) -> None:
    files = [write(tmp_path / f"{number}.png") for number in range(5)]
    (tmp_path / "4.png").write_text("no picture")
    assert typical_form(Listing(tuple(files), (0,) * 5, ("a", "b")))[0] == 4
    assert typical_form(Listing((tmp_path / "gone",), (0,), ("a", "b"))) == (224, 1.0)
    for number, size in enumerate([(64, 16), (16, 48), (90, 30), (60, 20), (60, 20)]):
        Image.new("RGB", size).save(files[number])
    assert typical_form(Listing(tuple(files), (0,) * 5, ("a", "b"))) == (20, 3.0)


@pytest.mark.parametrize(
    ("side", "form", "sides"),
    [(64, 4.0, (64, 256)), (64, 0.25, (256, 64)), (64, 1.9, (64, 64)), (32, 2.2, (32, 64)), (40, 30.0, (32, 256))],
)
def test_long_pictures_are_seen_whole_in_their_own_form(side: int, form: float, sides: tuple, machine: dict, tmp_path) -> None:
    machine |= {"side": side, "form": form}
    plan = make_plan(listing(1000), Budget(600.0), tmp_path)
    assert sides_of(plan.recipe) == sides
    assert plan.recipe.fit == ("squash" if sides[0] != sides[1] else "crop")
    assert any("whole pictures pressed into that" in line for line in plan.reasons) == (sides[0] != sides[1])
    for fields in ({"fit": "crop"}, {"size": 96}):
        given = make_plan(listing(1000), Budget(600.0, fields), tmp_path).recipe
        assert (given.fit, given.width) == ("crop", None)


def test_a_step_is_timed_for_the_whole_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the processor's clock: others who work beside it slow short steps down more than long ones."""
    monkeypatch.setattr(planning, "time", SimpleNamespace(perf_counter=time.process_time))
    small, large = (step_seconds(Recipe(arch="small", size=16, batch=batch), 3) for batch in (16, 1600))
    assert 20 * small < large


def test_gradients_of_parts_are_those_of_the_whole_batch() -> None:
    images, targets = torch.randn(10, 3, 4, 4), torch.arange(10) % 3
    found = []
    for at_once in (None, 4, 10, 100):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(48, 3))
        optimizer = torch.optim.SGD(network.parameters(), 0.1)
        counts = update(network, supervised(0.1), optimizer, images, targets, False, at_once)
        found.append((network[1].weight.detach(), *counts))
    for weight, loss, *counts in found[1:]:
        assert torch.allclose(weight, found[0][0], atol=1e-6)
        assert loss == pytest.approx(found[0][1], abs=1e-5)
        assert counts == list(found[0][2:])


def test_the_papers_batch_goes_through_in_parts_where_memory_is_short() -> None:
    network = PPLCNet(architecture_of(Recipe(), 10))
    assert pictures_at_once(network, (224, 224), 3, 10**13) > 2048
    assert 10 < pictures_at_once(network, (224, 224), 3, 24 << 30) < 1000
    assert pictures_at_once(network, (224, 224), 3, 1) == 2
    assert network.training


def test_the_command_plans_tells_and_goes_on(machine: dict, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for label, level in (("dark", 40), ("light", 200)):
        for number in range(10):
            file = tmp_path / "data" / label / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (20, 20), (level + number,) * 3).save(file)
    machine["side"] = 20
    fields = ("arch=PPLCNet_x0_25", "epochs=1", "precision=fp32")
    train(tmp_path / "data", tmp_path / "out", Budget(20.0, fields))
    recipe = (tmp_path / "out/recipe.json").read_bytes()
    told = capfd.readouterr().err
    assert "plan: 18 pictures of 2 classes, short side 20: PPLCNet_x0_25 at 32x32" in told
    assert "plan: 1 epochs of 1 steps with 16 pictures" in told
    train(tmp_path / "data", tmp_path / "out", Budget(20.0, fields))
    assert (tmp_path / "out/recipe.json").read_bytes() == recipe
    assert "as planned before" in capfd.readouterr().err
    with pytest.raises(ValueError, match="epoch"):
        train(tmp_path / "data", tmp_path / "out", Budget(20.0, ("epoch=3",)))


@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tiff"])
@pytest.mark.parametrize(("turn", "form"), [(1, 3.0), (6, 1 / 3), (8, 1 / 3), (3, 3.0)])
def test_the_form_is_that_of_the_upright_picture(kind: str, turn: int, form: float, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    Image.new("RGB", (90, 30)).save(tmp_path / f"x.{kind}", exif=exif)
    height, width = read_picture(tmp_path / f"x.{kind}").shape[:2]
    assert width / height == pytest.approx(form)
    assert typical_form(Listing((tmp_path / f"x.{kind}",), (0,), ("a",))) == (30, pytest.approx(form))


def test_a_run_that_has_begun_keeps_its_plan_whatever_is_asked_meanwhile(machine: dict, tmp_path: Path) -> None:
    """Else who restores the pictures that the run was refused without would find another plan, and be refused for good."""
    first = make_plan(listing(20_000), Budget(20.0), tmp_path).recipe
    (tmp_path / "state.safetensors").touch()
    machine["nanoseconds"] *= 30
    assert make_plan(listing(19_999), Budget(20.0), tmp_path).recipe.arch != first.arch
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "get_num_threads", lambda: 64)
        assert make_plan(listing(20_000), Budget(20.0), tmp_path).recipe == first
    (tmp_path / "state.safetensors").unlink()
    assert make_plan(listing(19_999), Budget(20.0), tmp_path).recipe.arch != first.arch
    assert make_plan(listing(20_000), Budget(20.0), tmp_path).recipe.arch != first.arch
