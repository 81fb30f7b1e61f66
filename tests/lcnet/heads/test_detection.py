"""PicoDet on PP-LCNet: what it costs, where its points lie, what it takes and what it gives."""

from dataclasses import replace

import pytest
import torch

from ernest.lcnet import PUBLISHED, STRIDES_32, Architecture, cost, fold, parameters
from ernest.lcnet.heads import PICODET, Detector, DetectorArchitecture, Predictions
from ernest.lcnet.heads.detection import CANDIDATES
from tests.lcnet.networks import with_statistics

COSTS = {
    "xs": (704_254, 0.70, 0.33),
    "s": (1_186_492, 1.19, 0.48),
    "m": (3_465_316, 3.47, 1.27),
    "l": (5_804_500, 5.80, 2.09),
}
"""Parameters, the same in millions, and multiply-adds at 320 x 320 (G), for 80 classes."""

SMALL = DetectorArchitecture(classes=3, backbone=Architecture(scale=0.25), width=16, layers=1)


@pytest.mark.parametrize("size", COSTS)
def test_the_published_sizes_cost_what_they_should(size: str) -> None:
    detector = Detector(PICODET[size])
    count = parameters(detector)
    assert (count, round(count / 1e6, 2), round(cost(detector, 320, 320).multiply_adds / 1e9, 2)) == COSTS[size]


def small(seed: int = 0) -> Detector:
    torch.manual_seed(seed)
    return with_statistics(Detector(SMALL), size=192)


@pytest.mark.parametrize("size", [(64, 64), (96, 160), (33, 47), (1, 130)])
def test_any_size_has_its_points_in_order(size: tuple[int, int]) -> None:
    with torch.no_grad():
        said = small()(torch.rand(2, 3, *size))
    expected = [
        ((x + 0.5) * stride, (y + 0.5) * stride, stride)
        for stride in (8, 16, 32, 64)
        for y in range(-(-size[0] // stride))
        for x in range(-(-size[1] // stride))
    ]
    table = torch.cat((said.points, said.strides[:, None]), 1)
    torch.testing.assert_close(table, torch.tensor(expected))
    assert said.scores.shape == (2, len(expected), 3)
    assert said.distances.shape == (2, len(expected), 4, 8)
    assert ((said.scores >= 0) & (said.scores <= 1)).all()


def test_boxes_lie_at_the_expected_distances() -> None:
    logits = torch.full((1, 2, 4, 8), -1e4)
    for side, distance in enumerate((1, 2, 3, 4)):
        logits[0, 0, side, distance] = 0
    logits[0, 1, :, [2, 3]] = 0
    said = Predictions(torch.zeros(1, 2, 1), logits, torch.tensor([[20.0, 28], [48, 48]]), torch.tensor([8.0, 16]))
    boxes = said.boxes()
    torch.testing.assert_close(boxes[0, 0], torch.tensor([20.0 - 8, 28 - 16, 20 + 24, 28 + 32]))
    torch.testing.assert_close(boxes[0, 1], torch.tensor([48.0 - 40, 48 - 40, 48 + 40, 48 + 40]))


def test_detections_are_inside_sorted_few_and_sure_enough() -> None:
    detector = small(1)
    images = torch.randn(3, 3, 96, 130)
    found = detector.detect(images, score=0.05, overlap=0.6, most=20)
    assert len(found) == 3
    for one in found:
        assert 0 < len(one) <= 20
        assert (one.scores > 0.05).all()
        assert (one.scores.diff() <= 0).all()
        assert (one.boxes >= 0).all()
        assert (one.boxes[:, [0, 2]] <= 130).all()
        assert (one.boxes[:, [1, 3]] <= 96).all()
        assert len(one.above(one.scores[3].item())) == 3
    assert not detector.detect(images, score=0.999)[0].labels.numel()


def test_only_the_surest_candidates_are_compared() -> None:
    detector = small(2)
    images = torch.randn(1, 3, 256, 256)
    found = detector.detect(images, score=0.0, overlap=1.0, most=10_000)[0]
    with torch.no_grad():
        best = detector(images).scores.flatten().topk(CANDIDATES).values
    assert len(found) == CANDIDATES
    torch.testing.assert_close(found.scores, best)


def test_pictures_of_a_batch_do_not_meet() -> None:
    detector = small(3)
    images = torch.randn(3, 3, 64, 64)
    together = detector.detect(images)
    for image, expected in zip(images, together, strict=True):
        alone = detector.detect(image[None])[0]
        torch.testing.assert_close(alone.boxes, expected.boxes, atol=1e-4, rtol=1e-4)
        assert alone.labels.tolist() == expected.labels.tolist()


@pytest.mark.parametrize("backbone", [Architecture(scale=0.25), PUBLISHED["PPLCNetV2_small"]])
def test_folding_keeps_what_a_detector_says(backbone: Architecture) -> None:
    torch.manual_seed(4)
    detector = with_statistics(Detector(replace(SMALL, backbone=backbone)), size=192).double()
    images = torch.randn(2, 3, 64, 96, dtype=torch.float64)
    with torch.no_grad():
        before, after = detector(images), fold(detector)(images)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in fold(detector).modules())
    torch.testing.assert_close(after.scores, before.scores)
    torch.testing.assert_close(after.boxes(), before.boxes())


def test_every_parameter_learns() -> None:
    detector = Detector(SMALL)
    said = detector(torch.rand(4, 3, 64, 64))
    (said.scores.sum() + said.boxes().square().sum()).backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in detector.parameters())


def test_rare_at_first() -> None:
    """A detector that begins with high scores everywhere spends its first steps on nothing else."""
    torch.manual_seed(5)
    assert Detector(SMALL)(torch.randn(4, 3, 128, 128)).scores.mean() < 0.1


@pytest.mark.parametrize(("field", "value"), [("classes", 0), ("width", 0), ("layers", 0), ("bins", 1)])
def test_what_makes_no_detector_is_told_by_its_field(field: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"{field}: expected at least {value + 1}, got {value}"):
        replace(SMALL, **{field: value})


def test_wrong_backbones_and_pictures_are_told() -> None:
    for strides in (STRIDES_32, (2, (2, 1), (2, 1), (2, 1), (2, 1), (2, 1))):
        with pytest.raises(ValueError, match="strides: expected feature maps at strides 2, 4, 8, 16, 32, got"):
            Detector(replace(SMALL, backbone=Architecture(scale=0.25, strides=strides)))
    with pytest.raises(ValueError, match=r"images: expected \[N, 3, H, W\], got \[2, 1, 32, 32\]"):
        small()(torch.zeros(2, 1, 32, 32))
