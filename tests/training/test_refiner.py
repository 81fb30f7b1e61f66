"""`ernest refiner train`: beside a checkpoint that it does not touch, cut and gone on with, used behind it, measured."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ernest.checkpoint import load_model, save_model
from ernest.cli import refiner as commands
from ernest.config.media import MediaSpec
from ernest.data import media
from ernest.evaluation.refiner import measure_refiner
from ernest.generation.answer import generate
from ernest.refiner import refine as refining
from ernest.refiner.network import Refiner, RefinerConfig
from ernest.refiner.refine import small_versions
from ernest.training import refiner as refiner_run
from ernest.training.refiner import RefinerRun, train_refiner_run
from ernest.world.split import HELD_OUT
from ernest.world.stills import stills
from tests.commands import ernest
from tests.small import network, tokenizers

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def small_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is learnt is not looked at here."""
    monkeypatch.setattr("ernest.training.refiner.DRAWN", 50)
    monkeypatch.setattr("ernest.evaluation.refiner.COUNT", 4)
    monkeypatch.setattr("ernest.refiner.training.RefinerTraining.batch", 4)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "model"
    save_model(folder, network(), tokenizers(), {}, torch.ones(6, 8))
    return folder


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for number in range(3):
        media.write_image(_made(tmp_path / f"files/{number}.png"), RNG.integers(0, 256, (80, 60, 3), dtype=np.uint8))
    media.write_video(tmp_path / "files/film.webp", RNG.integers(0, 256, (5, 64, 64, 3), dtype=np.uint8))
    return tmp_path / "files"


def _made(file: Path) -> Path:
    file.parent.mkdir(exist_ok=True)
    return file


