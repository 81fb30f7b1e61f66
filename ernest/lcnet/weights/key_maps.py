"""Maps Ernest's tensor names to those of PaddleClas (both versions), timm and Hugging Face."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

from ernest.lcnet.architecture import Block

Origin = Literal["PaddleClas", "PaddleClas V2", "timm", "Hugging Face"]


@dataclass(frozen=True)
class Spelling:
    """How one origin spells the parts of a network. Pairs are convolution and normalisation, or reduce and expand."""

    stem: tuple[str, str]
    depthwise: tuple[str, str]
    pointwise: tuple[str, str]
    squeeze: tuple[str, str]
    head: str
    classifier: str
    statistics: tuple[str, str] = ("running_mean", "running_var")


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
        "Hugging Face": Spelling(
            stem=("embedder.convolution.convolution", "embedder.convolution.normalization"),
            depthwise=("depthwise_convolution.convolution", "depthwise_convolution.normalization"),
            pointwise=("pointwise_convolution.convolution", "pointwise_convolution.normalization"),
            squeeze=("squeeze_excitation_module.convolution1", "squeeze_excitation_module.convolution2"),
            head="last_convolution",
            classifier="fc",
        ),
    }
)
"""No two origins spell the stem alike."""


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
            step = f"pw_conv_{int(part[0]) - block.squeeze}" if block.split else "pw_conv"
            return spelling.pointwise[half].replace("pw_conv", step)


def _their_block(origin: Origin, stage: int, index: int) -> str:
    match origin:
        case "PaddleClas":
            return f"blocks{stage + 2}.{index}"
        case "PaddleClas V2":  # the stem's own block is our first stage
            return f"stages.{stage - 1}.{index}" if stage else "stem.1"
        case "Hugging Face":
            return f"encoder.blocks.{stage}.layers.{index}"
        case "timm":  # our fourth stage is cut in two, after its second block
            cut = stage == 4 or (stage == 3 and index >= 2)
            return f"blocks.{stage + cut}.{index - 2 * (cut and stage == 3)}"
