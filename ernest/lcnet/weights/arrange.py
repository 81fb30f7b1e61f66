"""Finds the network in tensors with others' names, tells which architecture it is, and fills a `PPLCNet` with it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ernest.device import HOST
from ernest.lcnet.architecture import PUBLISHED, Architecture, Block
from ernest.lcnet.network import PPLCNet
from ernest.lcnet.weights.key_maps import SPELLINGS, Origin, is_second, networks_in, their_name, unwrapped
from ernest.lcnet.weights.load import check_numbers

COUNTERS = re.compile(r"(^|\.)(num_batches_tracked|total_ops|total_params|n_averaged)$")
MERGED = re.compile(r"^(.*\.)dw_conv\.(weight|bias)$")
"""The one kernel into which V2 merges its branches: it lies beside them, or in place of them in a network made ready to use."""

LATER = re.compile(r"[ .](lab\.(scale|bias)|conv_symmetric|conv_kxk|token_conv|stem2a)\b")
"""Parts of PP-LCNetV3 and V4 only, whose stems are named as ours."""

NORM_EPSILON = 1e-5


@dataclass(frozen=True)
class Parts:
    """The tensors of one network by the names of its origin, without the prefix that a wrapper gave them."""

    origin: Origin
    prefix: str
    tensors: Mapping[str, Tensor]

    @property
    def classes(self) -> int:
        return self.tensors[self.classifier].shape[0 if self.origin not in ("PaddleClas", "PaddleClas V2") else 1]

    @property
    def classifier(self) -> str:
        return f"{SPELLINGS[self.origin].classifier}.weight"

    @property
    def head(self) -> str:
        """The wide layer before the classifier."""
        return f"{SPELLINGS[self.origin].head}.weight"

    @property
    def has_wide_layer(self) -> bool:
        return self.head in self.tensors


def select(tensors: Mapping[str, Tensor]) -> Parts:
    """The network that the names spell; of a distillation the student. Raises ValueError if there is none or more than one."""
    if LATER.search(" ".join(tensors)):
        raise ValueError("PP-LCNetV3 and V4 are other networks, of which nothing is read")
    tensors = unwrapped(tensors)
    networks = networks_in(tensors)
    students = [prefix for prefix in networks if "student" in prefix.lower()]
    if not networks:
        some = ", ".join(list(tensors)[:3])
        raise ValueError(f"expected the names of PaddleClas, timm or Hugging Face, got {some}")
    if len(networks) > 1 and len(students) != 1:
        places = ", ".join(prefix or "names without a prefix" for prefix in networks)
        raise ValueError(f"holds several networks ({places}): save one of them alone")
    prefix = students[0] if students else next(iter(networks))
    inside = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    present = {re.sub(r"^stage([1-4])\.", lambda found: f"stages.{int(found[1]) - 1}.", name): name for name in inside}
    kept = {name: inside[old] for name, old in present.items() if not COUNTERS.search(name) and not _is_spare(name, present)}
    parts = Parts(networks[prefix], prefix, kept)
    if parts.classifier not in kept or kept[parts.classifier].ndim != 2:
        why = "" if parts.classifier in kept else ", without which it is a backbone and classifies nothing"
        raise ValueError(f"expected a classifier {prefix}{parts.classifier} of two dimensions{why}")
    check_numbers(kept)
    return parts


def _is_spare(name: str, names: Mapping[str, str]) -> bool:
    """Whether it is a merged kernel beside the branches that it was made of, and that are more exact."""
    found = MERGED.match(name)
    return found is not None and any(other.startswith(f"{found[1]}dw_conv_list.") for other in names)


def arrange(parts: Parts, factor: float) -> dict[str, Tensor]:
    """Float32 in our shapes: Paddle keeps linear layers transposed, all keep the wide layer as a convolution. The classifier's
    weights are multiplied by `factor`."""
    arranged = {name: tensor.float().clone(memory_format=torch.contiguous_format) for name, tensor in parts.tensors.items()}
    if parts.origin in ("PaddleClas", "PaddleClas V2"):
        arranged[parts.classifier] = arranged[parts.classifier].T.contiguous()
    if parts.has_wide_layer:
        arranged[parts.head] = arranged[parts.head].flatten(1)
    arranged[parts.classifier] *= factor
    check_numbers(arranged)  # what was finite as float64 need not be so now
    return arranged


def recognise(parts: Parts) -> Architecture:
    """The published architecture whose widths are most like those in the file, with the head that the file has."""
    second = is_second(parts.origin)
    version = [one for name, one in PUBLISHED.items() if name.startswith("PPLCNetV2") == second]
    nearest = max(version, key=lambda one: _agreement(parts, one))
    stem = parts.tensors[f"{SPELLINGS[parts.origin].stem[0]}.weight"]
    return replace(
        nearest,
        classes=parts.classes,
        head_width=len(parts.tensors[parts.head]) if parts.has_wide_layer else 0,
        head_bias=f"{SPELLINGS[parts.origin].head}.bias" in parts.tensors,
        in_channels=stem.shape[1] if stem.ndim == 4 else 3,
    )


def _agreement(parts: Parts, architecture: Architecture) -> int:
    """How many blocks of an architecture are in the file with the width that they should have."""
    agreeing = 0
    for stage, blocks in enumerate(architecture.stages):
        for index, block in enumerate(blocks):
            last = f"stages.{stage}.{index}.{1 + block.squeeze + block.split}.0.weight"
            found = parts.tensors.get(their_name(parts.origin, last, block))
            agreeing += found is not None and len(found) == architecture.width(block.channels)
    return agreeing


def fill_network(network: PPLCNet, origin: Origin, tensors: Mapping[str, Tensor], told_by: str = "") -> None:
    """Makes the tensors of a file the values of `network`, which has none yet, if there is one for each and none to spare.

    Raises ValueError, which names the first three that are not so; `told_by` names the file that the architecture is from.
    """
    state, faults, names = {}, [], set()
    tensors = _with_branches(network, origin, tensors)
    for name, tensor in network.state_dict().items():
        if COUNTERS.search(name):
            state[name] = torch.zeros_like(tensor, device=HOST)
            continue
        theirs = their_name(origin, name, _block_of(network, name))
        names.add(theirs)
        state[name] = tensors.get(theirs, tensor)
        if theirs not in tensors:
            faults.append(f"{theirs} is missing")
        elif state[name].shape != tensor.shape:
            faults.append(f"{theirs} is {list(state[name].shape)} instead of {list(tensor.shape)}")
    faults += [f"{extra} is not part of it" for extra in tensors if extra not in names]
    if faults:
        more = f", and {len(faults) - 3} more" if len(faults) > 3 else ""
        nearest = f"PP-LCNet{'V2' if is_second(origin) else ''} x{network.architecture.scale:g}"
        other = f"not the network of {told_by}, {nearest}; it differs" if told_by else ""
        raise ValueError(
            f"{other or f'no published network; from the nearest, {nearest}, it differs'}: {'; '.join(faults[:3])}{more}"
        )
    network.load_state_dict(state, assign=True)


def _block_of(network: PPLCNet, name: str) -> Block | None:
    _, *index = name.split(".")
    return network.architecture.stages[int(index[0])][int(index[1])] if name.startswith("stages.") else None


def _with_branches(network: PPLCNet, origin: Origin, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Where a file has one merged kernel instead of branches: as the largest branch, normalised by nothing, others zero."""
    spread = dict(tensors)
    for name, like in network.state_dict().items():
        theirs = their_name(origin, name, _block_of(network, name)) if ".branches." in name else ""
        merged = theirs.partition("dw_conv_list.")[0] + "dw_conv" if theirs else ""
        if f"{merged}.weight" not in tensors or COUNTERS.search(name):
            continue
        branch, half, leaf = name.split(".")[-3:]
        first, neutral = branch == "0", {"weight": 1.0, "running_var": 1.0 - NORM_EPSILON}.get(leaf, 0.0)
        if half == "0":
            spread[theirs] = tensors[f"{merged}.weight"] if first else torch.zeros(like.shape)
        elif leaf == "bias" and first:
            spread[theirs] = tensors.get(f"{merged}.bias", torch.zeros(like.shape))
        else:
            spread[theirs] = torch.full(like.shape, neutral)
        for leaf in ("weight", "bias"):
            spread.pop(f"{merged}.{leaf}", None)
    return spread
