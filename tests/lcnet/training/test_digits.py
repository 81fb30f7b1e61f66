"""Real pictures: twelve epochs of handwritten digits, and a student that a teacher leads without a single label."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.lcnet.digits import RECIPE, digits, part, trained
from ernest.lcnet import PPLCNet
from ernest.lcnet.training import PictureDataset, distillation

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TEACHER = replace(RECIPE, arch="PPLCNet_x0_25", strides="64", rate=3.2)
STUDENT = replace(RECIPE, arch="PPLCNet_x0_25", strides="published", rate=3.2, batch=64)


@pytest.fixture(scope="module")
def pictures() -> tuple[PictureDataset, PictureDataset]:
    return digits()


@pytest.fixture(scope="module")
def teacher(pictures: tuple[PictureDataset, PictureDataset]) -> tuple[PPLCNet, float]:
    return trained(TEACHER, *pictures)


def test_twelve_epochs_read_digits(teacher: tuple[PPLCNet, float]) -> None:
    assert teacher[1] >= 0.975


def test_a_teacher_helps_more_than_a_hundred_labels(
    teacher: tuple[PPLCNet, float], pictures: tuple[PictureDataset, PictureDataset]
) -> None:
    """The same student, as many steps: once on 100 pictures with labels, once on all of them with none."""
    learn, score = pictures
    torch.manual_seed(0)
    _, alone = trained(replace(STUDENT, epochs=120, batch=50), part(learn, 100), score)
    bare = replace(learn, targets=np.full(len(learn), -1, np.int64))
    _, led = trained(STUDENT, bare, score, distillation(teacher[0]))
    assert led - alone > 0.05
