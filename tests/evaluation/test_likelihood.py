"""Bits per byte as a share of a unigram's, against models whose likelihood is known."""

from typing import cast

import numpy as np
import pytest
import torch

from ernest.evaluation.likelihood import text_share, unigram_nats
from ernest.generation.engine import Engine
from ernest.sequence.record import Record, given, made
from ernest.tokenizers.text import TextTokenizer
from ernest.world.split import HELD_OUT
from ernest.world.world import records
from tests.small import network, tokenizers


class Letters:
    """A tokenizer of a, b and c."""

    vocab_size, eos = 4, 3

    def encode(self, text: str) -> list[int]:
        return ["abc".index(letter) for letter in text]


def test_the_unigram_counts_what_is_made_and_its_end_each_once_more():
    training = [Record((given("text", "cc"), made("text", "aab")))]
    held_out = [Record((given("text", "b"), made("text", "ab"))), Record((made("text", "c"),))]
    a, b, c, end = 3, 2, 1, 2
    expected = -np.log(np.array([a, b, end, c, end]) / (a + b + c + end)).sum()
    assert unigram_nats(cast(TextTokenizer, Letters()), held_out, training) == pytest.approx(expected)


def test_a_network_that_finds_every_token_as_likely_has_the_share_of_chance():
    model = network()
    torch.nn.init.zeros_(model.text_head.weight)
    engine = Engine(model, tokenizers())
    result = text_share(engine, 0, 40)
    tokenizer = tokenizers().text
    held_out = records("text", 0, range(HELD_OUT, HELD_OUT + 40))
    tokens = sum(len(tokenizer.encode(s.data)) + 1 for record in held_out for s in record.segments if s.made)
    unigram = unigram_nats(tokenizer, held_out, records("text", 0, range(2000)))
    assert result.value == pytest.approx(tokens * np.log(tokenizer.vocab_size) / unigram, rel=1e-5)
    assert (result.count, result.samples, result.ceilings) == (40, (), (None, None))
