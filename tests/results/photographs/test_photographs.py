"""The rules of PP-LCNet on photographs: pictures of a zip, each training once, and what differences say."""

import io
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from ernest.results.outcome import read_outcomes
from ernest.results.photographs import page, training
from ernest.results.photographs.page import judge, run_photographs
from ernest.results.photographs.training import read_pictures
from ernest.results.photographs.variants import VARIANTS


@pytest.fixture
def pictures(tmp_path):
    """Ten pictures of each of two classes, and two of each to score with."""
    rng, path = np.random.default_rng(0), tmp_path / "pictures.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for part, count in (("train", 10), ("test", 2)):
            for label in ("cat", "dog"):
                for number in range(count):
                    file = io.BytesIO()
                    Image.fromarray(rng.integers(0, 256, (32, 32, 3)).astype(np.uint8)).save(file, "jpeg")
                    archive.writestr(f"{part}/{label}/{number:04d}.jpg", file.getvalue())
    return path


def made_up(rule: float = 2.0) -> dict[str, dict[int, float]]:
    """Every rule brings so many points, and places late in the network as many; seeds share their noise."""
    ranks = {"BaseNet": 0, "+ h-swish": 1, "+ 5×5": 2, "+ SE": 3, "+ 1280, no dropout": 4, "+ dropout": 5}
    noise = np.random.default_rng(0).normal(0, 3, 3)
    return {name: {seed: 80 + noise[seed] + rule * ranks.get(name, 4) for seed in range(3)} for name in VARIANTS}


def test_zips_as_they_are_found(pictures):
    """What macOS adds is no picture; a damaged one, a class that nobody learns and what is no zip are named."""
    counted = [len(part) for part in read_pictures(pictures)]
    with zipfile.ZipFile(pictures, "a") as archive:
        archive.writestr("__MACOSX/train/cat/._0000.jpg", b"what a Mac remembers")
    assert [len(part) for part in read_pictures(pictures)] == counted
    for name, message in (("test/bird/a.jpg", "a.jpg cannot be read as a picture"), ("test/bird/b.jpg", "train lacks: bird")):
        with zipfile.ZipFile(pictures) as archive:
            content = b"no picture" if "picture" in message else archive.read("test/cat/0000.jpg")
        copy = pictures.with_name("copy.zip")
        copy.write_bytes(pictures.read_bytes())
        with zipfile.ZipFile(copy, "a") as archive:
            archive.writestr(name, content)
        with pytest.raises(ValueError, match=message):
            read_pictures(copy)
    copy.write_text("no zip")
    with pytest.raises(ValueError, match=r"copy\.zip: damaged, or no zip"):
        read_pictures(copy)


def test_rules_are_judged_by_paired_differences():
    assert [one.verdict for one in judge(made_up())] == ["holds", "holds"]
    assert [one.verdict for one in judge(made_up(-1.0))] == ["doesn't hold here"] * 2
    one_seed = {name: {0: tops[0]} for name, tops in made_up().items()}
    assert [one.verdict for one in judge(one_seed)] == ["can't be judged here"] * 2
    assert "all − none +10.000 ± 0.000 (3 seeds)" in judge(made_up())[0].ours
    assert judge({"BaseNet": {0: 80.0}}) == []


def test_every_variant_is_trained_once_and_told(pictures, tmp_path, monkeypatch):
    trained, drawn = [], []

    def accuracy(variant, seed, learn, score, folder):
        trained.append((variant, seed))
        return made_up()[variant][seed]

    monkeypatch.setattr(page, "accuracy", accuracy)
    monkeypatch.setattr(page, "write_picture", lambda path, figure: drawn.append(path.name))
    monkeypatch.setattr(page, "_picture", lambda tops: None)
    run_photographs(pictures, tmp_path / "work", tmp_path / "out", lambda line: None)
    assert len(trained) == len(set(trained)) == 3 * (len(VARIANTS) - 1)
    run_photographs(pictures, tmp_path / "work", tmp_path / "out", lambda line: None)
    assert len(trained) == 3 * (len(VARIANTS) - 1)
    assert set(drawn) == {"top1.png"}
    assert len(read_outcomes(tmp_path / "out/photographs")) == 2
    text = (tmp_path / "out/photographs.md").read_text()
    assert "| no 1280 layer | 59.91 | 3 |" in text
    assert "| SE in the last two | 63.14 | 3 |" in text


def test_a_training_takes_the_pictures_of_the_zip(pictures, tmp_path, monkeypatch):
    learn, score = read_pictures(pictures)
    assert (len(learn), len(score), learn.labels) == (20, 4, ("cat", "dog"))
    assert learn.targets.tolist() == [0] * 10 + [1] * 10
    monkeypatch.setattr(training, "RECIPE", replace(training.RECIPE, epochs=1, batch=10, warmup=0.1))
    assert 0 <= training.accuracy("BaseNet", 0, learn, score, tmp_path) <= 100
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as archive:
        archive.writestr("train/cat/0.txt", "")
    with pytest.raises(ValueError, match=r"empty\.zip: expected pictures as train/CLASS/NAME\.jpg"):
        read_pictures(tmp_path / "empty.zip")
