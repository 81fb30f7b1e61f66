"""PP-LCNet, a vision network made for CPUs (arXiv 2109.15099), and PP-LCNetV2: others' weights, features, deployed form."""

from ernest.lcnet.architecture import (
    PP_LCNET,
    PUBLISHED,
    SCALES,
    STRIDES_32,
    STRIDES_64,
    Architecture,
    Block,
    rewired,
    second_version,
    small_images,
)
from ernest.lcnet.checkpoints import load
from ernest.lcnet.counts import Cost, cost, parameters, published_parameters
from ernest.lcnet.folding import folded
from ernest.lcnet.network import PPLCNet
from ernest.lcnet.preprocess import HUGGING_FACE, PADDLECLAS, TEXT_LINE, TIMM, Preprocessing, prepare

__all__ = [
    "HUGGING_FACE",
    "PADDLECLAS",
    "PP_LCNET",
    "PUBLISHED",
    "SCALES",
    "STRIDES_32",
    "STRIDES_64",
    "TEXT_LINE",
    "TIMM",
    "Architecture",
    "Block",
    "Cost",
    "PPLCNet",
    "Preprocessing",
    "cost",
    "folded",
    "load",
    "parameters",
    "prepare",
    "published_parameters",
    "rewired",
    "second_version",
    "small_images",
]
