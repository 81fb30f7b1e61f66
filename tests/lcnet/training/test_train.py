"""`train` from a folder to files, and everything that it refuses before it begins."""

import csv
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ernest import lcnet
from ernest.lcnet.training import Recipe, load_recipe, run, train
from ernest.lcnet.weights.native import read_checkpoint, save
from ernest.storage import own_folder

RECIPE = Recipe(arch="PPLCNet_x0_25", size=16, epochs=15, batch=8, rate=6.4, crop_area=(0.5, 1.0), held_out=0.2, precision="fp32")
COLOURS = {"blue": (40, 60, 200), "green": (50, 190, 60), "red": (210, 50, 40)}


def paint(folder: Path, count: int, seed: int = 0, flat: bool = False) -> Path:
    """Noisy pictures of three colours, one sub-folder each, or all in one."""
    rng = np.random.default_rng(seed)
    for name, colour in COLOURS.items():
        for place in range(count):
            height, width = rng.integers(16, 40, 2)
            picture = np.clip(np.array(colour) + rng.integers(-40, 40, (height, width, 3)), 0, 255).astype(np.uint8)
            file = folder / ("" if flat else name) / f"{name}{place}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(file)
    return folder


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return paint(tmp_path_factory.mktemp("painted") / "data", 20)


@pytest.fixture(scope="module")
def trained(painted: Path) -> Path:
    out = painted.parent / "trained"
    train(painted, out, RECIPE, show=False)
    return out


