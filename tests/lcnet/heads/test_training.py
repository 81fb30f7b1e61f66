"""Detectors and segmenters learn what they are shown, the same way each time, and say what they cannot learn from."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from ernest.lcnet import Architecture, PPLCNet
from ernest.lcnet.heads import (
    Detector,
    DetectorArchitecture,
    Objects,
    Segmenter,
    SegmenterArchitecture,
    TrainingSettings,
    average_precision,
    intersection_over_union,
    load_backbone,
    normalise_pictures,
    train,
)
from ernest.world.collages import FORMS, KINDS, Collage, collage

BACKBONE = Architecture(scale=0.25)


@dataclass(frozen=True)
class Scenes:
    """Collages as a detector or a segmenter learns from them."""

    collages: tuple[Collage, ...]
    masks: bool

    def __len__(self) -> int:
        return len(self.collages)

    def __getitem__(self, index: int) -> tuple[Tensor, Objects | Tensor]:
        one = self.collages[index]
        objects = Objects(torch.from_numpy(one.boxes), torch.from_numpy(one.kinds))
        return normalise_pictures(one.pixels[None])[0], torch.from_numpy(one.mask) if self.masks else objects


def scenes(n: int, masks: bool = False, size: int = 96) -> Scenes:
    return Scenes(tuple(collage(0, index, size) for index in range(n)), masks)


def detector(seed: int = 0) -> Detector:
    torch.manual_seed(seed)
    return Detector(DetectorArchitecture(classes=len(KINDS), backbone=BACKBONE, width=32, layers=2))


def segmenter(decoder: str, seed: int = 0) -> Segmenter:
    torch.manual_seed(seed)
    return Segmenter(SegmenterArchitecture(classes=len(FORMS), backbone=BACKBONE, decoder=decoder))


@pytest.mark.slow
def test_a_detector_learns_eight_pictures_by_heart() -> None:
    eight = scenes(8)
    network = train(detector(), eight, TrainingSettings(steps=150, batch=8, rate=4e-3, warmup=20))
    assert not network.training
    pairs = [eight[i] for i in range(8)]
    found = network.detect(torch.stack([image for image, _ in pairs]))
    score = average_precision(found, [objects for _, objects in pairs], len(KINDS))
    assert score.at_half >= 0.97
    assert score.mean >= 0.9


@pytest.mark.slow
@pytest.mark.parametrize(("decoder", "size", "steps"), [("liteseg", 128, 150), ("deeplab", 64, 100)])
def test_a_segmenter_learns_eight_pictures_by_heart(decoder: str, size: int, steps: int) -> None:
    eight = scenes(8, masks=True, size=size)
    network = train(segmenter(decoder), eight, TrainingSettings(steps=steps, batch=8, rate=4e-3, warmup=20))
    pairs = [eight[i] for i in range(8)]
    masks = network.segment(torch.stack([image for image, _ in pairs]))
    assert intersection_over_union(masks, [mask for _, mask in pairs], len(FORMS)).mean >= 0.9


SHORT = TrainingSettings(steps=3, batch=2, warmup=1)


@pytest.mark.parametrize("settings", [SHORT, replace(SHORT, optimiser="sgd", rate=0.01), replace(SHORT, average=0.9)])
def test_the_same_seed_trains_the_same_network(settings: TrainingSettings) -> None:
    examples, figures = scenes(5), []
    heard = lambda step, steps, numbers: figures.append((step, steps, numbers["loss"]))
    first = train(detector(), examples, settings, heard)
    again = train(detector(), examples, settings)
    other = train(detector(), examples, replace(settings, seed=1))
    assert [(step, steps) for step, steps, _ in figures] == [(1, 3), (2, 3), (3, 3)]
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


def test_every_epoch_shows_every_picture_once() -> None:
    shown: list[int] = []

    class Watched:
        def __len__(self) -> int:
            return 6

        def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
            shown.append(index)
            return torch.zeros(3, 32, 32), torch.zeros(32, 32, dtype=torch.uint8)

    train(segmenter("liteseg"), Watched(), TrainingSettings(steps=6, batch=2, warmup=0))
    assert sorted(shown[:6]) == sorted(shown[6:12]) == list(range(6))
    assert shown[:6] != shown[6:12]


def test_the_average_lags_behind() -> None:
    examples = scenes(4)
    plain, mean = (train(detector(), examples, replace(SHORT, average=average)) for average in (0.0, 0.99))
    start = detector()

    def moved(network: Detector) -> float:
        pairs = zip(network.parameters(), start.parameters(), strict=True)
        return sum((a - b).abs().sum().item() for a, b in pairs)

    assert 0 < moved(mean) < moved(plain)


def test_geometry_assigns_first() -> None:
    """With the second rule from the start, other points learn."""
    examples = scenes(4)
    one, other = (train(detector(), examples, replace(SHORT, by_geometry=share)) for share in (1.0, 0.0))
    assert any(not torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_pixels_to_ignore_teach_nothing() -> None:
    @dataclass(frozen=True)
    class Halves:
        spoilt: int

        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
            mask = torch.full((32, 64), 255)
            mask[:, : 32 + index] = 1
            image = torch.arange(3 * 32 * 64.0).reshape(3, 32, 64).sin()
            mask[:, 40:] = self.spoilt
            return image, mask

    # Only what the labels decide may differ, so the pictures are the same.
    ignored, again, told = (train(segmenter("liteseg"), Halves(label), SHORT) for label in (255, 255, 2))
    assert all(torch.equal(a, b) for a, b in zip(ignored.parameters(), again.parameters(), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(ignored.parameters(), told.parameters(), strict=True))


def test_pictures_that_teach_nothing_do_no_harm() -> None:
    """No pixel that counts, no object: what comes out are numbers still."""
    unknown = Pair((PICTURE, MASK + 255), masks=True, first=MASK + 255)
    for network, pair in ((segmenter("liteseg"), unknown), (detector(), Pair((PICTURE, NOTHING)))):
        trained = train(network, pair, SHORT)
        assert all(parameter.isfinite().all() for parameter in trained.parameters())


def test_a_backbone_can_begin_from_a_classifier() -> None:
    torch.manual_seed(9)
    classifier, network = PPLCNet(replace(BACKBONE, classes=7)), detector()
    load_backbone(network, classifier)
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected, found = classifier.eval().features(images), network.eval().backbone.features(images)
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))
    with pytest.raises(ValueError, match=r"pretrained: expected stem.0.weight \[8, 3, 3, 3\], as in the backbone, got \[16"):
        load_backbone(network, PPLCNet(Architecture(scale=1.0)))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("steps", 0), ("batch", 1), ("rate", 0.0), ("rate", float("nan")), ("warmup", -1), ("weight_decay", -0.1)],
        *[("average", 1.0), ("by_geometry", 1.5), ("clip", 0.0), ("seed", -1), ("optimiser", "adam")],
    ],
)
def test_wrong_settings_are_told_by_their_field(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"{field}: expected .*, got {value}"):
        TrainingSettings(**{field: value})


PICTURE, MASK = torch.zeros(3, 32, 32), torch.zeros(32, 32, dtype=torch.int64)
NOTHING = Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))


@dataclass(frozen=True)
class Pair:
    """Two examples, the second of which is wrong."""

    wrong: tuple[Tensor, object]
    masks: bool = False
    first: Tensor | None = None

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> tuple[Tensor, object]:
        right = (MASK if self.first is None else self.first) if self.masks else NOTHING
        return self.wrong if index else (PICTURE, right)


@pytest.mark.parametrize(
    ("wrong", "masks", "message"),
    [
        ((PICTURE, MASK), False, "expected Objects, which a detector learns from, got Tensor"),
        ((PICTURE.byte(), NOTHING), False, r"got torch.uint8 \[3, 32, 32\]"),
        ((PICTURE, Objects(torch.tensor([[0.0, 0, 9, 9]]), torch.tensor([14]))), False, "labels from 0 to 13, got 14 to 14"),
        ((PICTURE, MASK[:, 1:]), True, r"expected a mask of whole numbers \[32, 32\], got torch.int64 \[32, 31\]"),
        ((PICTURE, MASK.float()), True, "expected a mask of whole numbers"),
        ((PICTURE, None), True, "got NoneType"),
        ((PICTURE, MASK + 6), True, "labels from 0 to 5, got 6 to 6"),
        ((PICTURE, MASK - 1), True, "labels from 0 to 5, got -1 to -1"),
    ],
)
def test_wrong_examples_are_told_by_their_number(wrong: tuple, masks: bool, message: str) -> None:
    network = segmenter("liteseg") if masks else detector()
    with pytest.raises(ValueError, match=rf"examples\[1\]: .*{message}"):
        train(network, Pair(wrong, masks), TrainingSettings(steps=1, batch=2))


def test_pictures_of_two_sizes_and_too_few_are_told() -> None:
    larger = torch.zeros(3, 64, 32), NOTHING
    with pytest.raises(ValueError, match=r"examples\[\d\]: expected a picture float32 .*, as in examples\[\d\]"):
        train(detector(), Pair(larger), TrainingSettings(steps=1, batch=2))
    with pytest.raises(ValueError, match=r"examples: expected at least 2, .*, got 1"):
        train(detector(), scenes(1), TrainingSettings(steps=1))


def test_numbers_of_other_types_are_learnt_and_looked_at_alike() -> None:
    """Boxes in double precision or whole numbers, labels in bytes, a seed of numpy, pictures in double precision."""
    image = normalise_pictures(np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8))

    def learnt(boxes: object, labels: object, seed: int) -> Detector:
        examples = [(image[0], Objects(boxes, labels))] * 2
        return train(detector(), examples, replace(SHORT, steps=2, by_geometry=0.5, seed=seed))

    plain = learnt(torch.tensor([[2.0, 3, 20, 30]]), torch.tensor([1]), 0)
    for boxes, labels in (
        (np.array([[2.0, 3, 20, 30]]), np.array([1], np.uint8)),
        ([[2, 3, 20, 30]], torch.tensor([1]).to(torch.int8)),
    ):
        other = learnt(boxes, labels, np.int64(0))
        assert all(torch.equal(a, b) for a, b in zip(plain.state_dict().values(), other.state_dict().values(), strict=True))
    (one,), (same,) = plain.detect(image, score=0.001), plain.detect(image.double(), score=0.001)
    assert torch.equal(one.boxes, same.boxes)
    for wrong in (image[0], (255 * image).to(torch.uint8), image.numpy()):
        with pytest.raises(ValueError, match=r"images: expected floating-point numbers \[N, C, H, W\]"):
            plain.detect(wrong)
        with pytest.raises(ValueError, match=r"images: expected floating-point numbers \[N, C, H, W\]"):
            segmenter("liteseg").segment(wrong)
