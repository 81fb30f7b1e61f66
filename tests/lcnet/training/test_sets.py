"""Pictures with any number of labels: how they are listed, divided, learnt, scored, and what the files of the network say."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from ernest.lcnet import classify, open_model
from ernest.lcnet.classification import as_text, classify_files
from ernest.lcnet.decision import Decision
from ernest.lcnet.deployment.deploy import ENDINGS, PACKAGES, deploy
from ernest.lcnet.image_io.preprocess import Preprocessing
from ernest.lcnet.training import Recipe, dataset_from_arrays, read_listing, train
from ernest.lcnet.training.listing import Listing, split
from ernest.lcnet.training.losses import supervised_sets
from ernest.lcnet.training.sets import choose_thresholds, evaluate_sets, per_label
from ernest.lcnet.weights.native import read_checkpoint
from tests.lcnet.networks import digits
from tests.lcnet.training.test_listing import write

RECIPE = Recipe(
    arch="small",
    size=16,
    epochs=12,
    batch=8,
    rate=6.4,
    smoothing=0.0,
    crop_area=(0.9, 1.0),
    flip=False,
    precision="fp32",
    label_separator="+",
    held_out=0.25,
)
COLOURS = {"red": (0, 0), "green": (1, 9), "blue": (2, 4)}


def paint(folder: Path, count: int) -> Path:
    """Pictures of up to three bars, each a label, in sub-folders by their labels; those without one in a folder called +."""
    rng = np.random.default_rng(0)
    for number in range(count):
        picture = rng.integers(40, 90, (16, 16, 3), dtype=np.uint8)
        labels = [label for place, label in enumerate(COLOURS) if number >> place & 1]
        for label in labels:
            channel, row = COLOURS[label]
            picture[row : row + 5, 2:14, channel] = 230
        file = folder / ("+".join(labels) or "+") / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(file)
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folder of pictures and the one of the training."""
    data = paint(tmp_path_factory.mktemp("bars") / "data", 160)
    train(data, data.parent / "out", RECIPE, show=False)
    return data, data.parent / "out"


def test_it_learns_every_set_and_says_so(trained: tuple[Path, Path]) -> None:
    out = trained[1]
    best = max(json.loads((out / "history.json").read_text()), key=lambda line: line["score"])
    assert best["exact"] >= 0.9
    assert best["macro_f1"] >= 0.95
    saved = read_checkpoint(out / "best.safetensors")
    assert saved.labels == ("blue", "green", "red")
    assert saved.decision.many
    assert len(saved.decision.thresholds) == 3
    assert (out / "classes.csv").read_text().count("\n") == 4


@pytest.mark.parametrize("to", ["native", "onnx", "openvino"])
def test_deployed_it_still_gives_each_label_its_own_probability(trained: tuple[Path, Path], tmp_path: Path, to: str) -> None:
    for package in PACKAGES[to]:
        pytest.importorskip(package)
    data, out = trained
    done = deploy(out / "best.safetensors", to, out=tmp_path / f"x{ENDINGS[to]}")
    model, files = open_model(done.files[0]), sorted(data.glob("*/*.png"))[::5]
    assert model.decision == read_checkpoint(out / "best.safetensors").decision
    right = [
        sorted(label for label, _ in answer.labels) == sorted(filter(None, Path(answer.file).parent.name.split("+")))
        for answer in classify(model, files, top=1)
    ]
    assert np.mean(right) >= 0.9
    nothing = next(classify(model, [next((data / "+").iterdir())]))
    assert as_text(nothing).endswith(": none of these")


