"""Responses packed into rows, with every choice of the sampler at the place where the trainer's network predicts it.

A response consists of groups, and a group of elements: one token, the bits of a scale, or the codes of a codec frame. What the
rules laid down, and nobody chose, is no element.

Shapes: E elements, ordered as tokens, bits, codes level by level.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from ernest.config.tables import ModelConfig
from ernest.data.collate import collate, rows_of_history
from ernest.data.examples import EncodedSegment, Example
from ernest.data.layout import PackedExample, lay_out_segments, tokenise_segments
from ernest.generation.choices import token_bias
from ernest.generation.request import MadeSegment
from ernest.generation.row import Allowed
from ernest.generation.text_states import TextStates
from ernest.model.submodel import SubModel, SubModels, stack
from ernest.rl.rollout import MODALITY, Choice, Response
from ernest.sequence.batch import Batch
from ernest.sequence.groups import CodeTokens, ScaleTokens, TextTokens, Tokens
from ernest.tokenizers.bundle import Tokenizers


@dataclass(frozen=True, eq=False)
class Elements:
    """What is known of each element beside the weights, `[E]` each: the numbers of its `response`, `segment` and `group`, counted
    over an update; its modality and the scale of a bit (-1 of others); the `log_prob` under the policy that sampled it, and the
    `version` of the weights that did."""

    response: Tensor
    segment: Tensor
    group: Tensor
    modality: Tensor
    scale: Tensor
    log_prob: Tensor
    version: Tensor

    def select(self, kept: Tensor) -> "Elements":
        """Those of a mask or an index."""
        return Elements(*(getattr(self, field.name)[kept] for field in fields(self)))


def join(parts: Sequence[Elements]) -> Elements:
    """The elements of several batches, one behind the other."""
    return Elements(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(Elements)))


@dataclass(frozen=True, eq=False)
class ResponseBatch:
    """Packed responses with their elements. `replay` `[layers, rows, length, k]` are the experts that ran in the sampler, -1
    where none is known; `missing` counts the positions of choices without them.

    Of every modality there is the index of its elements' logits among those of the batch, and the temperature; of tokens also the
    bias that keeps out what could not be chosen.
    """

    batch: Batch
    submodels: SubModels | None
    replay: Tensor | None
    missing: int
    elements: Elements
    text_index: Tensor
    text_temperature: Tensor
    text_bias: Tensor
    bit_index: Tensor
    bit_temperature: Tensor
    code_index: Tensor
    code_temperature: Tensor


def lay_out_response(response: Response, tokenizers: Tokenizers) -> PackedExample:
    """A response as the document that the sampler went through. Raises ValueError for a prompt that holds a drawn picture."""
    prompt = response.ask.prompt
    if any(segment.form == "latent" for segment in prompt):
        raise ValueError("prompt: a picture that was drawn cannot be trained behind: give its pixels")
    assert response.segments is not None
    given = tokenise_segments(prompt, tokenizers, tokenizers.text.encode)
    made = [_made(segment, tokenizers) for segment in response.segments]
    segments = (*prompt, *(segment for segment, _ in made))
    tokens = [*given, *((tokens, True) for _, tokens in made)]
    return lay_out_segments(Example(segments, ""), tokens, tokenizers)


def _made(segment: MadeSegment, tokenizers: Tokenizers) -> tuple[EncodedSegment, Tokens]:
    """The latents of pictures are blank: their rows are made from the bits that were chosen (`_with_bits`)."""
    if segment.kind == "text":
        return EncodedSegment("text", "", True), TextTokens(tuple(segment.value))
    if segment.kind == "audio":
        return EncodedSegment("codes", segment.value.numpy(), True), CodeTokens(len(segment.value))
    blank = np.zeros(tuple(segment.value.shape), np.float16)
    tokens = ScaleTokens(len(blank), tokenizers.vision.quantiser.sizes, segment.kind == "video")
    return EncodedSegment("latent", blank, True, segment.kind == "video"), tokens


def pack_responses(
    responses: Sequence[Response], tokenizers: Tokenizers, config: ModelConfig, positions: int, replays: bool = True
) -> list[ResponseBatch]:
    """All responses in batches of `positions` at most, or of one row; those of a sub-model together.

    Without `replays` the network chooses its experts anew."""
    states = TextStates(tokenizers.text.pieces)
    laid_out = [lay_out_response(response, tokenizers) for response in responses]
    numbers: dict[SubModel | None, list[int]] = {}
    for number, response in enumerate(responses):
        numbers.setdefault(response.ask.submodel, []).append(number)
    first_group, first_segment = _first(len(one.choices) for one in responses), _first(map(_segments_of, responses))
    batches = []
    for submodel, chosen in numbers.items():
        rows = _rows(chosen, [len(packed.layout) for packed in laid_out])
        length = max(sum(len(laid_out[n].layout) for n in row) for row in rows)
        count = max(1, positions // length)
        for start in range(0, len(rows), count):
            some = rows[start : start + count]
            builder = _Builder(tokenizers, states, config)
            for r, row in enumerate(some):
                at = r * length
                for n in row:
                    builder.add(responses[n], n, at, first_group[n], first_segment[n])
                    at += len(laid_out[n].layout)
            batch = collate([[laid_out[n] for n in row] for row in some], length, tokenizers)
            batch = _with_bits(batch, [responses[n] for row in some for n in row], tokenizers)
            batches.append(builder.finish(batch, submodel, replays))
    return batches


def _rows(chosen: Sequence[int], lengths: Sequence[int]) -> list[list[int]]:
    """Responses behind each other in rows as long as the longest, the first that has room."""
    longest = max(lengths[n] for n in chosen)
    rows: list[list[int]] = []
    room: list[int] = []
    for n in chosen:
        at = next((r for r, left in enumerate(room) if lengths[n] <= left), None)
        if at is None:
            rows.append([])
            room.append(longest)
            at = len(rows) - 1
        rows[at].append(n)
        room[at] -= lengths[n]
    return rows


def _first(counts: Iterable[int]) -> list[int]:
    return np.cumsum([0, *counts])[:-1].tolist()


def _segments_of(response: Response) -> int:
    return response.choices[-1].segment + 1 if response.choices else 0


def _with_bits(batch: Batch, responses: Sequence[Response], tokenizers: Tokenizers) -> Batch:
    """With the bits that were chosen, and what follows from them, in place of blank latents."""
    made = [segment.bits for response in responses for segment in response.segments or () if segment.bits is not None]
    if not made:
        return batch
    quantiser = tokenizers.vision.quantiser
    rows = rows_of_history(quantiser.retrace(torch.cat(made)), [len(bits) for bits in made], quantiser)
    cells = replace(batch.cells, value=rows.value, frame=rows.frame)
    return replace(batch, cells=cells, cell_targets=replace(batch.cell_targets, bits=rows.bits))


class _Builder:
    """Notes the choices of a batch's responses, and turns them into its elements."""

    def __init__(self, tokenizers: Tokenizers, states: TextStates, config: ModelConfig) -> None:
        self.tokenizers, self.states, self.config = tokenizers, states, config
        self.noted: list[_Noted] = []

    def add(self, response: Response, number: int, at: int, first_group: int, first_segment: int) -> None:
        """The choices of response `number`, which begins at flat position `at`."""
        for n, choice in enumerate(response.choices):
            self.noted.append(_Noted(choice, number, at + choice.position, first_group + n, first_segment + choice.segment))

    def finish(self, batch: Batch, submodel: SubModel | None, replays: bool) -> ResponseBatch:
        tokens, bits, codes = ([one for one in self.noted if MODALITY[one.choice.group] == m] for m in range(3))
        cells = [cell for one in bits for cell in range(one.at - len(one.choice.value) + 1, one.at + 1)]
        code_index = _among(batch.code_targets.index, [one.at for one in codes])
        ended = batch.code_targets.value[code_index, 0] == self.tokenizers.audio.config.codebook
        replay, missing = self._replay(batch, replays)
        return ResponseBatch(
            batch,
            None if submodel is None else stack([submodel] * len(batch.token_id), self.config),
            replay,
            missing,
            join([_elements(tokens), _elements(bits), *_code_elements(codes, ended)]),
            _among(batch.token_index, [one.at for one in tokens]),
            torch.tensor([one.choice.temperature for one in tokens]),
            self._bias([one.choice.allowed for one in tokens]),
            _among(batch.cell_targets.index, cells),
            torch.tensor([one.choice.temperature for one in bits for _ in one.choice.value]),
            code_index,
            torch.tensor([one.choice.temperature for one in codes]),
        )

    def _replay(self, batch: Batch, replays: bool) -> tuple[Tensor | None, int]:
        """Experts `[layers, rows, length, k]`, and at how many positions of choices they are unknown."""
        replay = torch.full((self.config.layers, batch.token_id.numel(), self.config.top_k), -1)
        missing = 0
        for one in self.noted:
            count = len(one.choice.value) if one.choice.group == "bits" else 1
            experts = one.choice.experts
            if experts is None or not replays:
                missing += count
            else:
                replay[:, one.at - count + 1 : one.at + 1] = experts
        return (replay.unflatten(1, tuple(batch.token_id.shape)) if replays else None), missing

    def _bias(self, keys: Sequence[Allowed | None]) -> Tensor:
        """What could not be chosen, as minus infinity `[tokens, vocabulary]`."""
        bias = torch.zeros(len(keys), self.tokenizers.text.vocab_size)
        known = {key: token_bias(self.states, *key) for key in set(keys) if key is not None}
        for row, key in zip(bias, keys, strict=True):
            if key is not None:
                row.copy_(known[key])
        return bias


