"""PP-LCNet, a vision network made for CPUs (arXiv 2109.15099), and PP-LCNetV2: others' weights, features, deployment."""

from ernest.lcnet.answers import Answer, classify
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
from ernest.lcnet.deployment import Deployment, deploy
from ernest.lcnet.exports import onnx_model, openvino_model
from ernest.lcnet.files import Saved, read, save
from ernest.lcnet.folding import folded
from ernest.lcnet.inductor import ahead_of_time
from ernest.lcnet.models import Model, open_model
from ernest.lcnet.network import PPLCNet
from ernest.lcnet.pictures import read_picture
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
    "Answer",
    "Architecture",
    "Block",
    "Cost",
    "Deployment",
    "Model",
    "PPLCNet",
    "Preprocessing",
    "Saved",
    "ahead_of_time",
    "classify",
    "cost",
    "deploy",
    "folded",
    "load",
    "onnx_model",
    "open_model",
    "openvino_model",
    "parameters",
    "prepare",
    "published_parameters",
    "read",
    "read_picture",
    "rewired",
    "save",
    "second_version",
    "small_images",
]
