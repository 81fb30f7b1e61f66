"""Losses of single records, and what they are with what another record gives."""

from collections.abc import Iterator, Sequence
from itertools import cycle

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ernest.data.collate import collate
from ernest.data.examples import EncodedSegment, Example, Form
from ernest.data.layout import lay_out_example
from ernest.generation.engine import Engine
from ernest.model.network import Predictions
from ernest.sequence.batch import Batch

FORMS: dict[str, Form] = {"texts": "text", "pictures": "latent", "sounds": "codes"}
"""Kinds whose losses are told apart, in the order in which `losses_by_kind` has them, and the form of the segments of each."""


def makes_form(example: Example, form: Form) -> bool:
    return any(segment.made and segment.form == form for segment in example.segments)


def record_losses(engine: Engine, examples: Sequence[Example], together: int = 32, hidden: bool = False) -> np.ndarray:
    """The loss of all that each record makes, float `[records]`; with given texts `hidden`, as for guidance, where that is
    wanted."""
    return losses_by_kind(engine, examples, together, hidden).sum(1)


@torch.inference_mode()
def losses_by_kind(engine: Engine, examples: Sequence[Example], together: int = 32, hidden: bool = False) -> np.ndarray:
    """The losses of the texts, of the pictures and films, and of the sounds that each record makes, float `[records, 3]`."""
    tokenizers, losses = engine.tokenizers, []
    for start in range(0, len(examples), together):
        part = examples[start : start + together]
        packed = [lay_out_example(example, tokenizers, tokenizers.text.encode, hidden) for example in part]
        batch = collate([[example] for example in packed], max(len(example.layout) for example in packed), tokenizers)
        words = torch.tensor([makes_form(example, "text") for example in part])
        losses.append(losses_of_rows(engine.model(batch, engine.submodels(len(packed))), batch, words))
    return torch.cat(losses).double().numpy()


def losses_of_rows(predictions: Predictions, batch: Batch, words: Tensor) -> Tensor:
    """The losses of each row, `[rows, 3]`: the sum over its text tokens, where it is one of those that make `words` `[rows]`, and
    the means over its bits and over its codes, as training weighs them."""
    rows, length = batch.token_id.shape

    def summed(index: Tensor, values: Tensor) -> Tensor:
        return values.new_zeros(rows).index_add_(0, index // length, values)

    targets = batch.token_target.flatten()[batch.token_index]
    cells, codes = batch.cell_targets, batch.code_targets
    text = summed(batch.token_index, F.cross_entropy(predictions.text.float(), targets, reduction="none"))
    bits = F.binary_cross_entropy_with_logits(predictions.bits.float(), cells.bits, reduction="none").mean(1)
    vision = summed(cells.index, bits * cells.weight) / summed(cells.index, cells.weight).clamp_min(1e-9)
    levels = zip(predictions.codes, codes.value.T, strict=True)
    audio = torch.stack([F.cross_entropy(logits.float(), level, reduction="none") for logits, level in levels]).mean(0)
    sounds = summed(codes.index, audio) / summed(codes.index, torch.ones_like(audio)).clamp_min(1)
    return torch.stack([text * words, vision, sounds], 1)


def with_given_of_others(examples: Sequence[Example]) -> dict[int, Example]:
    """Examples that are given what another one is, which has other texts, by number; none where there is none. Another one of
    the same form comes first, and of several texts that may stand in one place, none is then the other one's. Else, as among
    documents, each of whose forms is its own, it is one that gives something of each form."""
    forms, mixed = [_form(example) for example in examples], {}

    def following(number: int, alike: bool) -> Iterator[Example]:
        others = ((number + step) % len(examples) for step in range(1, len(examples)))
        return (examples[one] for one in others if (forms[one] == forms[number]) == alike)

    for number, example in enumerate(examples):
        if all(segment.made for segment in example.segments):
            continue
        other = next((one for one in following(number, True) if _says_otherwise(one, example)), None)
        other = other or next((one for one in following(number, False) if _can_lend(one, example)), None)
        if other is not None:
            theirs = {form: cycle(segments) for form, segments in _given(other).items()}
            segments = (own if own.made else next(theirs[own.form, own.video]) for own in example.segments)
            mixed[number] = Example(tuple(segments), example.task)
    return mixed


def _form(example: Example) -> tuple[tuple[str, bool, bool], ...]:
    return tuple((segment.form, segment.made, segment.video) for segment in example.segments)


def _given(example: Example) -> dict[tuple[str, bool], list[EncodedSegment]]:
    """What an example is given, by form."""
    given: dict[tuple[str, bool], list[EncodedSegment]] = {}
    for segment in example.segments:
        if not segment.made:
            given.setdefault((segment.form, segment.video), []).append(segment)
    return given


def _says_otherwise(one: Example, other: Example) -> bool:
    """Whether a text of one could not stand in its place in the other."""
    texts = ([set(segment.versions) for segment in example.segments if segment.form == "text"] for example in (one, other))
    return any(own.isdisjoint(theirs) for own, theirs in zip(*texts, strict=True))


def _can_lend(one: Example, other: Example) -> bool:
    """Whether one gives something of each form that the other is given, and is no part of it, nor the other of the one."""
    ours, theirs = ({text for segment in example.segments if segment.form == "text" for text in segment.versions}
                    for example in (one, other))  # fmt: skip
    return not (ours <= theirs or theirs <= ours) and _given(other).keys() <= _given(one).keys()
