"""`python -m benchmarks.films FOLDER`: what films of the world are after a tokenizer, at several temporal strides.

The tokenizer of pictures is trained once, and inflated for each stride. What was stopped goes on in FOLDER. Of held-out films it
shows the PSNR, the share that still obey the energy law within .02, and the bits.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from benchmarks.tables import Table, show
from ernest.config.media import STRIDES
from ernest.config.recipe import Recipe, find_recipe, load_recipe
from ernest.evaluation.likeness import psnr
from ernest.tokenizers.training.films import train_on_films
from ernest.tokenizers.training.vision import VisionTraining
from ernest.tokenizers.vision import VisionTokenizer, to_frames, to_pixels
from ernest.training.frames import ShownFrames, draw_clips
from ernest.training.progress import progress_on, stage_bar
from ernest.training.tokenizers import vision_tokenizer
from ernest.world.split import HELD_OUT
from ernest.world.video import FAMILIES, obeys_energy_law, simulate


def world_films(count: int, first: int, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
    """Films uint8 `[count, frames, height, width, 3]` of the five families in turn, and the family of each."""
    media, films, families = recipe.media, [], []
    for family in range(len(FAMILIES)):
        indices = range(first, first + count // len(FAMILIES))
        films.append(simulate(family, recipe.seed, indices, media.height, media.frames))
        families += [family] * len(indices)
    return np.concatenate(films), np.array(families)


def trained(folder: Path, strides: list[int], films: np.ndarray, families: np.ndarray, recipe: Recipe) -> list[VisionTokenizer]:
    """A tokenizer for each stride, the first of which is 1."""
    frames = films.shape[1]
    starts = np.arange(len(films)) * frames
    rows, of_frame = np.stack([starts, starts + frames], 1).repeat(frames, 0), families.repeat(frames)
    targets = lambda picks: np.eye(len(FAMILIES), dtype=np.float32)[of_frame[picks]]
    shown = [ShownFrames(films.reshape(-1, *films.shape[2:]), targets, rows)]
    found: list[VisionTokenizer] = []
    for stride in strides:
        file, state = folder / f"stride-{stride}.safetensors", folder / f"state-{stride}.safetensors"
        if not file.is_file():
            with stage_bar() as bar:
                report = progress_on(bar, f"stride {stride}")
                if stride == 1:
                    made = vision_tokenizer(shown, recipe, report, classes=len(FAMILIES), state=state)
                else:
                    draw = lambda step: draw_clips(shown, np.random.default_rng((recipe.seed, step, 5)))
                    steps = VisionTraining(steps=recipe.tokenizers.film_steps)
                    made = train_on_films(found[0], stride, draw, steps, recipe.seed, report, state)
            made.save(file)
        found.append(VisionTokenizer.load(file))
    return found


@torch.inference_mode()
def rebuilt(tokenizer: VisionTokenizer, films: np.ndarray) -> np.ndarray:
    """Films through the bits and back."""
    latents = [tokenizer.encode_film(to_frames(film)) for film in films]
    drawn = [tokenizer.decode_film(tokenizer.quantiser.history(one).total) for one in latents]
    return np.stack([to_pixels(one).numpy()[: films.shape[1]] for one in drawn])


def main() -> None:
    """Trains what is missing and shows the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.films", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--strides", type=int, nargs="*", default=[2, 4], choices=STRIDES[1:])
    parser.add_argument("--films", type=int, default=400, help="to train on; 50 others are held out")
    parser.add_argument("--set", nargs="*", default=[], help="fields of the recipe films17, such as tokenizers.vision_steps=800")
    chosen = parser.parse_args()
    recipe = load_recipe(find_recipe("films17"), ["media.height=64", "media.width=64", *chosen.set])
    recipe = replace(recipe, media=replace(recipe.media, temporal_stride=1))
    chosen.folder.mkdir(parents=True, exist_ok=True)
    strides = [1, *chosen.strides]
    tokenizers = trained(chosen.folder, strides, *world_films(chosen.films, 0, recipe), recipe)
    true, _ = world_films(50, HELD_OUT, recipe)
    rows = [("true films", "", f"{obeys_energy_law(true).mean():.2f}", f"{8 * true[0].nbytes:,}")]
    for stride, tokenizer in zip(strides, tokenizers, strict=True):
        back = rebuilt(tokenizer, true)
        latents = replace(recipe.media, temporal_stride=stride).latents(true.shape[1])
        size = latents * tokenizer.quantiser.cells * tokenizer.quantiser.bits
        like = psnr(true, back)
        rows.append((f"stride {stride}", f"{like:.1f}", f"{obeys_energy_law(back).mean():.2f}", f"{size:,}"))
    show(
        Console(), "films", (Table("Films of the world after a tokenizer", ("", "PSNR, dB", "lawful", "bits"), tuple(rows)),), ()
    )


if __name__ == "__main__":
    main()
