"""`python -m benchmarks.lcnet.scenes`: detection and segmentation, trained from nothing on collages and scored on held-out ones.

Rows go to build/bench/lcnet.jsonl, what the networks say of held-out collages to build/bench/lcnet-scenes/*.png.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.findings import Findings
from benchmarks.runner import Part, Wing, main
from benchmarks.tables import Figure, Table
from ernest.lcnet import Architecture, cost, parameters
from ernest.lcnet.heads import (
    PICODET,
    Detector,
    DetectorArchitecture,
    Objects,
    Segmenter,
    SegmenterArchitecture,
    TrainingSettings,
    average_precision,
    draw_boxes,
    draw_mask,
    intersection_over_union,
    normalise_pictures,
    train,
)
from ernest.lcnet.heads.segmentation import Decoder
from ernest.lcnet.heads.training import Network
from ernest.world.collages import FORMS, Collage, collage, forms
from ernest.world.split import HELD_OUT

LEARNT, JUDGED, SHOWN = 3000, 200, 5
QUICK_SHARE = 0.02
"""Of the steps and collages, in a quick run."""

BACKBONE = Architecture(scale=0.5)
DETECTOR = DetectorArchitecture(classes=len(FORMS) - 1, backbone=BACKBONE, width=64, layers=2)
SETTINGS = TrainingSettings(steps=2500, batch=6, rate=3e-3, warmup=100, average=0.99)
"""Many small steps: from nothing, 400 of 16 pictures teach much less than 2,500 of 6."""
DETECTION_SIZE = 96
SEGMENTATION_SIZES: Mapping[Decoder, int] = {"deeplab": 192, "liteseg": 128}
"""DeepLab knows forms from the map at stride 32 alone, of which smaller pictures leave too few pixels."""
SIDE = 384
"""Pixels of a collage in the pictures."""
DECODERS: tuple[Decoder, ...] = ("deeplab", "liteseg")

DETECTORS = {"xs": (0.70, 0.33), "s": (1.19, 0.48), "m": (3.47, 1.27), "l": (5.80, 2.09)}
"""Millions of parameters, and G multiply-adds at 320 x 320. PicoDet's tables say 1.18 and 3.46 for s and m, and call two
operations a multiply-add."""
SEGMENTERS: Mapping[tuple[Decoder, float], float] = {
    ("deeplab", 0.5): 1.09,
    ("deeplab", 1.0): 2.18,
    ("liteseg", 0.5): 1.25,
    ("liteseg", 1.0): 2.57,
}

Tell = Callable[[str], None]
PICTURES = "lcnet-scenes"
"""The folder of pictures: what the first held-out collages look like to a network; of masks the true ones stand above."""


@dataclass(frozen=True)
class Scenes:
    """Collages as a detector learns from them, or as a segmenter does (`masks`)."""

    collages: Sequence[Collage]
    masks: bool

    def __len__(self) -> int:
        return len(self.collages)

    def __getitem__(self, index: int) -> tuple[Tensor, Objects | Tensor]:
        one = self.collages[index]
        image = normalise_pictures(one.pixels[None])[0]
        return image, torch.from_numpy(one.mask) if self.masks else objects(one)


def objects(one: Collage) -> Objects:
    return Objects(torch.from_numpy(one.boxes), torch.from_numpy(forms(one.kinds) - 1))


def drawn(share: float, size: int) -> tuple[list[Collage], list[Collage]]:
    """Collages to learn from, and held-out ones."""
    judged = range(HELD_OUT, HELD_OUT + max(SHOWN, round(share * JUDGED)))
    return [collage(0, index, size) for index in range(round(share * LEARNT))], [collage(0, index, size) for index in judged]


def counts(folder: Path, rounds: int, quick: bool, tell: Tell) -> Findings:
    """What the sizes cost, beside what they should."""
    figures, lines = [], []
    for size, (millions, giga) in DETECTORS.items():
        detector, name = Detector(PICODET[size]), f"PicoDet-{size.upper()}"
        count, multiply_adds = parameters(detector), cost(detector, 320, 320).multiply_adds
        figures.append(off(f"19: {name}, parameters", count / 1e6, millions))
        figures.append(off(f"19: {name}, multiply-adds at 320x320", multiply_adds / 1e9, giga))
        lines.append((name, f"{count:,}", f"{millions:.2f}", f"{multiply_adds / 1e9:.2f}", f"{giga:.2f}"))
    for (decoder, scale), millions in SEGMENTERS.items():
        count = parameters(Segmenter(SegmenterArchitecture(backbone=Architecture(scale=scale), decoder=decoder)))
        figures.append(off(f"20: {decoder} on x{scale}, parameters", count / 1e6, millions))
        lines.append((f"{decoder} on x{scale}", f"{count:,}", f"{millions:.2f}", "", ""))
    header = ("network", "parameters", "expected, M", "multiply-adds at 320x320, G", "expected")
    return Findings(tuple(figures), (Table("Heads: sizes", header, tuple(lines)),))


def detection(folder: Path, rounds: int, quick: bool, tell: Tell) -> Findings:
    torch.manual_seed(0)
    share = QUICK_SHARE if quick else 1.0
    learnt, judged = drawn(share, DETECTION_SIZE)
    detector, minutes = trained(Detector(DETECTOR), Scenes(learnt, masks=False), share, tell, "detection")
    found = [detector.detect(normalise_pictures(one.pixels[None]))[0] for one in judged]
    score = average_precision(found, [objects(one) for one in judged], len(FORMS) - 1)
    shown = [
        draw_boxes(one.pixels, said.above(0.4), FORMS[1:], SIDE // DETECTION_SIZE)
        for one, said in zip(judged, found, strict=True)
    ]
    figures = (
        Figure("19: PicoDet, AP@0.5 on held-out collages", score.at_half, 0.9),
        Figure("19: PicoDet, AP@[.5:.95] on held-out collages", score.mean),
        Figure("19: PicoDet, processor minutes of training", minutes),
    )
    write_picture(strip(shown), folder / PICTURES / "detection.png")
    return Findings(figures)


def segmentation(folder: Path, rounds: int, quick: bool, tell: Tell, decoder: Decoder) -> Findings:
    torch.manual_seed(0)
    share = QUICK_SHARE if quick else 1.0
    size = SEGMENTATION_SIZES[decoder]
    learnt, judged = drawn(share, size)
    network = Segmenter(SegmenterArchitecture(len(FORMS), BACKBONE, decoder))
    segmenter, minutes = trained(network, Scenes(learnt, masks=True), share, tell, decoder)
    masks = [segmenter.segment(normalise_pictures(one.pixels[None]))[0].numpy() for one in judged]
    true = [one.mask for one in judged]
    score = intersection_over_union(map(torch.from_numpy, masks), map(torch.from_numpy, true), len(FORMS))
    figures = (
        Figure(f"20: {decoder}, mIoU on held-out collages", score.mean, 0.9),
        Figure(f"20: {decoder}, processor minutes of training", minutes),
    )
    strips = [
        strip([draw_mask(one.pixels, mask, SIDE // size) for one, mask in zip(judged, said, strict=True)])
        for said in (true, masks)
    ]
    write_picture(np.concatenate(strips), folder / PICTURES / f"{decoder}.png")
    return Findings(figures)


def draw(parts: Mapping[str, Findings], folder: Path) -> None:
    """The picture of the documentation, once all three are there."""
    paths = [folder / PICTURES / f"{name}.png" for name in ("detection", *DECODERS)]
    if all(path.exists() for path in paths):
        boxes, first, second = (np.asarray(Image.open(path)) for path in paths)
        write_picture(np.concatenate((boxes, first, second[len(second) // 2 :])), folder / PICTURES / "heads.png")


WING = Wing(
    name="lcnet",
    command="python -m benchmarks.lcnet.scenes",
    parts={
        "counts": Part(counts),
        "detection": Part(detection),
        "deeplab": Part(partial(segmentation, decoder="deeplab")),
        "liteseg": Part(partial(segmentation, decoder="liteseg")),
    },
    prefix="scenes-",
    draw=draw,
)


def trained(network: Network, scenes: Scenes, share: float, tell: Tell, name: str) -> tuple[Network, float]:
    """The network after `share` of the steps, and the minutes of processor time that took."""
    settings, begun = replace(SETTINGS, steps=round(share * SETTINGS.steps)), time.process_time()

    def progress(step: int, steps: int, figures: Mapping[str, float]) -> None:
        tell(f"{name}: step {step} of {steps}, loss {figures['loss']:.3f}")

    return train(network, scenes, settings, progress), (time.process_time() - begun) / 60


def off(name: str, value: float, expected: float) -> Figure:
    """Right if the expected two decimals come out."""
    return Figure(f"{name}: off {expected:.2f} by", abs(value - expected), 0.005, less=True)


def strip(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """The first pictures side by side."""
    return np.concatenate(pictures[:SHOWN], 1)


def write_picture(picture: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)


if __name__ == "__main__":
    main(WING)
