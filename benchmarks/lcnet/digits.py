"""`python -m benchmarks.lcnet.digits`: what strides, twelve epochs and a teacher do to handwritten digits of 32x32.

The 1797 digits of scikit-learn, 8x8 pixels enlarged to 32x32: 1297 to learn from, 500 to score with. Rows go to
build/bench/lcnet.jsonl.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from statistics import mean, stdev

import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console

from benchmarks import findings
from benchmarks.findings import Findings
from benchmarks.tables import Figure, Table, show
from ernest.lcnet import PPLCNet, cost
from ernest.lcnet.training import PictureDataset, Recipe, dataset_from_arrays, distillation, evaluation_transform, fit, supervised
from ernest.lcnet.training.losses import Objective
from ernest.lcnet.training.recipe import architecture_of, preprocessing_of

COMMAND = "python -m benchmarks.lcnet.digits"
SEEDS = (0, 1, 2)
RECIPE = Recipe(
    arch="PPLCNet_x0_5",
    size=32,
    channels=1,
    epochs=12,
    batch=32,
    rate=6.4,
    warmup=2.4,
    nesterov=True,
    crop_area=(0.8, 1.0),
    crop_aspect=(0.9, 1.11),
    flip=False,
    elastic_distort=True,
    precision="fp32",
)
"""0.1 for 32 pictures a step; no flip, for a mirrored digit is none."""

STUDENT = replace(RECIPE, arch="PPLCNet_x0_25", rate=3.2)
LABELLED = 150
"""So few of the 1297 have a label for the student on its own; the teacher's answers cover all of them."""


def digits(recipe: Recipe = RECIPE) -> tuple[PictureDataset, PictureDataset]:
    """Pictures to learn from and pictures to score with, the same each time. Needs scikit-learn."""
    from sklearn.datasets import load_digits

    found = load_digits(return_X_y=True)
    images = torch.tensor(found[0]).reshape(-1, 1, 8, 8) * (255 / 16)
    levels = F.interpolate(images, recipe.size, mode="bilinear", align_corners=False).round().byte()[:, 0].numpy()
    order = torch.randperm(len(levels), generator=torch.Generator().manual_seed(0)).numpy()
    learn, score = order[:1297], order[1297:]
    names, form = [str(digit) for digit in range(10)], evaluation_transform(preprocessing_of(recipe))
    return dataset_from_arrays(levels[learn], found[1][learn], names), dataset_from_arrays(
        levels[score], found[1][score], names, form
    )


def trained(
    recipe: Recipe, learn: PictureDataset, score: PictureDataset, objective: Objective | None = None
) -> tuple[PPLCNet, float]:
    """A network and its top-1 after the last epoch (not the best one, which would peep at the score)."""
    torch.manual_seed(recipe.seed)
    network = PPLCNet(architecture_of(recipe, len(learn.labels)))
    progress = fit(network, objective or supervised(recipe.smoothing), learn, score, recipe)
    return network, progress.history[-1]["top1"]


def part(pictures: PictureDataset, count: int) -> PictureDataset:
    """The first `count` pictures."""
    return replace(pictures, targets=pictures.targets[:count], fingerprint=f"{pictures.fingerprint} {count}")


def strides_study(seeds: Sequence[int] = SEEDS) -> Findings:
    """The presets for small images beside the published strides, which leave a single pixel of 32x32."""
    learn, score = digits()
    scores: dict[str, list[float]] = {"32": [], "published": []}
    lines = []
    for strides, found in scores.items():
        recipe = replace(RECIPE, strides=strides)
        found += [100 * trained(replace(recipe, seed=seed), learn, score)[1] for seed in seeds]
        network = PPLCNet(architecture_of(recipe, 10)).eval()
        work = cost(network, 32, 32).multiply_adds / 1e6
        shown = ", ".join(map(str, network.architecture.strides))
        lines.append((shown, f"{work:.1f}", f"{mean(found):.2f} ± {stdev(found):.2f}", f"{min(found):.2f}"))
        print(f"strides {shown}: {found}", flush=True)
    table = Table("Digits of 32x32", ("strides", "multiply-adds, M", "top-1, %", "worst seed"), tuple(lines))
    figures = (
        Figure("16: digits with STRIDES_32, 3 seeds, %", mean(scores["32"]), 99.2),
        Figure("16: digits with the published strides, 3 seeds, %", mean(scores["published"])),
        Figure("18: digits after 12 epochs, the worst of 3 seeds, %", min(scores["32"]), 97.5),
    )
    return Findings(figures, (table,))


def teacher_study(seeds: Sequence[int] = SEEDS) -> Findings:
    """A student on a few labels, and the same student on the answers of a teacher to pictures without any label."""
    learn, score = digits(STUDENT)
    teacher, taught = trained(RECIPE, learn, score)
    epochs = STUDENT.epochs * len(learn) // LABELLED  # as many steps as the student with the teacher makes
    alone, led = [], []
    for seed in seeds:
        alone.append(100 * trained(replace(STUDENT, seed=seed, epochs=epochs), part(learn, LABELLED), score)[1])
        bare = replace(learn, targets=np.full(len(learn), -1, np.int64))
        led.append(100 * trained(replace(STUDENT, seed=seed), bare, score, distillation(teacher))[1])
    lines = (
        ("teacher, x0.5, all labels", f"{100 * taught:.2f}"),
        (f"student, x0.25, {LABELLED} labels", f"{mean(alone):.2f} ± {stdev(alone):.2f}"),
        ("student, x0.25, no labels, taught", f"{mean(led):.2f} ± {stdev(led):.2f}"),
    )
    gain = Figure("18: gain of a student by a teacher without labels, points", mean(led) - mean(alone), 0.0)
    return Findings((gain,), (Table("A teacher in place of labels", ("network", "top-1, %"), lines),))


def main() -> None:
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.parse_args()
    torch.set_num_threads(1)
    found = strides_study() + teacher_study()
    findings.write("lcnet", "digits", found, COMMAND)
    show(Console(), "digits", found.tables, found.figures)


if __name__ == "__main__":
    main()
