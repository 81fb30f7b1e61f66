"""Figures of the methods, measured on what `make demo` left: `python -m benchmarks.methods [BUILD]`.

Rows carry the numbers of the table of checks that they answer; bars are that table's.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from benchmarks import tables
from benchmarks.tables import Figure
from ernest.checkpoint import load_expert_importance, load_model
from ernest.config.recipe import Recipe, from_tree
from ernest.config.submodel_size import SubModelSize
from ernest.data.collate import collate
from ernest.data.sampler import plan
from ernest.data.store import ExampleStore
from ernest.evaluation.results import load
from ernest.evaluation.routing import max_violation, normalised_entropy, shares
from ernest.model.slicing import choose, extract
from ernest.model.submodel import stack
from ernest.report.rows import ROWS, write_rows
from ernest.storage import read_log
from ernest.tokenizers import audio as codec
from ernest.tokenizers.bundle import Tokenizers
from ernest.tokenizers.training.vision import KEPT, FrameBatch, VisionTraining, train_vision_tokenizer
from ernest.tokenizers.vision import VisionTokenizer, VisionTokenizerConfig, to_frames
from ernest.training.loss import MODALITIES, LossBalancer
from ernest.world import images
from ernest.world.speech import speech
from ernest.world.split import HELD_OUT
from ernest.world.video import FAMILIES, simulate

COMMAND = "python -m benchmarks.methods"
QUICK = 500
"""Steps of the tokenizers that are compared by their bits; their running mean forgets faster than the demo's."""
HELD = range(HELD_OUT, HELD_OUT + 200)


def main(build: Path) -> None:
    torch.set_num_threads(1)
    recipe = from_tree(json.loads((build / "recipe.json").read_text()))
    tokenizers = Tokenizers.load(build / "tokenizers")
    figures = [
        *import_time(),
        *balance(build),
        *bits(tokenizers.vision, recipe),
        *flips(tokenizers.vision),
        *codes(tokenizers.audio),
        *weighting(build, recipe),
        *slices(build, recipe),
    ]
    tables.show(Console(width=120), "methods", (), figures)
    write_rows(tables.rows(figures, COMMAND), build / ROWS)


def import_time() -> list[Figure]:
    """Milliseconds of `import ernest` beyond the bare interpreter."""

    def seconds(code: str) -> float:
        spent = []
        for _ in range(7):
            begun = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            spent.append(time.perf_counter() - begun)
        return median(spent)

    return [Figure("import ernest, milliseconds", 1000 * (seconds("import ernest") - seconds("pass")), 50.0, True)]


def balance(build: Path) -> list[Figure]:
    """Row 8: how evenly the training mixture loads the experts."""
    counts = load(build / "findings").load
    assert counts is not None
    worst = float(normalised_entropy(shares(counts.sum(axis=0))).min())
    return [
        Figure("8: mixture-load entropy, worst layer", worst, 0.98, False),
        Figure("8: MaxVio of a batch, mean over layers", float(np.mean([max_violation(batch) for batch in counts])), 0.7, True),
    ]


def bits(tokenizer: VisionTokenizer, recipe: Recipe) -> list[Figure]:
    """Row 14: PSNR rises with each scale and with the number of bits; bits are set about as often as not."""
    stills = np.stack([one.pixels for one in images.pictures(recipe.seed, HELD)])
    moving = np.concatenate([simulate(family, recipe.seed, HELD[:10]) for family in range(len(FAMILIES))]).reshape(-1, 32, 32, 3)
    figures: list[Figure] = []
    share = []
    for name, pixels in (("pictures", stills), ("frames", moving)):
        frames = to_frames(pixels)
        path = tokenizer.quantiser.history(tokenizer.encode(frames))
        share.append(path.bits.float().flatten(0, 1))
        by_scale = [
            _psnr(tokenizer.decode(tokenizer.quantiser.sum(path.bits, k + 1)), frames)
            for k in range(len(tokenizer.quantiser.sizes))
        ]
        figures += [
            Figure(f"14: PSNR of {name}, first {k + 1} scales, dB", value, 25.0 if k + 1 == len(by_scale) else None, False)
            for k, value in enumerate(by_scale)
        ]
        figures += [Figure(f"14: least gain of a scale, {name}, dB", min(np.diff(by_scale)), 0.0, False)]
    p = torch.cat(share).mean(0)
    entropy = float((-(p * p.log2() + (1 - p) * (1 - p).log2())).mean())
    figures.append(Figure("14: mean bit entropy, bits", entropy, 0.9, False))
    frames = to_frames(stills)
    by_bits = []
    for width in (8, 16, 32):
        small = _quick_tokenizer(width, recipe.seed)
        by_bits.append(_psnr(small.decode(small.quantiser.history(small.encode(frames)).total), frames))
        figures.append(Figure(f"14: PSNR of {width} bits after {QUICK} steps, dB", by_bits[-1], None, False))
    return [*figures, Figure("14: least gain of twice the bits, dB", min(np.diff(by_bits)), 0.0, False)]


def _quick_tokenizer(bits: int, seed: int) -> VisionTokenizer:
    bank = np.stack([one.pixels for one in images.pictures(seed, range(2000))])

    def draw(step: int) -> FrameBatch:
        chosen = np.random.default_rng((seed, step)).integers(len(bank), size=44)
        return FrameBatch(bank[chosen], np.zeros((44, VisionTokenizerConfig.classes), np.float32))

    training = VisionTraining(steps=QUICK, average=0.98, variance=KEPT)
    return train_vision_tokenizer(draw, VisionTokenizerConfig(bits=bits), training, seed).eval()


