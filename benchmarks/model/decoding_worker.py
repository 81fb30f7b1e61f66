"""One engine with a random network of the demo's sizes, which generates what is asked on standard input: `text 16`, `image 64`.

Runs beside this package and beside that of an earlier commit, whose names were others; the answer is a line with the seconds of
the processor and what was made of in all: tokens, frames, codec frames. Told a folder, it writes its checkpoint there instead.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch

SENTENCES = ["a red seven at the top left", "a disk shrinking", "anna says seven", "three plus four is seven"]
FRAMES = 9


class Now:
    """The package as it is."""

    def __init__(self, config: Any = None, side: int = 32) -> None:
        from ernest.checkpoint import tokenizer_spec
        from ernest.config.media import MediaSpec
        from ernest.config.recipe import load_recipe
        from ernest.data.examples import EncodedSegment
        from ernest.generation.engine import Engine
        from ernest.model.network import Ernest

        media = {} if side == 32 else {"media": MediaSpec(height=side, width=side)}
        self.tokenizers = tokenizers(load_recipe().tokenizers.vocabulary, side, **media)
        self.engine = Engine(Ernest(config or load_recipe().model, tokenizer_spec(self.tokenizers)), self.tokenizers)
        self.segment = lambda words: (EncodedSegment("text", words, False),)

    def save(self, folder: Path) -> None:
        from ernest.checkpoint import save_model

        model = self.engine.model
        save_model(folder, model, self.tokenizers, {}, torch.ones(model.config.layers, model.config.experts))

    def make(self, kind: Any, words: list[str]) -> int:
        prompts = [self.segment(one) for one in words]
        answers = self.engine.answers(prompts, kind, frames=FRAMES if kind == "video" else None)
        return sum(len(answer.segments[0].value) for answer in answers)


class Before:
    """Commit 1be877d."""

    def __init__(self) -> None:
        from ernest.recipe import load_recipe  # type: ignore[import-not-found]
        from ernest.training.checkpoint import interface_of  # type: ignore[import-not-found]
        from ernest.training.documents import Piece  # type: ignore[import-not-found]

        from ernest.generation.engine import Engine
        from ernest.model.network import Ernest

        self.tokenizers = tokenizers(load_recipe().tokenizers.vocabulary)
        self.engine: Any = Engine(Ernest(load_recipe().model, interface_of(self.tokenizers)), self.tokenizers)
        self.segment = lambda words: (Piece("text", words, False),)

    def save(self, folder: Path) -> None:
        from ernest.training.checkpoint import save_model  # type: ignore[import-not-found]

        model = self.engine.model
        save_model(folder, model, self.tokenizers, {}, torch.ones(model.config.layers, model.config.experts))

    def make(self, kind: Any, words: list[str]) -> int:
        return sum(len(value) for value in self.engine.make([self.segment(one) for one in words], kind).values)


def tokenizers(vocabulary: int, side: int = 32, **media: Any) -> Any:
    """Untrained ones of the demo's sizes, but for the sides of its pictures."""
    from ernest.tokenizers.audio import AudioTokenizer
    from ernest.tokenizers.bundle import Tokenizers
    from ernest.tokenizers.text import TextTokenizer
    from ernest.tokenizers.vision import VisionTokenizer, VisionTokenizerConfig

    torch.manual_seed(0)
    text = TextTokenizer.train(SENTENCES * 10, vocabulary)
    return Tokenizers(text, VisionTokenizer(VisionTokenizerConfig(side)), AudioTokenizer(), **media)


def main(version: str, folder: str | None = None) -> None:
    torch.set_num_threads(1)
    side = Before() if version == "before" else Now()
    if folder is not None:
        side.save(Path(folder))
        return
    for line in sys.stdin:
        kind, count = line.split()
        words = [f"{SENTENCES[n % len(SENTENCES)]} {n}" for n in range(int(count))]
        begun = time.process_time()
        made = side.make(kind, words)
        print(json.dumps({"seconds": time.process_time() - begun, "made": made}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
