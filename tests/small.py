"""A small world for tests: tokenizers and a network of test size, random but real, and one document of every kind."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from ernest.checkpoint import tokenizer_spec
from ernest.config.recipe import Recipe
from ernest.config.tables import ElasticConfig, ModelConfig, SequenceConfig, TrainingConfig
from ernest.data.examples import EncodedSegment, Example
from ernest.data.layout import PackedExample, lay_out_example, tokenise_segments
from ernest.model.encoder import PatchMerger
from ernest.model.network import Ernest
from ernest.sequence.groups import lay_out
from ernest.tokenizers.audio import AudioConfig, AudioTokenizer
from ernest.tokenizers.bundle import Tokenizers
from ernest.tokenizers.text import TextTokenizer
from ernest.tokenizers.vision import VisionTokenizer, VisionTokenizerConfig

CONFIG = ModelConfig(layers=6, width=64, heads=4, kv_heads=2, experts=8, top_k=2, expert_width=16, vit_width=16, vit_layers=1)
BITS, LEVELS, CODES = 8, 3, 32
OFTEN_SMALLER = ElasticConfig(0.5, 0.5, 0.5)
SENTENCES = ["a red seven at the top left", "a disk shrinking", "anna says seven", "three plus four is seven"]


@cache
def tokenizers() -> Tokenizers:
    """Untrained, but with every weight in play: the quantiser's refinements and the codebooks are random as well."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vision = VisionTokenizer(VisionTokenizerConfig(bits=BITS, width=8))
        audio = AudioTokenizer(AudioConfig(levels=LEVELS, codebook=CODES, latent=8, fine=8, coarse=8))
        for refinement in vision.quantiser.refine:
            torch.nn.init.normal_(refinement.weight, std=0.1)
        audio.quantiser.codebooks.normal_()
    return Tokenizers(TextTokenizer.train(SENTENCES * 10, 290), *(m.eval().requires_grad_(False) for m in (vision, audio)))


def network(seed: int = 0, config: ModelConfig = CONFIG, biased: bool = True) -> Ernest:
    """A network with random weights, whose ViT is heard, and, where `biased`, with routers whose selection bias matters."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Ernest(config, tokenizer_spec(tokenizers()))
        if isinstance(model.encoder.merger, PatchMerger):
            torch.nn.init.ones_(model.encoder.merger.gate)
        if biased:
            for block in model.backbone.blocks:
                block.moe.router.selection_bias.normal_(0.0, 0.1)
    return model.eval()


@dataclass
class Maker:
    """Random segments of every form."""

    rng: np.random.Generator

    def text(self, made: bool, words: str | None = None) -> EncodedSegment:
        return EncodedSegment("text", words or SENTENCES[self.rng.integers(len(SENTENCES))], made)

    def latent(self, frames: int = 1, video: bool = False, open: bool = False) -> EncodedSegment:
        return EncodedSegment("latent", self.rng.normal(size=(frames, BITS, 4, 4)).astype(np.float16), True, video, open)

    def pixels(self, frames: int = 1, video: bool = False) -> EncodedSegment:
        return EncodedSegment("pixels", self.rng.integers(0, 256, (frames, 32, 32, 3)).astype(np.uint8), False, video)

    def codes(self, made: bool, frames: int = 4) -> EncodedSegment:
        return EncodedSegment("codes", self.rng.integers(0, CODES, (frames, LEVELS)).astype(np.int16), made)


def documents(seed: int = 0) -> list[Example]:
    """One document of every direction, none longer than 100 positions."""
    make = Maker(np.random.default_rng(seed))
    return [
        Example((make.text(False), make.latent()), "text→image"),
        Example((make.pixels(), make.text(True)), "image→text"),
        Example((make.text(False), make.codes(True)), "text→speech"),
        Example((make.codes(False, 6), make.text(True)), "speech→text"),
        Example((make.text(False, "a disk shrinking"), make.latent(3, True)), "text→video"),
        Example((make.text(False, "a disk shrinking"), make.latent(1, True, True)), "text→first frame"),
        Example((make.pixels(5, True), make.text(True)), "video→text"),
        Example((make.text(True),), "text"),
        Example((make.text(False), make.text(True)), "question→answer"),
    ]


def placed(example: Example) -> PackedExample:
    """The document laid out, its words cut without dropout."""
    return lay_out_example(example, tokenizers(), tokenizers().text.encode)


def placed_with(segments: tuple[EncodedSegment, ...], last) -> PackedExample:
    """Given segments, and a last segment whose tokens are told instead of cut."""
    *given, answer = segments
    tokenised = [*tokenise_segments(given, tokenizers(), tokenizers().text.encode), (last, answer.made)]
    return PackedExample(Example(segments, ""), lay_out(tokenised, tokenizers().control_tokens))


def recipe(rows: int = 2, elastic: ElasticConfig = OFTEN_SMALLER, seed: int = 0, **training) -> Recipe:
    """A few steps of the test-size network, in single precision; many rows run sub-models."""
    schedule = TrainingConfig(**{"steps": 7, "warmup": 2, "save_every": 3, "show_every": 0, "bf16": False, **training})
    return Recipe(seed=seed, model=CONFIG, elastic=elastic, sequence=SequenceConfig(rows=rows, length=120), training=schedule)