def _psnr(drawn: Tensor, frames: Tensor) -> float:
    return float((-10 * torch.log10((drawn - frames).detach().square().mean((1, 2, 3)))).mean())


def flips(tokenizer: VisionTokenizer) -> list[Figure]:
    """Row 17a on the demo's own latents and three scales: the error of the final sum after flips, self-corrected and not.

    The bar of the second ratio is for the random latents and longer scale lists of tests/tokenizers/test_bitwise_quantiser.py.
    """
    frames = to_frames(np.stack([one.pixels for one in images.pictures(0, HELD)]))
    latent, quantiser = tokenizer.encode(frames), tokenizer.quantiser
    generator = torch.Generator().manual_seed(0)
    rates = 0.3 * torch.rand(len(latent), len(quantiser.sizes), generator=generator)
    rates[:, -1] = 0
    clean = quantiser.history(latent)
    right = quantiser.history(latent, quantiser.draw_flips(rates, torch.Generator().manual_seed(1)))
    draws = torch.Generator().manual_seed(1)
    total, start = torch.zeros_like(latent), 0
    for k, (height, width) in enumerate(quantiser.sizes):
        told = clean.bits[:, start : start + height * width]
        total = total + quantiser.lookup(told ^ (torch.rand(told.shape, generator=draws) < rates[:, k, None, None]), k)
        start += height * width
    error = lambda summed: float((summed - latent).square().mean().sqrt())
    return [
        Figure("17a: error with self-corrected flips ÷ clean", error(right.total) / error(clean.total), 1.35, True),
        Figure("17a: error with self-corrected flips ÷ uncorrected", error(right.total) / error(total), None, True),
    ]


@torch.no_grad()
def codes(tokenizer: codec.AudioTokenizer) -> list[Figure]:
    """Row 24: the spectrogram gets nearer with each code, and the codebooks are used."""
    waves = [speech(0, index).wave for index in HELD]
    coded = tokenizer.encode(waves)
    mel, frames = codec.padded_spectrograms(waves)
    inside = (torch.arange(mel.shape[1]) < codec.MEL_FRAMES * frames[:, None])[..., None]
    latents = lambda levels: tokenizer.quantiser.embed(torch.cat(coded), levels)
    errors = []
    for levels in range(1, tokenizer.config.levels + 1):
        apart = (tokenizer.spectrograms(latents(levels), frames) - mel).abs() * inside
        errors.append(18.0 * float(apart.sum() / (inside.sum() * mel.shape[2])))
    figures: list[Figure] = [
        Figure(f"24: mel L1 of the first {q + 1} codes, dB", error, None, True) for q, error in enumerate(errors)
    ]
    figures.append(Figure("24: least gain of a code, dB", -max(np.diff(errors)), 0.0, False))
    trained = torch.cat(tokenizer.encode([speech(0, index).wave for index in range(1500)]))
    for level in range(tokenizer.config.levels):
        p = torch.bincount(trained[:, level], minlength=tokenizer.config.codebook).double()
        p = p[p > 0] / p.sum()
        perplexity = float(torch.exp(-(p * p.log()).sum()))
        figures.append(
            Figure(f"24: perplexity of code {level + 1} ÷ its codebook", perplexity / tokenizer.config.codebook, 0.3, False)
        )
    return figures


def weighting(build: Path, recipe: Recipe) -> list[Figure]:
    """Row 29: after 500 steps, the ratio of the largest to the smallest weighted loss, of running means."""
    lines = read_log(build / "metrics.jsonl")
    balancer = LossBalancer({})
    for line in lines[: max(500, len(lines) // 2)]:
        balancer = balancer.observe({name: line[name] for name in MODALITIES if name in line})
    weights = balancer.weights()
    weighted = [weights[name] * balancer.running[name] for name in MODALITIES]
    plain = [balancer.running[name] for name in MODALITIES]
    return [
        Figure("29: largest ÷ smallest weighted loss", max(weighted) / min(weighted), 1.25, True),
        Figure("29: the same unweighted", max(plain) / min(plain), None, True),
    ]


@torch.no_grad()
def slices(build: Path, recipe: Recipe) -> list[Figure]:
    """Row 33: logits of the extracted half-size model against the masked parent."""
    model, tokenizers = load_model(build / "model")
    store = ExampleStore(build / "examples")
    rows = plan(store, dict.fromkeys(store.tasks, 1.0), tokenizers, recipe.sequence, recipe.seed, 0)
    batch = collate(rows, recipe.sequence.length, tokenizers)
    submodel = choose(model, load_expert_importance(build / "model"), SubModelSize(5, 24, 1))
    parent, small = model(batch, stack([submodel] * len(rows), model.config)), extract(model, submodel)(batch)
    apart = [
        parent.text - small.text,
        parent.bits - small.bits,
        *(a - b for a, b in zip(parent.codes, small.codes, strict=True)),
    ]
    return [
        Figure(
            "33: largest difference of a slice's logits from its masked parent",
            max(float(d.abs().max()) for d in apart),
            1e-5,
            True,
        )
    ]


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("build/demo"))