def test_a_folder_becomes_a_network_that_knows_its_classes(
    painted: Path, trained: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    outcome = train(painted, trained, RECIPE)  # the run is over: it only tells again
    assert (outcome.labels, outcome.skipped) == (("blue", "green", "red"), 0)
    assert outcome.top1 >= 0.9
    assert outcome.scores["top5"] == 1.0
    assert "taken for" in capfd.readouterr().err
    names = {
        "best.safetensors",
        "last.safetensors",
        "state.safetensors",
        "history.json",
        "recipe.json",
        "classes.csv",
        "confusion.png",
    }
    assert {file.name for file in trained.iterdir()} == names
    assert len(json.loads((trained / "history.json").read_text())) == 15
    assert load_recipe(overrides=json.loads((trained / "recipe.json").read_text())) == RECIPE
    saved = read_checkpoint(outcome.best)
    picture = np.asarray(Image.open(painted / "green" / "green3.png"))
    logits = saved.network(lcnet.prepare(picture, saved.preprocessing))
    assert saved.labels[int(logits.argmax())] == "green"


def test_progress_is_shown_on_standard_error(painted: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    train(painted, tmp_path, replace(RECIPE, epochs=1))
    told = capfd.readouterr()
    assert told.out == ""
    assert re.search(r"epoch 1/1: loss \d\.\d+, accuracy .* images/s; top-1", told.err)


def test_a_batch_beyond_the_memory_is_summed_in_parts(
    painted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "memory_limit", lambda: 1)
    train(painted, tmp_path, replace(RECIPE, epochs=1))
    assert "8 pictures do not fit into the memory: 2 at once" in capfd.readouterr().err
    assert json.loads((tmp_path / "recipe.json").read_text())["at_once"] == 2


@pytest.mark.parametrize("names", [("[unk]", "ok"), ("[/b]", "a$^$b"), ("犬", "c" * 200), ("$\\frac{", "tab\tor\nline")])
def test_names_of_any_kind_do_not_spoil_the_last_step(
    names: tuple[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lines = ["file,label"]
    for number in range(12):
        level = np.random.default_rng(number).integers(0, 100, (16, 16, 3), dtype=np.uint8) + 100 * (number % 2)
        Image.fromarray(level.astype(np.uint8)).save(tmp_path / f"{number}.png")
        lines.append(f'{number}.png,"{names[number % 2]}"')
    (tmp_path / "m.csv").write_text("\n".join(lines), encoding="utf-8")
    done = train(tmp_path / "m.csv", tmp_path / "out", replace(RECIPE, arch="small", epochs=1))
    assert set(done.labels) == set(names)
    told = capfd.readouterr().err
    assert names[0] in told
    assert "could not be drawn" not in told
    assert (tmp_path / "out" / "confusion.png").stat().st_size > 1000
    with (tmp_path / "out" / "classes.csv").open(newline="", encoding="utf-8") as file:
        assert {row["class"] for row in csv.DictReader(file)} == set(names)


def test_a_picture_that_cannot_be_drawn_is_one_complaint(
    painted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ernest.lcnet.training.run.draw_confusion", lambda *_: 1 / 0)
    assert train(painted, tmp_path, replace(RECIPE, epochs=1)).best.is_file()
    assert "confusion.png could not be drawn: ZeroDivisionError" in capfd.readouterr().err


def test_a_folder_that_cannot_be_written_is_told_before_the_first_epoch(painted: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(ValueError, match=r"/out: expected a folder to write into, got a file"):
        train(painted, tmp_path / "out", RECIPE, show=False)
    with pytest.raises(ValueError, match=r"/out/sub/last.safetensors cannot be written: .*/out is no folder"):
        train(tmp_path / "no data", tmp_path / "out/sub", RECIPE, show=False)
    assert (tmp_path / "out").read_text() == "mine"


def test_folders_named_in_bytes_that_are_no_text_are_trained_on(tmp_path: Path) -> None:
    paint(tmp_path / "data", 5)
    os.rename(tmp_path / "data/red", os.fsencode(tmp_path / "data") + b"/caf\xe9")
    done = train(tmp_path / "data", tmp_path / "out", replace(RECIPE, epochs=1), show=False)
    assert done.labels == ("blue", "caf\\xe9", "green")
    assert read_checkpoint(done.best).labels == done.labels


def test_what_is_left_out_is_told(painted: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(painted, tmp_path / "data")
    (tmp_path / "data/red/@eaDir").mkdir()
    for name in ("red/@eaDir/1.png", "red/notes.txt", "loose.png"):
        shutil.copy(painted / "red/red0.png", tmp_path / "data" / name)
    done = train(tmp_path / "data", tmp_path / "out", replace(RECIPE, epochs=1))
    assert dict(done.left_out) == {".txt": 1, "beside the folders of classes": 1, "in @eaDir": 1}
    assert "left out: 1 .txt, 1 beside the folders of classes, 1 in @eaDir" in capfd.readouterr().err


def test_train_and_val_inside_a_folder_are_parts_and_no_classes(painted: Path, tmp_path: Path) -> None:
    shutil.copytree(painted, tmp_path / "data" / "train")
    paint(tmp_path / "data" / "val", 3, seed=1)
    outcome = train(tmp_path / "data", tmp_path / "out", replace(RECIPE, epochs=1), show=False)
    assert outcome.labels == ("blue", "green", "red")
    lines = (tmp_path / "out" / "classes.csv").read_text().splitlines()[1:]
    assert [line.split(",")[1] for line in lines] == ["3"] * 3


def test_a_start_keeps_the_classifier_of_the_same_classes_and_makes_a_new_one_for_others(
    trained: Path, painted: Path, tmp_path: Path
) -> None:
    still = replace(RECIPE, epochs=1, rate=1e-9, warmup=0.0)
    outcome = train(painted, tmp_path / "same", still, start=trained / "last.safetensors", show=False)
    assert outcome.top1 >= 0.9
    (painted / "black").mkdir()
    try:
        for place in range(5):
            Image.new("RGB", (20, 20)).save(painted / "black" / f"{place}.png")
        outcome = train(painted, tmp_path / "more", still, start=trained / "last.safetensors", show=False)
    finally:
        shutil.rmtree(painted / "black")
    assert outcome.labels == ("black", "blue", "green", "red")
    old, new = read_checkpoint(trained / "last.safetensors").network, read_checkpoint(outcome.last).network
    assert new.architecture.classes == 4
    assert torch.allclose(old.stages[0][0][0][0].weight, new.stages[0][0][0][0].weight, atol=1e-5)


def test_a_published_file_is_a_start_too(painted: Path, tmp_path: Path) -> None:
    """A network with Paddle's names, as safetensors: the classifier of 1000 classes goes, the rest comes along."""
    from safetensors.torch import save_file

    from ernest.lcnet.weights.key_maps import their_name

    torch.manual_seed(3)
    network = lcnet.PPLCNet(lcnet.Architecture(scale=0.25))
    named = {}
    for name, value in network.state_dict().items():
        _, *place = name.split(".")
        block = network.architecture.stages[int(place[0])][int(place[1])] if name.startswith("stages.") else None
        named[their_name("timm", name, block)] = value
    named["conv_head.weight"] = named["conv_head.weight"][..., None, None]
    named["conv_head.bias"] = torch.randn(1280)
    save_file({name: value.contiguous() for name, value in named.items()}, tmp_path / "theirs.safetensors")
    with pytest.raises(ValueError, match=r"theirs\.safetensors: no PPLCNet_x0_5 of 3 channels"):
        train(painted, tmp_path / "out", replace(RECIPE, arch="PPLCNet_x0_5"), start=tmp_path / "theirs.safetensors", show=False)
    outcome = train(
        painted, tmp_path / "out", replace(RECIPE, epochs=1, rate=1e-9), start=tmp_path / "theirs.safetensors", show=False
    )
    made = read_checkpoint(outcome.last).network
    assert torch.allclose(made.stem[0].weight, network.stem[0].weight, atol=1e-5)
    assert torch.allclose(made.head.wide[0].bias, named["conv_head.bias"], atol=1e-5)


def test_broken_pictures_stop_the_run_or_are_counted(tmp_path: Path) -> None:
    data = paint(tmp_path / "data", 10)
    (data / "red" / "red0.png").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(ValueError, match=r"1 of 24 pictures cannot be read: .*red0\.png|1 of 6 pictures cannot be read"):
        train(data, tmp_path / "out", RECIPE, show=False)
    assert not (tmp_path / "out").exists()
    assert train(data, tmp_path / "out", replace(RECIPE, epochs=1), skip_unreadable=True, show=False).skipped == 1


def saved_as(labels: tuple[str, ...], channels: int = 3) -> Callable[[Path], Path]:
    """A teacher that has seen pictures with a mean of 0.5 and a deviation of 0.2."""

    def make(folder: Path) -> Path:
        preprocessing = lcnet.Preprocessing(mean=(0.5,) * channels, std=(0.2,) * channels)
        architecture = lcnet.Architecture(classes=len(labels), scale=0.25, in_channels=channels)
        save(folder / "teacher.safetensors", lcnet.PPLCNet(architecture), labels, preprocessing)
        return folder / "teacher.safetensors"

    return make


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (saved_as(("blue", "red")), "a teacher of 2 classes, but the data have 3"),
        (saved_as(("blue", "red", "green")), "the teacher's classes are not those of the data: 'red' instead of 'green'"),
        (saved_as(("blue", "green", "red"), 1), "a teacher of 1 channels, but the recipe has 3"),
        (
            saved_as(("blue", "green", "red")),
            "the teacher's pictures are prepared otherwise than with mean (0.485, 0.456, 0.406)",
        ),
    ],
)
def test_a_teacher_of_other_classes_is_refused(painted: Path, tmp_path: Path, make: Callable[[Path], Path], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"teacher.safetensors: {said}")):
        train(painted, tmp_path / "out", RECIPE, teacher=make(tmp_path), show=False)
    assert not (tmp_path / "out").exists()


def test_what_does_not_go_together_is_refused(painted: Path, trained: Path, tmp_path: Path) -> None:
    best = trained / "best.safetensors"
    with pytest.raises(ValueError, match="mutual: two students teach each other, without a teacher"):
        train(painted, tmp_path / "out", RECIPE, teacher=best, mutual=True, show=False)
    with pytest.raises(ValueError, match="unlabeled: only a teacher can tell"):
        train(painted, tmp_path / "out", RECIPE, unlabeled=painted, show=False)
    strange = paint(tmp_path / "strange", 2)
    (strange / "red").rename(strange / "purple")
    with pytest.raises(ValueError, match="strange: class 'purple' is none of those trained for: blue, green, red"):
        train(painted, tmp_path / "out", RECIPE, validation=strange, show=False)
    with pytest.raises(ValueError, match=r"nowhere: expected a folder of class sub-folders"):
        train(tmp_path / "nowhere", tmp_path / "out", RECIPE, show=False)
    assert not (tmp_path / "out").exists()


def test_two_students_teach_each_other_and_a_teacher_needs_no_labels(painted: Path, trained: Path, tmp_path: Path) -> None:
    assert train(painted, tmp_path / "two", RECIPE, mutual=True, show=False).top1 >= 0.9
    more = paint(tmp_path / "more", 20, seed=2, flat=True)
    # The best network is the first that got all twelve pictures right, after a few steps; the last one has something to teach.
    outcome = train(painted, tmp_path / "student", RECIPE, teacher=trained / "last.safetensors", unlabeled=more, show=False)
    assert outcome.top1 >= 0.9


def test_a_folder_is_trained_into_by_one_at_a_time(painted: Path, tmp_path: Path) -> None:
    with own_folder(tmp_path / "out" / "state.safetensors"), pytest.raises(ValueError, match="is in use by process"):
        train(painted, tmp_path / "out", replace(RECIPE, epochs=1), show=False)
    assert not (tmp_path / "out").exists()


def test_what_would_be_a_class_of_the_next_run_is_no_place_to_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paint(tmp_path / "data", 2)
    monkeypatch.chdir(tmp_path / "data")
    with pytest.raises(ValueError, match=r"build/lcnet: it lies in \., where folders are classes: name one elsewhere, with -o"):
        train(".", "build/lcnet", RECIPE)
    paint(tmp_path / "parts" / "train", 2)
    paint(tmp_path / "parts" / "val", 2)
    assert train(tmp_path / "parts", tmp_path / "parts" / "out", replace(RECIPE, epochs=1), show=False).labels == tuple(COLOURS)


def test_pictures_that_are_scored_with_and_learnt_from_are_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    paint(tmp_path / "data" / "train", 2)
    (tmp_path / "data" / "val").symlink_to(tmp_path / "data" / "train")
    train(tmp_path / "data", tmp_path / "out", replace(RECIPE, epochs=1))
    assert "6 of 6 pictures to score with are learnt from too" in capfd.readouterr().err


def test_a_date_is_a_seed(painted: Path, tmp_path: Path) -> None:
    for seed in (20261130065700, 2**70):
        assert train(painted, tmp_path / str(seed), replace(RECIPE, epochs=1, seed=seed), show=False).epoch == 1
