"""What an answer should have been: one teacher-forced pass over the whole document, without cache or company."""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ernest.data.collate import collate
from ernest.data.examples import EncodedSegment, Example
from ernest.data.layout import PackedExample, tokenise_segments
from ernest.generation.request import Answer, Request
from ernest.model.network import Ernest
from ernest.model.submodel import SubModel, stack
from ernest.sequence.batch import Batch
from ernest.sequence.groups import CodeTokens, ScaleTokens, TextTokens, lay_out
from ernest.tokenizers.bundle import Tokenizers
from tests.references import likelihood


@dataclass(frozen=True)
class Group:
    """One predicted group: what stands there, its logits, and its log-probability under the model."""

    kind: str
    value: object
    logits: Tensor
    log_p: float
    position: int


def groups_of(
    model: Ernest, tokenizers: Tokenizers, request: Request, answer: Answer, submodel: SubModel | None
) -> tuple[list[Group], Tensor]:
    """The made groups of a document in order, and the experts of all its positions `[layers, positions, k]`."""
    given = tokenise_segments(request.prompt, tokenizers, tokenizers.text.encode)
    made, segments, bits = [], list(request.prompt), []
    for part in answer.segments:
        if part.kind == "text":
            made.append((TextTokens(tuple(part.value)), True))
            segments.append(EncodedSegment("text", "", True))
        elif part.kind == "audio":
            made.append((CodeTokens(len(part.value)), True))
            segments.append(EncodedSegment("codes", part.value.numpy(), True))
        else:
            sizes = tokenizers.vision.quantiser.sizes
            made.append((ScaleTokens(len(part.value), sizes, part.kind == "video"), True))
            segments.append(EncodedSegment("latent", part.value.numpy(), True, part.kind == "video"))
            bits.append(part.bits)
    if not made:  # the model ended at once
        made.append((TextTokens(()), True))
        segments.append(EncodedSegment("text", "", True))
    layout = lay_out([*given, *made], tokenizers.control_tokens)
    batch = collate([[PackedExample(Example(tuple(segments), ""), layout)]], len(layout), tokenizers)
    batch = _with_bits(batch, request, bits, tokenizers)
    out = model(batch, None if submodel is None else stack([submodel], model.config))
    found = [_token(out.text[n], int(batch.token_target[0, p]), int(p)) for n, p in enumerate(batch.token_index)]
    found += _scales(out.bits, batch.cell_targets.bits, batch.cell_targets.scale, batch.cell_targets.index)
    codes = torch.stack(out.codes, dim=1)
    found += [
        _codes(codes[n], value, int(p))
        for n, (p, value) in enumerate(zip(batch.code_targets.index, batch.code_targets.value, strict=True))
    ]
    order = {"token": 0, "bits": 1, "codes": 1}
    return sorted(found, key=lambda group: (group.position, order[group.kind])), out.router_output.expert_ids[:, 0]


def _with_bits(batch: Batch, request: Request, made: list[Tensor], tokenizers: Tokenizers) -> Batch:
    """With the bits of made pictures behind those of drawn ones in the prompt, which are no targets."""
    drawn = [torch.from_numpy(segment.data).float() for segment in request.prompt if segment.form == "latent"]
    given = [tokenizers.vision.quantiser.history(latent).bits for latent in drawn]
    if not given and not made:
        return batch
    filled = likelihood.with_bits(batch, [*given, *made], tokenizers.vision.quantiser)
    targets = replace(filled.cell_targets, bits=filled.cell_targets.bits[sum(bits[..., 0].numel() for bits in given) :])
    return replace(filled, cell_targets=targets)


def _token(logits: Tensor, token: int, position: int) -> Group:
    return Group("token", token, logits, float(F.log_softmax(logits, -1)[token]), position)


def _codes(logits: Tensor, codes: Tensor, position: int) -> Group:
    return Group("codes", codes, logits, float(F.log_softmax(logits, -1).gather(1, codes[:, None]).sum()), position)


def _scales(logits: Tensor, bits: Tensor, scale: Tensor, index: Tensor) -> list[Group]:
    found, start = [], 0
    while start < len(bits):
        end = start
        while (
            end < len(bits)
            and scale[end] == scale[start]
            and (end == start or (index[end] == index[end - 1] + 1 and scale[start] > 0))
        ):
            end += 1
        log_p = -F.binary_cross_entropy_with_logits(logits[start:end], bits[start:end], reduction="none").sum()
        found.append(Group("bits", bits[start:end] > 0, logits[start:end], float(log_p), int(index[end - 1])))
        start = end
    return found
