"""From few bits to many within one training (ERNIE 5.0 §2.2.1): it begins with a vision tokenizer of few bits, and goes on with
one of many. The network stays, but for what reads and says bits, which becomes wider.

The beginning is a run of its own in the folder `FIRST` of the run, with tokenizers and examples of its own. Its last state, made
wider, is the state with which the run goes on, so that either may be cut anywhere.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ernest.storage import load_tensors, remove_files, save_tensors, write_folder, write_text
from ernest.training.resume import LOG, PROGRESS, STATE_FILES, newest_state

FIRST = "first"
"""The folder of a run with what it begins with: tokenizers of few bits, examples, states."""
SMALL = 0.06
"""Deviation of new weights of the head times the root of its inputs: a tenth of what a new network begins with."""
WIDER = {"cell_projection.weight": (1, 2), "frame_projection.weight": (1, 1), "bit_head.weight": (0, 1), "bit_head.bias": (0, 1)}
"""What has bits along an axis: the axis, and how often it runs through them. `cell_projection` reads the frame's sum so far and
the frame before it, `frame_projection` all cells of a bit after each other."""


def widen(tensors: Mapping[str, Tensor], bits: int, wanted: int, generator: torch.Generator | None = None) -> dict[str, Tensor]:
    """Weights, or moments `NAME/KEY` of them, of a network of `bits` as those of one of `wanted` bits. What is new is 0; rows of
    the head are small and random where a `generator` is given."""
    found = dict(tensors)
    for name, value in tensors.items():
        parameter = name.partition("/")[0]
        if parameter not in WIDER or not value.dim():
            continue
        axis, times = WIDER[parameter]
        split = value.unflatten(axis, (times, bits, -1))
        new = split.new_zeros(*split.shape[: axis + 1], wanted - bits, *split.shape[axis + 2 :])
        if parameter == "bit_head.weight" and generator is not None:
            new = torch.randn(new.shape, generator=generator, dtype=new.dtype) * SMALL / value.shape[1] ** 0.5
        found[name] = torch.cat([split, new], axis + 1).flatten(axis, axis + 2)
    return found


def switch(run: Path, bits: int, wanted: int, seed: int, origin: str) -> None:
    """Makes the last state of the run's beginning the first of the run itself, whose fingerprint is `origin`, with the log of the
    steps so far; a run that has a state is left as it is."""
    first = run / FIRST
    state = newest_state(first)
    if state is None or newest_state(run) is not None:
        return
    shutil.copyfile(first / LOG, run / LOG)
    progress = json.loads((state / PROGRESS).read_text()) | {"fingerprint": origin}
    generator = torch.Generator().manual_seed(seed)
    with write_folder(run / state.name) as aside:
        for kind, draws in (("model", generator), ("optimizer", None)):
            tensors = load_tensors(state / f"{kind}.safetensors")
            save_tensors(aside / f"{kind}.safetensors", widen(tensors, bits, wanted, draws))
        write_text(aside / PROGRESS, json.dumps(progress, indent=1))
    remove_files(state, *STATE_FILES)