def test_no_parameter_of_the_checkpoint_moves(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither on disk nor in memory, where the tokenizer has no gradient either; and the refiner learns from it all the same."""
    model, bundle = load_model(checkpoint)
    before = {file: file.read_bytes() for file in checkpoint.rglob("*") if file.is_file()}
    weights = {name: value.clone() for part in (model, bundle.vision) for name, value in part.state_dict().items()}
    true_load, loaded = refiner_run.load, []
    monkeypatch.setattr(refiner_run, "load", lambda *which: loaded.append(true_load(*which)) or loaded[-1])
    line = train_refiner_run(RefinerRun("world", checkpoint, tmp_path / "big", 2, 3))
    assert line == f"{tmp_path / 'big'}: a refiner of pictures from 32 x 32 to 64 x 64 pixels, 0.30 million parameters"
    assert {file: file.read_bytes() for file in checkpoint.rglob("*") if file.is_file()} == before
    vision = loaded[0].network
    assert all(torch.equal(value, weights[name]) for name, value in vision.state_dict().items())
    parameters = [*vision.parameters(), *model.parameters(), *bundle.vision.parameters()]
    assert [value for value in parameters if value.grad is not None] == []
    assert not any(value.requires_grad for value in vision.parameters())
    refiner = Refiner.load(tmp_path / "big")
    assert refiner.doublings[0].leave.weight.abs().max() > 0
    with pytest.raises(ValueError, match="big holds a refiner already: choose another folder"):
        train_refiner_run(RefinerRun("world", checkpoint, tmp_path / "big", 2, 3))


@pytest.mark.parametrize("of_world", [True, False])
def test_a_run_that_was_cut_goes_on_bit_for_bit(
    of_world: bool, checkpoint: Path, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ernest.refiner.training.KEEP_EVERY", 2)
    run = lambda name, steps=5: RefinerRun("world" if of_world else str(files), checkpoint, tmp_path / name, 2, steps)
    train_refiner_run(run("whole"))
    true_bar = refiner_run.stage_bar

    def stopping_bar():
        bar = true_bar()
        move = bar.update

        def update(task, **fields):
            move(task, **fields)
            if fields.get("completed") == 3:
                raise KeyboardInterrupt

        bar.update = update
        return bar

    with monkeypatch.context() as patch:
        patch.setattr(refiner_run, "stage_bar", stopping_bar)
        with pytest.raises(KeyboardInterrupt):
            train_refiner_run(run("cut"))
    assert list((tmp_path / "cut/state").glob("*.safetensors"))
    with pytest.raises(ValueError, match="cut holds a run on other records, tokenizers or settings"):
        train_refiner_run(run("cut", 6))
    train_refiner_run(run("cut"))
    name = "refiner.safetensors"
    assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert sorted(one.name for one in (tmp_path / "cut").iterdir() if not one.name.startswith(".")) == [name, "run.json"]


def test_what_does_not_fit_is_refused(checkpoint: Path, files: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="8 times 64 x 64 pixels are more than 256: --factor 2, or a smaller tokenizer"):
        refiner_run.large_media(MediaSpec(64, 64), 8, "world")
    with pytest.raises(ValueError, match="the world draws squares, and the tokenizer is one of 32 x 48 pixels: --data FOLDER"):
        refiner_run.large_media(MediaSpec(32, 48), 2, "world")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty: nothing to learn from: it holds no image or video"):
        train_refiner_run(RefinerRun(str(tmp_path / "empty"), checkpoint, tmp_path / "out"))
    with pytest.raises(ValueError, match="seed = -1: expected at least 0"):
        RefinerRun("world", tmp_path, tmp_path / "odd", seed=-1)
    with pytest.raises(ValueError, match="--judge reads the digits of the world's pictures: --data world, or leave judge out"):
        measure_refiner(tmp_path, str(tmp_path), judge=Path("judge"))
    with pytest.raises(ValueError, match="steps = 0: expected at least 1"):
        train_refiner_run(RefinerRun(str(files), checkpoint, tmp_path / "out", steps=0))
    assert not (tmp_path / "out").exists()


def test_a_refiner_stands_behind_the_model_and_its_tokenizer(
    checkpoint: Path, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Pictures and films of the very pixels that come without it, only larger; sounds and other sizes are refused."""
    big, out = tmp_path / "big", tmp_path / "out.png"
    train_refiner_run(RefinerRun(str(files), checkpoint, big, 2, 1))
    for prompt, kind, ending in (("a red seven", "image", "png"), ("a disk shrinking", "video", "webp")):
        drawn = []
        for refine in (None, big):
            generate(checkpoint, [prompt], kind, tmp_path / f"made.{ending}", seed=2**70, refine=refine)
            side = 32 if refine is None else 64
            drawn.append(media.read(tmp_path / f"made.{ending}", kind, MediaSpec(side, side)))
        small, large = (one if kind == "video" else one[None] for one in drawn)
        assert np.array_equal(small_versions(large, 2), small)
    assert ernest(monkeypatch, "tokenizer", "encode", checkpoint, files / "0.png", "-o", tmp_path / "bits") == 0
    assert ernest(monkeypatch, "tokenizer", "decode", checkpoint, tmp_path / "bits", "-o", out, "--refine", big) == 0
    assert media.read(out, "image", MediaSpec(64, 64)).shape == (64, 64, 3)
    Refiner(type(Refiner.load(big).config)((64, 64), (0.1,))).save(tmp_path / "other")
    with pytest.raises(ValueError, match=r"^\S+other: pictures of 32 x 32 pixels: this refiner is one of 64 x 64$"):
        generate(checkpoint, ["a red seven"], "image", out, refine=tmp_path / "other")
    with pytest.raises(ValueError, match="--refine goes with pictures and videos, and audio is to be made"):
        generate(checkpoint, ["a red seven"], "audio", refine=big)
    capsys.readouterr()
    commands.report(big, files, checkpoint)
    lines = [line for line in capsys.readouterr().out.splitlines() if ", bicubic " in line]
    assert len(lines) == 8
    assert [line for line in lines if line.startswith("consistency") and "refined 100 dB" not in line] == []


def test_stills_are_those_of_their_indices() -> None:
    """Whatever is made with them; half of them digits, and held out from one index on."""
    made = stills(0, 0, 60, 32)
    assert made.shape == (60, 32, 32, 3)
    assert np.array_equal(stills(0, 50, 10, 32)[:10], made[50:60])
    assert len({one.tobytes() for one in (*made, *stills(0, HELD_OUT, 60, 32))}) == 120


def test_a_run_is_the_commands_whatever_torchs_defaults_and_whose_numbers(checkpoint: Path, files: Path, tmp_path: Path) -> None:
    train_refiner_run(RefinerRun(str(files), checkpoint, tmp_path / "one", 2, 1))
    torch.set_default_dtype(torch.float64)
    try:
        with torch.inference_mode():
            train_refiner_run(RefinerRun(files, str(checkpoint), str(tmp_path / "other"), np.int64(2), np.int64(1), np.int64(0)))
    finally:
        torch.set_default_dtype(torch.float32)
    assert (tmp_path / "one/refiner.safetensors").read_bytes() == (tmp_path / "other/refiner.safetensors").read_bytes()
    assert (tmp_path / "one/run.json").read_text() == (tmp_path / "other/run.json").read_text()


def test_a_picture_that_is_read_from_below_is_refined_too() -> None:
    refiner = Refiner(RefinerConfig((8, 8), (1.0,)))
    picture = RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    assert np.array_equal(refining.refine(refiner, picture[::-1]), refining.refine(refiner, picture[::-1].copy()))
