"""What rows feed to the trunk: the inputs of tokens, of the cells of a scale, of finished frames and of codec frames."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ernest.generation.row import Feed, Row
from ernest.model.network import Ernest
from ernest.sequence.batch import Cells
from ernest.tokenizers.bundle import Tokenizers


def positions_of(feed: Feed, tokenizers: Tokenizers) -> int:
    """How many positions a feed takes."""
    height, width = tokenizers.vision.quantiser.sizes[feed.scale] if feed.what == "cells" else (1, 1)
    return height * width


def inputs_of(together: Sequence[tuple[Row, Feed]], model: Ernest, tokenizers: Tokenizers) -> Tensor:
    """The inputs `[rows, positions, width]` of feeds that all take as many positions."""
    device = model.token_embedding.weight.device
    kinds: dict[tuple[str, int], list[int]] = {}
    for r, (_, feed) in enumerate(together):
        kinds.setdefault((feed.what, feed.scale), []).append(r)
    parts = []
    for (what, scale), chosen in kinds.items():
        some = [together[r] for r in chosen]
        if what == "token":
            parts.append(model.token_embedding(torch.tensor([[feed.token] for _, feed in some], device=device)))
            continue
        value = torch.stack([feed.value for _, feed in some if feed.value is not None])
        if what == "codes":
            parts.append(model.audio.embed(value.to(device))[:, None])
        else:
            previous = torch.stack([row.frames.previous for row, _ in some])
            parts.append(_cells(value, previous, scale, what == "sum", model, tokenizers))
    if len(parts) == 1:
        return parts[0]
    order = torch.tensor([r for chosen in kinds.values() for r in chosen], device=device)
    return torch.cat(parts)[order.argsort()]


def _cells(total: Tensor, previous: Tensor, scale: int, is_sum: bool, model: Ernest, tokenizers: Tokenizers) -> Tensor:
    """Inputs `[rows, cells, width]` of one scale, beside the frame before; or of SΣ, with the whole frame."""
    quantiser, device = tokenizers.vision.quantiser, model.token_embedding.weight.device
    value = quantiser.down(total, scale).flatten(2).transpose(1, 2)
    beside = torch.zeros_like(value) if is_sum else quantiser.down(previous, scale).flatten(2).transpose(1, 2)
    rows, cells, _ = value.shape
    index = torch.arange(rows * cells, device=device)
    frames = total.flatten(1) if is_sum else total.new_zeros(0, model.frame_projection.in_features)
    flat = torch.cat([value, beside], dim=2).flatten(0, 1).to(device)
    scales = torch.full((rows * cells,), scale, device=device)
    inputs = Cells(index, flat, scales, index[: len(frames)], frames.to(device))
    empty = model.token_embedding.weight.new_zeros(rows * cells, model.config.width)
    return model.embed_cells(inputs, empty).unflatten(0, (rows, cells))
