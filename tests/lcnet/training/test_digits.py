"""Real pictures: twelve epochs of handwritten digits, a student without a single label, thirty a class and no recipe."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ernest.lcnet import PPLCNet
from ernest.lcnet.training import (
    Budget,
    PictureDataset,
    Recipe,
    dataset_from_arrays,
    distillation,
    evaluation_transform,
    fit,
    supervised,
    train,
)
from ernest.lcnet.training.loop import best_epoch
from ernest.lcnet.training.losses import Objective
from ernest.lcnet.training.recipe import architecture_of, preprocessing_of
from tests.lcnet.networks import NAMES, digits

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TEACHER = Recipe(
    arch="PPLCNet_x0_25",
    strides="64",
    size=32,
    channels=1,
    epochs=12,
    batch=32,
    rate=3.2,
    warmup=2.4,
    nesterov=True,
    crop_area=(0.8, 1.0),
    crop_aspect=(0.9, 1.11),
    flip=False,
    elastic_distort=True,
    precision="fp32",
)
STUDENT = replace(TEACHER, strides="published", batch=64)


@pytest.fixture(scope="module")
def pictures() -> tuple[PictureDataset, PictureDataset]:
    """To learn from, and to score with."""
    images, classes = digits()
    seen = evaluation_transform(preprocessing_of(TEACHER))
    learn = dataset_from_arrays(images[:1297], classes[:1297], NAMES)
    return learn, dataset_from_arrays(images[1297:], classes[1297:], NAMES, seen)


def trained(
    recipe: Recipe, learn: PictureDataset, score: PictureDataset, objective: Objective | None = None
) -> tuple[PPLCNet, float]:
    """A network and its top-1 after the last epoch (not the best one, which would peep at the score)."""
    torch.manual_seed(recipe.seed)
    network = PPLCNet(architecture_of(recipe, len(learn.labels)))
    progress = fit(network, objective or supervised(recipe.smoothing), learn, score, recipe)
    return network, progress.history[-1]["top1"]


@pytest.fixture(scope="module")
def teacher(pictures: tuple[PictureDataset, PictureDataset]) -> tuple[PPLCNet, float]:
    return trained(TEACHER, *pictures)


def test_twelve_epochs_read_digits(teacher: tuple[PPLCNet, float]) -> None:
    assert teacher[1] >= 0.975


@pytest.mark.long
def test_a_teacher_helps_more_than_a_hundred_labels(
    teacher: tuple[PPLCNet, float], pictures: tuple[PictureDataset, PictureDataset]
) -> None:
    """The same student, as many steps: once on 100 pictures with labels, once on all of them with none."""
    learn, score = pictures
    torch.manual_seed(0)
    few = replace(learn, targets=learn.targets[:100], fingerprint="the first hundred")
    _, alone = trained(replace(STUDENT, epochs=120, batch=50), few, score)
    bare = replace(learn, targets=np.full(len(learn), -1, np.int64))
    _, led = trained(STUDENT, bare, score, distillation(teacher[0]))
    assert led - alone > 0.05


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_thirty_pictures_a_class_are_read_with_nothing_but_a_folder(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One nearest neighbour comes to 97 % of the 500 others; a network that learns from mirrored digits to 92 %."""
    from PIL import Image

    images, classes = digits()
    numbers: Counter[int] = Counter()
    for image, label in zip(images, classes.tolist(), strict=True):
        if numbers[label] < 80:
            file = tmp_path / ("train" if numbers[label] < 30 else "val") / str(label) / f"{numbers[label]}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.asarray(image).squeeze()).save(file)
        numbers[label] += 1
    outcome = train(tmp_path, tmp_path / "out", Budget(20.0, ("precision=fp32", "epochs=100")))
    assert outcome.top1 >= 0.95
    assert "flips off: " in capfd.readouterr().err


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_balanced_draws_find_rare_classes() -> None:
    """Five classes with a hundred pictures and five with two; thirty of each to score with. Three seeds."""
    images, classes = digits()
    seen = evaluation_transform(preprocessing_of(TEACHER))
    places = [np.flatnonzero(classes == label) for label in range(10)]
    score = np.concatenate([place[-30:] for place in places])
    others = dataset_from_arrays(images[score], classes[score], NAMES, seen)
    gains = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        learn = np.concatenate([rng.permutation(place[:-30])[: 100 if label % 2 else 2] for label, place in enumerate(places)])
        pictures = dataset_from_arrays(images[learn], classes[learn], NAMES)
        recalls = []
        for balance in (0.0, 1.0):
            recipe = replace(TEACHER, arch="small", strides="auto", epochs=15, batch=16, seed=seed, balance=balance)
            torch.manual_seed(seed)
            progress = fit(PPLCNet(architecture_of(recipe, 10)), supervised(recipe.smoothing), pictures, others, recipe)
            recalls.append(progress.history[best_epoch(progress)]["macro_recall"])
        gains.append(recalls[1] - recalls[0])
    assert min(gains) >= 0.10, gains
