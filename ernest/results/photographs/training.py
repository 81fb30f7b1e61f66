"""Each rule of PP-LCNet added and left out: networks trained on photographs to the end.

x0.5 with strides fitted to 32x32. The pictures lie in a zip as `train/CLASS/NAME.jpg` and `test/CLASS/NAME.jpg`.
"""

import io
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ernest.device import set_threads
from ernest.lcnet import STRIDES_32, PPLCNet
from ernest.lcnet.training import PictureDataset, Recipe, dataset_from_arrays, evaluation_transform, fit, supervised
from ernest.lcnet.training.recipe import preprocessing_of
from ernest.results.photographs.variants import VARIANTS

RECIPE = Recipe(
    size=32,
    epochs=30,
    batch=128,
    rate=1.6,
    warmup=2.0,
    nesterov=True,
    weight_decay=3e-4,
    crop_area=(0.5, 1.0),
    crop_aspect=(0.8, 1.25),
    precision="fp32",
)


def accuracy(variant: str, seed: int, learn: PictureDataset, score: PictureDataset, folder: Path) -> float:
    """Top-1 at the end of a training, which goes on where it was stopped."""
    set_threads(1)
    torch.manual_seed(seed)
    network = PPLCNet(replace(VARIANTS[variant], classes=len(learn.labels), strides=STRIDES_32))
    recipe, objective = replace(RECIPE, seed=seed), supervised(RECIPE.smoothing)
    progress = fit(network, objective, learn, score, recipe, folder / file_of(variant), origin=variant)
    return 100 * progress.history[-1]["top1"]


def read_pictures(path: Path) -> tuple[PictureDataset, PictureDataset]:
    """Those to learn from, and those to score with. Raises ValueError for a zip without one of the two."""
    parts: dict[str, list[tuple[str, np.ndarray]]] = {"train": [], "test": []}
    try:
        with zipfile.ZipFile(path) as archive:
            for name in sorted(archive.namelist()):
                *_, part, label, file = ("", "", *name.split("/"))
                if part in parts and file.endswith(".jpg") and not file.startswith("."):  # ._NAME.jpg is macOS's own
                    parts[part].append((label, _picture(path, name, archive.read(name))))
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path}: damaged, or no zip: {error}") from error
    labels = sorted({label for label, _ in parts["train"]})
    if not labels or not parts["test"]:
        raise ValueError(f"{path}: expected pictures as train/CLASS/NAME.jpg and test/CLASS/NAME.jpg")
    if unknown := sorted({label for label, _ in parts["test"]} - set(labels)):
        raise ValueError(f"{path}: test has classes that train lacks: {', '.join(unknown)}")

    def made(part: str, transform: Callable[[np.ndarray], np.ndarray] | None) -> PictureDataset:
        targets = np.array([labels.index(label) for label, _ in parts[part]])
        return dataset_from_arrays([picture for _, picture in parts[part]], targets, labels, transform)

    return made("train", None), made("test", evaluation_transform(preprocessing_of(RECIPE)))


def _picture(path: Path, name: str, content: bytes) -> np.ndarray:
    try:
        return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    except (OSError, ValueError, SyntaxError) as error:
        raise ValueError(f"{path}: {name} cannot be read as a picture: {error}") from error


def file_of(variant: str) -> str:
    """The name under which the work on a variant is kept."""
    return f"{list(VARIANTS).index(variant):02d}"
