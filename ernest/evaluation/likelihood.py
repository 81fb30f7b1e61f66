"""How well a model predicts held-out texts: bits per byte, as a share of what a unigram over the same tokens needs."""

import numpy as np
import torch

from ernest.data.collate import collate
from ernest.data.examples import encode
from ernest.data.layout import lay_out_example
from ernest.evaluation.results import EvalResult, Sample
from ernest.generation.engine import Engine
from ernest.generation.sampling import Sampling
from ernest.sequence.record import Record, made
from ernest.tokenizers.text import TextTokenizer
from ernest.training.loss import loss_sums, mean_losses
from ernest.verifiers.rules import statement
from ernest.world.split import HELD_OUT
from ernest.world.world import records

TRAINING_TEXTS = 2000
"""Records of training on which the unigram is counted."""
CONTINUATIONS = 6


@torch.inference_mode()
def text_share(engine: Engine, seed: int, count: int, sample_count: int = 0) -> EvalResult:
    """Nats of the held-out texts of `count` records under the model, over those under the unigram; samples are written freely."""
    tokenizers = engine.tokenizers
    held_out = records("text", seed, range(HELD_OUT, HELD_OUT + max(1, count)))
    nats = 0.0
    examples = list(encode(held_out, tokenizers))
    for start in range(0, len(examples), 32):
        packed = [lay_out_example(example, tokenizers, tokenizers.text.encode) for example in examples[start : start + 32]]
        batch = collate([[example] for example in packed], max(len(example.layout) for example in packed), tokenizers)
        total, tokens = loss_sums(engine.model(batch, engine.submodels(len(packed))), batch)
        nats += mean_losses(total, tokens)["text"] * float(tokens[0])
    unigram = unigram_nats(tokenizers.text, held_out, records("text", seed, range(TRAINING_TEXTS)))
    return EvalResult(nats / unigram, len(held_out), _continuations(engine, seed, min(sample_count, CONTINUATIONS)))


def unigram_nats(tokenizer: TextTokenizer, held_out: list[Record], training: list[Record]) -> float:
    """Nats of the made texts of `held_out`, each with its end, under token frequencies of `training`, each counted once more."""
    counts = np.ones(tokenizer.vocab_size)
    for ids in _made_tokens(tokenizer, training):
        np.add.at(counts, ids, 1)
    log_p = np.log(counts / counts.sum())
    return float(-sum(log_p[ids].sum() for ids in _made_tokens(tokenizer, held_out)))


def _made_tokens(tokenizer: TextTokenizer, texts: list[Record]) -> list[list[int]]:
    segments = [segment for record in texts for segment in record.segments if segment.made]
    return [[*tokenizer.encode(segment.data), tokenizer.eos] for segment in segments]


def _continuations(engine: Engine, seed: int, count: int) -> tuple[Sample, ...]:
    """Texts that the model writes from nothing, and whether they are true where that can be checked."""
    samples = []
    for text in engine.texts([()] * count, Sampling(temperature=0.8), seed) if count else []:
        output = [made("text", text)] if text else []
        verdict = statement(Record((made("text", "?"),), "text"), output)
        samples.append(Sample("text", text=text, correct=verdict.passed if verdict.parts else None))
    return tuple(samples)
