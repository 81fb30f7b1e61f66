"""What studies of reinforcement learning share: the model that runs begin with, their page, true films to compare with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ernest.checkpoint import load_model, run_of
from ernest.config.recipe import find_recipe
from ernest.config.rl import RLRecipe
from ernest.config.sft import load_sft_recipe
from ernest.device import set_threads
from ernest.evaluation.evaluate import rebuild_frames
from ernest.generation.engine import Engine, bf16_pays
from ernest.rl.loop import reinforce
from ernest.rl.sft import fine_tune
from ernest.tokenizers.bundle import Tokenizers
from ernest.world.split import HELD_OUT
from ernest.world.video import FAMILIES, simulate

PAGE, TITLE = "rl", "Reinforcement learning by laws"
BEFORE = "fine-tuned"
SFT = ("parallel.replicate=1", "training.steps=300", "sequence.rows=16", "records.worked=3000", "records.others=300")
"""What the fine-tuning takes otherwise than its recipe: half of the rows, in some six minutes of one core."""


@dataclass(frozen=True)
class Study:
    """A demo's model, the folder of what is under way, and who hears how far it is."""

    checkpoint: Path
    build: Path
    tell: Callable[[str], None] = lambda line: None

    @property
    def judges(self) -> Path:
        """The learned judges of the demo."""
        return run_of(self.checkpoint) / "judges"

    def fine_tuned(self) -> Path:
        """The demo's model after `ernest sft worked`, which is run where that has not been yet."""
        run = self.build / "sft"
        if (run / "model" / "model.json").is_file():
            return run / "model"
        self.tell("fine-tuning on workings")
        return fine_tune(self.checkpoint, run, *load_sft_recipe(find_recipe("worked", "sft"), SFT))

    def trained(self, begun: Path, run: Path, recipe: RLRecipe) -> Path:
        """The model at the end of a run from the model `begun`, which is made where it has not been; it tells every tenth
        update."""

        def tell(step: int, measures: Mapping[str, float]) -> None:
            if (step + 1) % 10 == 0:
                self.tell(f"{run.name}: update {step + 1} of {recipe.update.steps}, passed {measures['passed']:.2f}")

        return reinforce(begun, self.judges, run, recipe, tell)


def engine_of(model: Path) -> Engine:
    """What draws from the model in this folder, on one thread."""
    set_threads(1)
    network, tokenizers = load_model(model)
    return Engine(network, tokenizers, bf16=bf16_pays(network), rows=100)


def rebuilt_films(checkpoint: Path, seed: int, count: int) -> dict[str, np.ndarray]:
    """By family, so many true films uint8 `[count, frames, size, size, 3]` that went through the tokenizer and back."""
    set_threads(1)
    tokenizers = Tokenizers.load(checkpoint / "tokenizers")
    numbers = range(HELD_OUT, HELD_OUT + count)
    return {name: rebuild_frames(tokenizers, simulate(family, seed, numbers)) for family, name in enumerate(FAMILIES)}
