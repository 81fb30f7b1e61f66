"""Shows the model's training in the terminal and in TensorBoard: progress, losses, and now and then samples."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from rich.table import Table
from rich.text import Text

from ernest.config.recipe import Recipe
from ernest.data.drawn import Examples
from ernest.data.examples import Example
from ernest.generation.engine import Engine, bf16_pays
from ernest.model.network import Ernest
from ernest.tokenizers.bundle import Tokenizers
from ernest.training.progress import stage_bar

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class Monitor:
    """Called after every step: moves the bar, and every `show_every` steps prints samples. `run` is where TensorBoard's files
    go."""

    def __init__(self, recipe: Recipe, tokenizers: Tokenizers, store: Examples, run: Path) -> None:
        self.recipe, self.tokenizers, self.store = recipe, tokenizers, store
        self.board = _board(run) if recipe.training.tensorboard else None
        self.bar = stage_bar()
        self.task = self.bar.add_task("model", total=recipe.training.steps, note="")
        self.bar.start()

    def __call__(self, step: int, metrics: Mapping[str, float], model: Ernest) -> None:
        config = self.recipe.training
        if self.board is not None:
            for name, value in metrics.items():
                self.board.add_scalar(name, value, step)
        self.bar.update(self.task, completed=step + 1, note=_in_words(metrics))
        shows = config.show_every and self.recipe.parallel.keeps_whole  # one process alone has no whole network to ask
        if shows and (step + 1) % config.show_every == 0 and step + 1 < config.steps:
            self.bar.console.print(self._samples(model, step + 1))
            model.train()
        if step + 1 == config.steps:
            self.bar.stop()

    def _samples(self, model: Ernest, step: int) -> Table:
        """A few records of the run's own data: what was asked, what the model says or draws, what is true."""
        engine = Engine(model, self.tokenizers, bf16=bf16_pays(model))
        table = Table(title=f"after {step} steps", title_justify="left")
        for name in ("task", "given", "the model", "the record"):
            table.add_column(name)
        rng = np.random.default_rng((self.recipe.seed, step, 3))
        for task, indices in self.store.tasks.items():
            example = self.store[indices[rng.integers(len(indices))]]
            row = _compare(example, engine)
            if row is not None:
                table.add_row(Text(task), *row)
        return table


def _in_words(metrics: Mapping[str, float]) -> str:
    """The stage and its rows, where these change, the losses, and the speed of a step."""
    stage = f"stage {metrics['stage']:.0f}, {metrics['rows']:.0f} x {metrics['length']:,.0f}  " if "stage" in metrics else ""
    losses = " ".join(f"{name} {metrics[name]:.2f}" for name in ("text", "vision", "audio") if name in metrics)
    return f"{stage}{losses}  {metrics['positions'] / metrics['seconds']:,.0f} positions/s"


def _board(run: Path) -> "SummaryWriter":
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(run / "tensorboard"))


def _compare(example: Example, engine: Engine) -> tuple[Text, Text, Text] | None:
    """Given, made and true, for examples that end in a made text or picture and begin with something given."""
    *prompt, last = example.segments
    if not prompt or any(segment.made for segment in prompt):
        return None
    given = Text(" ").join(
        [Text(p.data) if p.form == "text" else _draw(p.data[0]) if p.form == "pixels" else Text("(sound)") for p in prompt]
    )
    if last.form == "text":
        return given, Text(engine.texts([prompt])[0]), Text(last.data)
    if last.form == "latent" and not last.video:
        true = engine.tokenizers.vision.quantiser.history(torch.from_numpy(last.data).float()).total
        return given, _draw(engine.pictures([prompt])[0]), _draw(engine.draw([true])[0][0])
    return None


def _draw(pixels: np.ndarray) -> Text:
    """A picture in half-height characters, every other column and row."""
    small = pixels[::2, ::2]
    text = Text()
    for upper, lower in zip(small[::2], small[1::2], strict=False):
        for (r, g, b), (s, h, c) in zip(upper.tolist(), lower.tolist(), strict=True):
            text.append("▀", f"rgb({r},{g},{b}) on rgb({s},{h},{c})")
        text.append("\n")
    return text
