"""Maps Ernest's tensor names to those of PaddleClas, timm (both versions of each) and Hugging Face, and tells whose names are.

Hugging Face's names are those that transformers 5.23 and 5.24 write, timm's those of 1.0.31.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal, TypeVar

from ernest.lcnet.architecture import Block

Value = TypeVar("Value")

WRAPPED = re.compile(r"(\.)(?:(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.)+")
"""What torch puts into the middle of names; at their beginning it is a prefix."""

Origin = Literal["PaddleClas", "PaddleClas V2", "timm", "timm V2", "Hugging Face"]


@dataclass(frozen=True)
class Spelling:
    """How one origin spells the parts of a network. Pairs are convolution and normalisation, or reduce and expand; `steps` are
    what a pointwise convolution in two has instead of `pw_conv`."""

    stem: tuple[str, str]
    depthwise: tuple[str, str]
    pointwise: tuple[str, str]
    squeeze: tuple[str, str]
    head: str
    classifier: str
    statistics: tuple[str, str] = ("running_mean", "running_var")
    steps: tuple[str, str] = ("pw_conv_1", "pw_conv_2")


PADDLE = Spelling(
    stem=("conv1.conv", "conv1.bn"),
    depthwise=("dw_conv.conv", "dw_conv.bn"),
    pointwise=("pw_conv.conv", "pw_conv.bn"),
    squeeze=("se.conv1", "se.conv2"),
    head="last_conv",
    classifier="fc",
    statistics=("_mean", "_variance"),
)

SPELLINGS: Mapping[Origin, Spelling] = MappingProxyType(
    {
        "PaddleClas": PADDLE,
        "PaddleClas V2": replace(PADDLE, stem=("stem.0.conv", "stem.0.bn")),
        "timm": Spelling(
            stem=("conv_stem", "bn1"),
            depthwise=("conv_dw", "bn1"),
            pointwise=("conv_pw", "bn2"),
            squeeze=("se.conv_reduce", "se.conv_expand"),
            head="conv_head",
            classifier="classifier",
        ),
        "timm V2": Spelling(
            stem=("stem.0.conv", "stem.0.bn"),
            depthwise=("dw_conv.conv", "dw_conv.bn"),
            pointwise=("pw_conv.conv", "pw_conv.bn"),
            squeeze=("se.fc1", "se.fc2"),
            head="conv_head",
            classifier="classifier",
            steps=("pw_conv.0", "pw_conv.1"),
        ),
        "Hugging Face": Spelling(
            stem=("encoder.convolution.convolution", "encoder.convolution.normalization"),
            depthwise=("depthwise_convolution.convolution", "depthwise_convolution.normalization"),
            pointwise=("pointwise_convolution.convolution", "pointwise_convolution.normalization"),
            squeeze=("squeeze_excitation_module.convolutions.0", "squeeze_excitation_module.convolutions.2"),
            head="last_convolution",
            classifier="head",
        ),
    }
)
"""No two origins spell the stem and its statistics alike."""


def is_second(origin: Origin) -> bool:
    """Whether the names are those of PP-LCNetV2."""
    return origin.endswith("V2")


def unwrap(name: str) -> str:
    """The name that a tensor had before parts of its network were compiled or wrapped, each by itself."""
    return WRAPPED.sub(r"\1", name)


def unwrapped(tensors: Mapping[str, Value]) -> dict[str, Value]:
    """By the names that they had before."""
    return {unwrap(name): tensor for name, tensor in tensors.items()}


def networks_in(names: Collection[str]) -> dict[str, Origin]:
    """Whose networks the names spell, by the prefix that a wrapper put before all names of one ("module.", "model.", or "").

    A network shows by its stem. Both second versions spell its convolution alike, and only Paddle says `_mean`.
    """
    found: dict[str, Origin] = {}
    for origin, spelling in SPELLINGS.items():
        (convolution, norm), (mean, _) = spelling.stem, spelling.statistics
        for name in names:
            prefix = name.removesuffix(f"{convolution}.weight")
            if prefix == name or (prefix and not prefix.endswith(".")):
                continue
            if prefix not in found or f"{prefix}{norm}.{mean}" in names:
                found[prefix] = origin
    return found


def their_name(origin: Origin, name: str, block: Block | None = None) -> str:
    """What `origin` calls our tensor `name`, which lies in `block` if it lies in the stages."""
    spelling = SPELLINGS[origin]
    layer, leaf = name.rsplit(".", 1)
    match layer.split("."):
        case ["stem", half]:
            layer = spelling.stem[int(half)]
        case ["head", "wide", _]:
            layer = spelling.head
        case ["head", _]:
            layer = spelling.classifier
        case ["stages", stage, index, *part]:
            assert block is not None
            layer = f"{_their_block(origin, int(stage), int(index))}.{_their_part(spelling, part, block)}"
    own = {"running_mean": spelling.statistics[0], "running_var": spelling.statistics[1]}
    return f"{layer}.{own.get(leaf, leaf)}"


def _their_part(spelling: Spelling, part: list[str], block: Block) -> str:
    half = int(part[-1])
    match part:
        case ["0", "branches", branch, _]:
            return spelling.depthwise[half].replace("dw_conv", f"dw_conv_list.{branch}")
        case ["0", _]:
            return spelling.depthwise[half]
        case [_, "gate", _]:
            return spelling.squeeze[half // 2]  # the activation between the two counts
        case _:
            step = spelling.steps[int(part[0]) - block.squeeze - 1] if block.split else "pw_conv"
            return spelling.pointwise[half].replace("pw_conv", step)


def _their_block(origin: Origin, stage: int, index: int) -> str:
    match origin:
        case "PaddleClas":
            return f"blocks{stage + 2}.{index}"
        case "PaddleClas V2" | "timm V2":  # the stem's own block is our first stage
            return f"stages.{stage - 1}.{index}" if stage else "stem.1"
        case "Hugging Face":
            return f"encoder.blocks.{stage}.layers.{index}"
        case "timm":  # our fourth stage is cut in two, after its second block
            cut = stage == 4 or (stage == 3 and index >= 2)
            return f"blocks.{stage + cut}.{index - 2 * (cut and stage == 3)}"