@dataclass(frozen=True, eq=False)
class _Noted:
    """A choice with the number of its response, the flat position that predicts it, and the numbers of its group and segment."""

    choice: Choice
    response: int
    at: int
    group: int
    segment: int


def _among(index: Tensor, wanted: Sequence[int]) -> Tensor:
    """Where the flat positions `wanted` stand in a rising `index`. Raises ValueError where one is missing."""
    asked = torch.tensor(wanted, dtype=torch.long)
    found = torch.searchsorted(index, asked).clamp_max(max(len(index) - 1, 0))
    if len(asked) and not (len(index) and torch.equal(index[found], asked)):
        raise ValueError("a choice of the sampler stands where the trainer's layout predicts nothing")
    return found


def _elements(noted: Sequence[_Noted], log_probs: Sequence[Tensor] | None = None) -> Elements:
    """Of choices with their log-probabilities, by default all that they have."""
    parts = [one.choice.log_probs for one in noted] if log_probs is None else log_probs
    counts = torch.tensor([len(part) for part in parts], dtype=torch.long)
    table = [
        (one.response, one.segment, one.group, MODALITY[one.choice.group], one.choice.scale, one.choice.version) for one in noted
    ]
    columns = torch.tensor(table, dtype=torch.long).reshape(-1, 6).repeat_interleave(counts, dim=0)
    response, segment, group, modality, scale, version = columns.unbind(1)
    log_prob = torch.cat(list(parts)) if parts else torch.zeros(0)
    return Elements(response, segment, group, modality, torch.where(modality == 1, scale, -1), log_prob, version)


def _code_elements(noted: Sequence[_Noted], ended: Tensor) -> list[Elements]:
    """Level by level; the levels behind the end of a sound follow from it and are no choices."""
    if not noted:
        return []
    found = []
    for level in range(len(noted[0].choice.value)):
        some = [one for one, end in zip(noted, ended.tolist(), strict=True) if not (level and end)]
        found.append(_elements(some, [one.choice.log_probs[level : level + 1] for one in some]))
    return found