def test_a_graph_gives_probabilities_by_sigmoids(trained: tuple[Path, Path], tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    from ernest.lcnet.deployment.export import GraphForm

    file = deploy(trained[1] / "best.safetensors", "onnx", out=tmp_path / "x.onnx", form=GraphForm(probabilities=True)).files[0]
    import onnxruntime

    images = torch.randn(2, 3, 16, 16)
    logits, probabilities = onnxruntime.InferenceSession(file).run(None, {"images": images.numpy()})
    assert np.allclose(probabilities, torch.from_numpy(logits).sigmoid(), atol=1e-6)


def test_one_threshold_may_be_given_for_all(trained: tuple[Path, Path], tmp_path: Path) -> None:
    data, out = trained
    file = str(next((data / "red").iterdir()))
    every = next(classify_files(out / "best.safetensors", [file], threshold=0.0)).labels
    assert len(every) == 3
    between = sum(probability for _, probability in every) / 3  # of three that differ, one at least is below it
    kept = next(classify_files(out / "best.safetensors", [file], threshold=between)).labels
    assert 0 < len(kept) < 3
    assert kept == tuple(label for label in every if label[1] >= between)
    native = deploy(out / "best.safetensors", "native", out=tmp_path / "x.safetensors", threshold=0.25).files[0]
    assert open_model(native).decision == Decision(True, (0.25,))
    with pytest.raises(ValueError, match=r"threshold: expected a probability from 0 to 1, got 1\.5"):
        next(classify_files(native, [file], threshold=1.5))


def test_of_one_label_a_picture_nothing_is_said_below_the_threshold() -> None:
    logits = torch.tensor([[2.0, 0.0, 0.0], [0.1, 0.0, 0.0]])
    decision = Decision(thresholds=(0.6,))
    values, classes = decision.probabilities(logits).topk(2)
    assert decision.kept(values, classes, 3).tolist() == [[True, True], [False, False]]
    assert Decision().kept(values, classes, 3).all()
    by_class = Decision(thresholds=(0.8, 0.0, 0.0))
    assert not by_class.kept(values, classes, 3).any()


# ---------------------------------------------------------------------------------------------------------------- lists


def test_folders_tables_and_json_say_the_same(tmp_path: Path) -> None:
    for name in ("cat+dog/1.png", "dog/2.png", "+/3.png"):
        write(tmp_path / "data" / name)
    found = read_listing(tmp_path / "data", separator="+")
    assert (found.labels, found.many) == (("cat", "dog"), True)
    wanted = {"1.png": (0, 1), "2.png": (1,), "3.png": ()}
    assert {file.name: target for file, target in zip(found.files, found.targets, strict=True)} == wanted
    rows = {"data/cat+dog/1.png": ["dog", "cat"], "data/dog/2.png": ["dog"], "data/+/3.png": []}
    (tmp_path / "m.csv").write_text("file,label\n" + "".join(f"{file}, {' + '.join(labels)}\n" for file, labels in rows.items()))
    (tmp_path / "m.jsonl").write_text("\n".join(json.dumps({"file": file, "label": labels}) for file, labels in rows.items()))
    for name in ("m.csv", "m.jsonl"):
        listing = read_listing(tmp_path / name, separator="+")
        assert {file.name: target for file, target in zip(listing.files, listing.targets, strict=True)} == wanted
    with pytest.raises(ValueError, match="expected one label, got 2: dog, cat; where pictures have several, set label_separator"):
        read_listing(tmp_path / "m.jsonl")
    (tmp_path / "n.csv").write_text("file,name\ndata/dog/2.png,dog\n")
    with pytest.raises(ValueError, match="no label"):
        read_listing(tmp_path / "n.csv", separator="+")


@pytest.mark.parametrize("seed", range(20))
def test_every_label_is_in_both_parts_of_a_split(seed: int) -> None:
    rng = np.random.default_rng(seed)
    common, rare = rng.random((200, 4)) < 0.4, rng.permutation(np.arange(200)[:, None] < [2, 3, 20])
    targets = tuple(tuple(map(int, np.flatnonzero(row))) for row in np.hstack([common, rare]))
    listing = Listing(tuple(Path(str(i)) for i in range(200)), targets, tuple("abcdefg"), many=True)
    learn, held = split(listing, 0.1, seed)
    assert sorted(learn.files + held.files) == sorted(listing.files)
    for label in range(7):
        both = [sum(label in target for target in part.targets) for part in (learn, held)]
        assert min(both) >= 1
        assert abs(both[1] - 0.1 * sum(both)) <= max(2, 0.6 * 0.1 * sum(both) + 1)


def test_a_label_whose_pictures_are_all_held_out_for_others_gets_one_back() -> None:
    targets = ((0, 1), (0, 2), (0, 3), (1,), (2,), (3,))  # of each of the labels 1 to 3 one of two is held
    listing = Listing(tuple(Path(str(i)) for i in range(6)), targets, tuple("abcd"), many=True)
    learned = [split(listing, 0.1, seed)[0].targets for seed in range(40)]
    assert all(any(0 in target for target in part) for part in learned)
    assert any(len(part) == 3 for part in learned)


def test_what_goes_with_one_label_only_is_refused(tmp_path: Path) -> None:
    data = paint(tmp_path / "data", 16)
    with pytest.raises(ValueError, match="label_separator: pictures of several labels are learnt without a teacher"):
        train(data, tmp_path / "out", RECIPE, mutual=True, show=False)
    with pytest.raises(ValueError, match="balance: pictures of several labels belong to no one class"):
        Recipe(label_separator="+", balance=1.0)


# --------------------------------------------------------------------------------------------------------------- scores


class Fixed(nn.Module):
    """Its answers are the first levels of each picture, as logits."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (images[:, 0, 0, :3] * 255 - 100) / 10


def test_scores_are_counts_over_labels() -> None:
    rule = Preprocessing(resize=4, crop=None, mean=(0.0,), std=(1.0,))
    logits = np.array([[5, -3, 2], [-1, 4, -2], [-5, -5, -5], [3, -2, -4], [-1, -1, 1]])
    there = np.array([[1, 0, 1], [0, 1, 1], [0, 0, 0], [1, 1, 0], [0, 0, 0]])
    images = np.zeros((5, 4, 4), np.uint8)
    images[:, 0, :3] = logits * 10 + 100
    scores = evaluate_sets(Fixed(), dataset_from_arrays(images, there, "abc"), rule)
    assert scores.exact == 2 / 5
    assert (scores.found.tolist(), scores.wrong.tolist(), scores.missed.tolist()) == ([2, 1, 1], [0, 0, 1], [0, 1, 1])
    assert scores.macro_f1 == pytest.approx((1 + 2 / 3 + 1 / 2) / 3)
    wanted = F.binary_cross_entropy_with_logits(torch.tensor(logits).double(), torch.tensor(there).double(), reduction="sum") / 5
    assert scores.loss == pytest.approx(float(wanted), rel=1e-5)
    objective, _ = supervised_sets(0.0)(Fixed(), torch.from_numpy(images[:, None]) / 255, torch.from_numpy(there))
    assert float(objective) == pytest.approx(scores.loss, rel=1e-5)
    assert [row.label for row in per_label(scores, "abc")] == ["c", "b", "a"]
    assert scores.thresholds == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("seed", range(10))
def test_thresholds_have_the_best_f1_that_any_has(seed: int) -> None:
    rng = np.random.default_rng(seed)
    there = rng.random((200, 2)) < 0.2
    probabilities = np.round(np.clip(0.3 * there + rng.normal(0.3, 0.15, (200, 2)), 0, 1), 2)

    def f1(label: int, threshold: float) -> float:
        taken = probabilities[:, label] >= threshold
        return 2 * (taken & there[:, label]).sum() / (taken.sum() + there[:, label].sum())

    for label, threshold in enumerate(choose_thresholds(probabilities, there)):
        assert f1(label, threshold) == pytest.approx(max(f1(label, value) for value in np.linspace(0, 1, 401)))


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_both_digits_of_a_picture_are_read(tmp_path: Path) -> None:
    images, classes = digits()
    rng = np.random.default_rng(0)
    for part, range_, count in (("train", (0, 1297), 3000), ("val", (1297, 1797), 500)):
        lines = []
        for number in range(count):
            one, two = rng.integers(*range_, 2)
            pair = np.concatenate([images[one][::2, ::2], images[two][::2, ::2]], 1)
            whole = np.zeros((32, 32), np.uint8)
            top = rng.integers(0, 17)
            whole[top : top + 16] = pair
            Image.fromarray(whole).save(tmp_path / f"{part}{number}.png")
            lines.append(json.dumps({"file": f"{part}{number}.png", "label": sorted({int(classes[one]), int(classes[two])})}))
        (tmp_path / f"{part}.jsonl").write_text("\n".join(lines))
    recipe = Recipe(
        arch="small",
        size=32,
        epochs=12,
        batch=32,
        rate=3.2,
        weight_decay=5e-4,
        smoothing=0.0,
        crop_area=(0.8, 1.0),
        flip=False,
        label_separator="+",
        precision="fp32",
    )
    outcome = train(tmp_path / "train.jsonl", tmp_path / "out", recipe, validation=tmp_path / "val.jsonl", show=False)
    assert outcome.top1 >= 0.9
