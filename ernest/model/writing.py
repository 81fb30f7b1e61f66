"""Writes texts by compiled kernels: the head of the token after next drafts, and the trunk verifies all drafts of a text at once.

Shapes: R texts, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ernest.device import HOST
from ernest.model.cache import Cache
from ernest.model.decoding import CompiledBlocks, Limits, pack, versions
from ernest.model.network import Ernest
from ernest.model.submodel import SubModels

FIELDS = ("slot", "head_slot", "column", "head_column", "state", "left", "known", "made")
ENDS = 5
"""The most control tokens that a text may end with."""


class CompiledHead:
    """The head of the token after next of a network, run over and over in one call."""

    def __init__(self, model: Ernest) -> None:
        assert model.mtp is not None
        self.model, self.mtp = model, model.mtp
        self.blocks = CompiledBlocks([self.mtp.block], self.mtp.sizes, None)
        self.limits = Limits(self.mtp.sizes, None)
        self._versions: tuple[tuple[int, int], ...] = ()
        self.refresh()

    def refresh(self) -> None:
        """Packs the weights, if they are others than before."""
        self.blocks.refresh()
        mtp, embedding, words = self.mtp, self.model.token_embedding.weight, self.model.text_head.weight
        found = versions((*mtp.parameters(), embedding, words))
        if found != self._versions:
            self._versions = found
            self._kept = mtp.norm_hidden.weight, mtp.norm_token.weight, pack(mtp.projection.weight), pack(words), embedding
            self.head = np.array([*(weight.data_ptr() for weight in self._kept), len(words)])

    def draft(self, texts: np.ndarray, hidden: Tensor, tokens: Sequence[int], cache: Cache, ahead: int) -> list[list[int]]:
        """The likeliest tokens `[R, ahead]` behind texts, whose new positions have the states `hidden` `[P, D]` that `tokens`
        `[P]` were chosen from. `texts` `[4, R]`: how many are new, the slot, its first new column, and the first new position."""
        blocks, hidden, texts = self.blocks, hidden.contiguous(), np.ascontiguousarray(texts)
        chosen, drafted = np.array(tokens), np.empty((texts.shape[1], ahead), np.int64)
        sizes, parts = blocks.sizes(cache), blocks.parts(cache, self.limits)
        blocks.library.draft(
            sizes.ctypes.data, blocks.config.norm_eps, parts.ctypes.data, self.head.ctypes.data, texts.shape[1],
            texts.ctypes.data, hidden.data_ptr(), chosen.ctypes.data, ahead, drafted.ctypes.data,
        )  # fmt: skip
        return drafted.tolist()


@dataclass(frozen=True, eq=False)
class Texts:
    """Texts that go on. `fields` int64 `[R, fields and ends]` are those of `Text` in writing.h; the last `known` tokens `fed`
    `[R, widest]` were chosen from the states `hidden` `[R, widest, D]`; `temperature` and `top_p` are `[R]`, the random numbers
    `draws` `[R, longest]`."""

    fields: np.ndarray
    fed: np.ndarray
    hidden: Tensor
    temperature: np.ndarray
    top_p: np.ndarray
    draws: np.ndarray


@dataclass(frozen=True, eq=False)
class Written:
    """How many tokens were `made` of each text `[R]`; the tokens, their log-probabilities under the policy and under the model
    `[R, longest]`; and the experts that chose them, `[layers, R, longest, k]`."""

    made: np.ndarray
    tokens: np.ndarray
    log_p: np.ndarray
    own: np.ndarray
    experts: Tensor


class CompiledWriter:
    """Rounds of drafts and verification for texts. `after` `[5, vocabulary]` is the state of a text behind each token."""

    def __init__(self, trunk: CompiledBlocks, head: CompiledHead, after: np.ndarray) -> None:
        self.trunk, self.head, self.after = trunk, head, np.ascontiguousarray(after, np.int8)

    def write(
        self, texts: Texts, caches: tuple[Cache, Cache], submodels: SubModels | None, ahead: int, least: float, rounds: int
    ) -> Written:
        """Texts go on for some `rounds`, with at most `ahead` drafts each, as long as these are held as likely as `least`
        together. `caches`, of the trunk and of the head, have room. `texts` are changed: those of the last round stand there."""
        trunk, head, (count, longest) = self.trunk, self.head.blocks, texts.draws.shape
        limits = Limits(trunk.config, submodels)
        tokens, log_p, own = (np.empty((count, longest), kind) for kind in (np.int64, np.float32, np.float32))
        experts = torch.full((len(trunk.blocks), count, longest, limits.most), -1, device=HOST)
        policy = np.array([part.ctypes.data for part in (texts.temperature, texts.top_p, texts.draws)])
        made = np.array([longest, tokens.ctypes.data, log_p.ctypes.data, own.ctypes.data, experts.data_ptr()])
        sizes, parts = zip(
            (trunk.sizes(caches[0]), trunk.parts(caches[0], limits)),
            (head.sizes(caches[1]), head.parts(caches[1], self.head.limits)),
            strict=True,
        )
        trunk.library.write_texts(
            *(part.ctypes.data for part in sizes), trunk.config.norm_eps, *(part.ctypes.data for part in parts),
            self.head.head.ctypes.data, self.after.ctypes.data, count, texts.fields.ctypes.data, policy.ctypes.data,
            made.ctypes.data, texts.fed.shape[1], texts.hidden.data_ptr(), texts.fed.ctypes.data, ahead, least, rounds,
        )  # fmt: skip
        return Written(texts.fields[:, FIELDS.index("made")], tokens, log_p, own, experts)
