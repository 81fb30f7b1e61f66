"""Pictures of one's own are understood: what their captions name is in the bits that are made of them, in any phrasing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ernest.config.recipe import Recipe
from ernest.config.tables import TokenizerConfig
from ernest.data.decoded import DecodedRecords
from ernest.data.importers import both_directions
from ernest.data.record_writer import save_records
from ernest.data.records import read_lines
from ernest.fit import no_progress
from ernest.tokenizers.vision import VisionTokenizer, to_frames
from ernest.training.tokenizer_data import shown_frames
from ernest.training.tokenizers import vision_tokenizer

KINDS = ("cross", "ring", "bars", "block")
PHRASES = ("a {}", "here is a {}", "{}, seen from above", "one small {} and nothing else")
GLYPHS = np.array(
    [
        [[1, 0, 0, 0, 1], [0, 1, 0, 1, 0], [0, 0, 1, 0, 0], [0, 1, 0, 1, 0], [1, 0, 0, 0, 1]],
        [[0, 1, 1, 1, 0], [1, 0, 0, 0, 1], [1, 0, 0, 0, 1], [1, 0, 0, 0, 1], [0, 1, 1, 1, 0]],
        [[1, 1, 1, 1, 1], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]],
        [[0, 0, 0, 0, 0], [0, 1, 1, 1, 0], [0, 1, 1, 1, 0], [0, 1, 1, 1, 0], [0, 0, 0, 0, 0]],
    ],
    bool,
)


def scene(rng: np.random.Generator, kind: int) -> np.ndarray:
    """A small sign somewhere on a ground whose colours are far more of the picture than the sign is."""
    ground = np.kron(rng.integers(40, 200, (4, 4, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    top, left = rng.integers(0, 17, 2)
    mask = np.kron(GLYPHS[kind], np.ones((3, 3))).astype(bool)
    ground[top : top + 15, left : left + 15][mask] = 255
    return ground


def scenes(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    kinds = rng.integers(len(KINDS), size=count)
    return np.stack([scene(rng, kind) for kind in kinds]), kinds


@torch.no_grad()
def told_by_bits(tokenizer: VisionTokenizer) -> float:
    """How often the coarse bits of new scenes tell the kind, to a linear reading of them."""

    def bits(pixels: np.ndarray) -> np.ndarray:
        found = tokenizer.quantiser.history(tokenizer.encode(to_frames(pixels))).bits[:, :5]
        return np.concatenate([found.flatten(1).float().numpy() * 2 - 1, np.ones((len(pixels), 1))], 1)

    (train, kinds), (test, truth) = scenes(2, 1000), scenes(3, 500)
    one, wanted = bits(train), np.eye(len(KINDS))[kinds]
    weights = np.linalg.solve(one.T @ one + 10 * np.eye(one.shape[1]), one.T @ wanted)
    return float(((bits(test) @ weights).argmax(1) == truth).mean())


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_words_of_captions_bring_into_the_bits_what_pixels_alone_do_not(tmp_path: Path):
    pixels, kinds = scenes(1, 800)
    rng = np.random.default_rng(0)
    captions = [PHRASES[rng.integers(len(PHRASES))].format(KINDS[kind]) for kind in kinds]
    save_records(tmp_path / "data", [both_directions("image", *pair, {})[0] for pair in zip(pixels, captions, strict=True)])
    DecodedRecords.write(tmp_path / "decoded", read_lines(tmp_path / "data"), lambda line, record: None)
    shown, words = shown_frames(DecodedRecords(tmp_path / "decoded"))
    recipe = Recipe(tokenizers=TokenizerConfig(vision_steps=400))
    named = vision_tokenizer(shown, recipe, no_progress, classes=words)
    nothing = [replace(one, targets=lambda picks: np.zeros((len(picks), words), np.float32)) for one in shown]
    nameless = vision_tokenizer(nothing, recipe, no_progress, classes=words)
    with_words, without = told_by_bits(named), told_by_bits(nameless)
    assert with_words > without + 0.1, (with_words, without)
    assert with_words > 0.55
