"""Trains a small PP-LCNet on pictures that it draws, and names new ones with it.  `python examples/classify.py [folder]`"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from ernest import lcnet
from ernest.lcnet.training import load_recipe, train

COLOURS = {"tulip": (220, 40, 60), "daisy": (230, 230, 120)}


def draw_flower(name: str, seed: int) -> Image.Image:
    """A blurred patch of the flower's colour, which is all there is to see of it."""
    rng = np.random.default_rng(seed)
    pixels = np.clip(rng.normal(COLOURS[name], 30, (40, 48, 3)), 0, 255).astype(np.uint8)
    return Image.fromarray(pixels)


def main(folder: Path) -> tuple[lcnet.Answer, ...]:
    """Returns the answers for one new picture of each class."""
    for name in COLOURS:
        (folder / "flowers" / name).mkdir(parents=True, exist_ok=True)
        for number in range(20):
            draw_flower(name, number).save(folder / "flowers" / name / f"{number}.png")

    # The published recipe suits a million pictures of 224 x 224; this one, forty of 16 x 16.
    recipe = load_recipe(overrides=["arch=PPLCNet_x0_25", "size=16", "epochs=15", "batch=8", "rate=6.4", "held_out=0.2"])
    result = train(folder / "flowers", folder / "classifier", recipe, show=False)
    print(f"{result.best}: {100 * result.top1:.0f} % of the pictures that were held out, in epoch {result.epoch}")

    files = [folder / f"{name}.png" for name in COLOURS]
    for name, file in zip(COLOURS, files, strict=True):
        draw_flower(name, seed=1000).save(file)
    model = lcnet.open_model(result.best)  # or what `ernest lcnet deploy` wrote: every runtime opens by the same call
    answers = tuple(lcnet.classify(model, [str(file) for file in files]))
    for answer in answers:
        print(f"{answer.file}: " + ", ".join(f"{label} {probability:.2f}" for label, probability in answer.labels))
    return answers


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("build/examples"))
