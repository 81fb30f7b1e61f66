"""Rollouts as tables and tensors, in which they are kept on disk and go from one process to another."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ernest.generation.request import MadeSegment
from ernest.rl.rollout import Ask, Choice, Key, Response

TABLE = ("position", "scale", "version", "segment", "cells", "values", "elements", "experts")


def pack_rollouts(rollouts: Mapping[Key, Response]) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
    """What is told of each rollout in JSON, and tensors of all their choices, one behind the other."""
    choices = [choice for response in rollouts.values() for choice in response.choices]
    about = [
        {
            "key": key,
            "end": response.end,
            "choices": len(response.choices),
            "groups": [choice.group for choice in response.choices],
            "allowed": [choice.allowed for choice in response.choices],
            "temperatures": [choice.temperature for choice in response.choices],
            "segments": None if response.segments is None else [_about(segment) for segment in response.segments],
        }
        for key, response in rollouts.items()
    ]
    values = [torch.as_tensor(choice.value).long() for choice in choices]
    experts = [choice.experts for choice in choices if choice.experts is not None]
    rows = [
        (c.position, c.scale, c.version, c.segment, len(v) if v.dim() == 2 else 0, v.numel(), len(c.log_probs), _positions(c))
        for c, v in zip(choices, values, strict=True)
    ]
    tensors = {
        "table": torch.tensor(rows, dtype=torch.int64).reshape(-1, len(TABLE)),
        "values": _cat([value.flatten() for value in values], torch.int64).to(torch.int32),
        "log_probs": _cat([choice.log_probs for choice in choices], torch.float32),
        "experts": torch.cat(experts, dim=1).to(torch.int16) if experts else torch.zeros(0, 0, 0, dtype=torch.int16),
    }
    for n, response in enumerate(rollouts.values()):
        for s, segment in enumerate(response.segments or ()):
            if segment.kind != "text":
                tensors[f"segment/{n}/{s}/value"] = segment.value.contiguous()
            if segment.bits is not None:
                tensors[f"segment/{n}/{s}/bits"] = segment.bits.to(torch.uint8).contiguous()
    return about, tensors


def unpack_rollouts(
    about: Sequence[Mapping[str, Any]], tensors: Mapping[str, Tensor], ask: Callable[[int], Ask]
) -> dict[Key, Response]:
    """The inverse of `pack_rollouts`; `ask` gives what a prompt of a number asks for."""
    table = [dict(zip(TABLE, row, strict=True)) for row in tensors["table"].tolist()]
    starts = {name: np.cumsum([0, *(row[name] for row in table)]) for name in ("values", "elements", "experts")}
    found: dict[Key, Response] = {}
    at = 0
    for n, told in enumerate(about):
        choices = []
        for own in range(told["choices"]):
            row, (v, e, x) = table[at], (slice(*starts[name][at : at + 2]) for name in ("values", "elements", "experts"))
            group, allowed = told["groups"][own], told["allowed"][own]
            choices.append(
                Choice(
                    group,
                    _value(group, tensors["values"][v].long(), row["cells"]),
                    row["position"],
                    row["scale"],
                    tensors["log_probs"][e],
                    told["temperatures"][own],
                    None if allowed is None else (allowed[0], allowed[1], tuple(allowed[2])),
                    tensors["experts"][:, x].long() if row["experts"] else None,
                    row["version"],
                    row["segment"],
                )
            )
            at += 1
        key: Key = (told["key"][0], told["key"][1])
        found[key] = Response(ask(key[0]), tuple(choices), _segments(told["segments"], tensors, n), told["end"])
    return found


def _positions(choice: Choice) -> int:
    return 0 if choice.experts is None else choice.experts.shape[1]


def _value(group: str, value: Tensor, cells: int) -> Any:
    if group == "token":
        return int(value[0])
    return value if group == "codes" else value.bool().view(cells, -1)


def _segments(told: Sequence[Mapping[str, Any]] | None, tensors: Mapping[str, Tensor], n: int) -> tuple[MadeSegment, ...] | None:
    if told is None:
        return None
    found = []
    for s, segment in enumerate(told):
        bits = tensors.get(f"segment/{n}/{s}/bits")
        value = segment["ids"] if segment["kind"] == "text" else tensors[f"segment/{n}/{s}/value"]
        found.append(MadeSegment(segment["kind"], value, None if bits is None else bits.bool()))
    return tuple(found)


def _about(segment: MadeSegment) -> dict[str, Any]:
    return {"kind": segment.kind, "ids": list(segment.value) if segment.kind == "text" else None}


def _cat(parts: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    return torch.cat(list(parts)) if parts else torch.zeros(0, dtype=dtype)
