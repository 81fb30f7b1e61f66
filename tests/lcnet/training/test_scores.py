"""Scores, the table of classes and the picture of mistakes."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ernest.lcnet import Preprocessing
from ernest.lcnet.training.dataset import dataset_from_arrays
from ernest.lcnet.training.scores import Scores, draw_confusion, evaluate, per_class, write_classes

RULE = Preprocessing(resize=8, crop=(8, 8), mean=(0.0,), std=(1.0,))


class Brightness(nn.Module):
    """Takes a picture for the class whose number is its brightness in steps of 20, and for its neighbours after that."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        value = images.mean((1, 2, 3)) * 255 / 20
        return -(value[:, None] - torch.arange(self.classes)).abs()


def test_top_one_top_five_and_confusion_are_counts() -> None:
    values, targets = [0, 20, 40, 60, 60, 200, 200], [0, 1, 2, 3, 4, 10, 1]
    labels = [str(i) for i in range(11)]
    pictures = dataset_from_arrays([np.full((8, 8), value, np.uint8) for value in values], np.array(targets), labels)
    network = Brightness(11).train()
    scores = evaluate(network, pictures, RULE)
    assert network.training
    assert scores.top1 == 5 / 7
    assert scores.top5 == 6 / 7
    inputs = torch.tensor(values).view(-1, 1, 1, 1) / 255
    assert scores.loss == pytest.approx(float(F.cross_entropy(network(inputs), torch.tensor(targets))), rel=1e-5)
    wanted = np.zeros((11, 11), int)
    for is_, taken in ((0, 0), (1, 1), (2, 2), (3, 3), (4, 3), (10, 10), (1, 10)):
        wanted[is_, taken] += 1
    assert np.array_equal(scores.confusion, wanted)


def test_top_five_of_fewer_classes_is_all_of_them() -> None:
    pictures = dataset_from_arrays([np.zeros((8, 8), np.uint8)] * 3, np.array([0, 1, 2]), "abc")
    scores = evaluate(Brightness(3), pictures, RULE)
    assert (scores.top1, scores.top5) == (1 / 3, 1.0)


def test_the_table_has_the_worst_class_first(tmp_path: Path) -> None:
    confusion = np.array([[8, 2, 0], [0, 10, 0], [1, 4, 5]])
    rows = per_class(Scores(0.0, 0.0, confusion), ("cat", "dog", "eel"))
    assert [row.label for row in rows] == ["eel", "cat", "dog"]
    assert [row.pictures for row in rows] == [10, 10, 10]
    assert [row.recall for row in rows] == [0.5, 0.8, 1.0]
    assert [row.precision for row in rows] == pytest.approx([1.0, 8 / 9, 10 / 16])
    assert [row.taken_for for row in rows] == ["dog", "dog", ""]
    write_classes(rows, tmp_path / "classes.csv")
    with (tmp_path / "classes.csv").open(newline="") as file:
        lines = list(csv.reader(file))
    assert lines[1] == ["eel", "10", "0.5000", "1.0000", "dog"]
    assert len(lines) == 4


def test_a_class_without_pictures_comes_last_and_counts_for_nothing(tmp_path: Path) -> None:
    scores = Scores(0.0, 0.0, np.array([[8, 2, 0], [0, 0, 0], [1, 4, 5]]))
    rows = per_class(scores, ("cat", "dog", "eel"))
    assert [(row.label, row.pictures, row.recall) for row in rows] == [("eel", 10, 0.5), ("cat", 10, 0.8), ("dog", 0, None)]
    assert scores.macro_recall == pytest.approx(0.65)
    assert Scores(0.0, 0.0, np.zeros((3, 3), int)).macro_recall == 0.0
    write_classes(rows, tmp_path / "classes.csv")
    assert (tmp_path / "classes.csv").read_text().splitlines()[-1] == "dog,0,,0.0000,"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_network_whose_answers_are_no_numbers_is_refused(value: float) -> None:
    class Broken(Brightness):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return super().forward(images) * value

    pictures = dataset_from_arrays([np.zeros((8, 8), np.uint8)] * 3, np.array([0, 1, 2]), "abc")
    with pytest.raises(ValueError, match="the network's answers are no finite numbers"):
        evaluate(Broken(3), pictures, RULE)


MANY = """
import sys
import matplotlib.backends.backend_agg
import numpy as np
from pathlib import Path
from torch import nn
from ernest.lcnet import Preprocessing
from ernest.lcnet.training.dataset import dataset_from_arrays
from ernest.lcnet.training.scores import draw_confusion, evaluate, per_class

def peak():
    return int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))) // 1024

count = 5000
pictures = [np.full((1, 1), number % 250, np.uint8) for number in range(count)]
pictures = dataset_from_arrays(pictures, np.arange(count), [f"class {number}" for number in range(count)])
network = nn.Sequential(nn.Flatten(), nn.Linear(1, count))
before = peak()
scores = evaluate(network, pictures, Preprocessing(1, (1, 1), (0.5,), (0.5,)))
assert len(per_class(scores, pictures.labels)) == count and scores.confusion.sum() == count
draw_confusion(scores, pictures.labels, Path(sys.argv[1]))
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux for the memory")
def test_thousands_of_classes_take_the_memory_of_their_counts(tmp_path: Path) -> None:
    """25 million counts are 100 MB; a picture with a colour for each of them takes 1.5 GB."""
    command = [sys.executable, "-c", MANY, str(tmp_path / "confusion.png")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    assert int(done.stdout) < 600


@pytest.mark.parametrize("classes", [3, 60, 1100])
def test_the_picture_is_drawn_for_few_and_for_many(classes: int, tmp_path: Path) -> None:
    confusion = np.eye(classes, dtype=int) * 5
    confusion[0, 1] = 3
    draw_confusion(Scores(0.9, 1.0, confusion), [f"class {i}" for i in range(classes)], tmp_path / "confusion.png")
    from PIL import Image

    with Image.open(tmp_path / "confusion.png") as picture:
        assert min(picture.size) > 300
    assert [file.name for file in tmp_path.iterdir()] == ["confusion.png"]
