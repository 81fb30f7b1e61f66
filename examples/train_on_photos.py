"""Trains a model on a folder of captioned pictures, which it draws itself.  `python examples/train_on_photos.py [folder]`

So few steps teach it nothing: they show the way from files to a checkpoint. With photos of your own, leave the overrides out.
"""

import csv
import sys
from itertools import product
from pathlib import Path

from PIL import Image, ImageDraw

from ernest.config.recipe import find_recipe, load_recipe
from ernest.data.importers import import_folder
from ernest.data.records import read_lines
from ernest.generation.describe import describe
from ernest.training.prepare import train_on_records
from ernest.training.run_settings import TrainingRun

# 5 layers of 4 experts, one process, few steps: seconds instead of half an hour.
SMALL = (
    *("size=5", "model.experts=4", "sequence.rows=2", "parallel.replicate=1", "training.steps=6", "training.show_every=0"),
    *("tokenizers.vision_steps=4",),
)


def draw_photos(folder: Path) -> None:
    """Twelve pictures, and a table of what they show."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "captions.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "caption"])
        for colour, shape, size in product(("red", "green", "blue"), ("disc", "square"), (20, 40)):
            picture = Image.new("RGB", (64, 64), "black")
            draw = ImageDraw.Draw(picture)
            paint = draw.ellipse if shape == "disc" else draw.rectangle
            paint((32 - size // 2, 32 - size // 2, 32 + size // 2, 32 + size // 2), fill=colour)
            picture.save(folder / f"{colour}-{shape}-{size}.png")
            table.writerow([f"{colour}-{shape}-{size}.png", f"a {'small' if size == 20 else 'large'} {colour} {shape}"])


def main(folder: Path) -> Path:
    """Returns the checkpoint. The same call goes on where an interrupted one was."""
    photos, records = folder / "photos", folder / "records"
    if not records.exists():
        draw_photos(photos)
        imported = import_folder(photos, records)
        print(f"{imported.records} records, captions from {imported.captions}")
    recipe = load_recipe(find_recipe("tiny"), SMALL)
    checkpoint = train_on_records(TrainingRun(read_lines(records), folder / "run", recipe))
    print(f"a model of {recipe.model.layers} layers, in {checkpoint}")
    (result,) = describe(checkpoint, [photos / "red-disc-40.png"])
    print(f"red-disc-40.png after {recipe.training.steps} steps: {result.text!r}")
    return checkpoint


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("build/examples"))
