"""PP-LCNet, a vision network made for CPUs (arXiv 2109.15099), and PP-LCNetV2: others' weights, features, deployment."""

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
from ernest.lcnet.classification import Answer, classify
from ernest.lcnet.deployment.aot import ahead_of_time
from ernest.lcnet.deployment.deploy import Deployment, deploy
from ernest.lcnet.deployment.export import onnx_model, openvino_model
from ernest.lcnet.deployment.runtimes import Model, open_model
from ernest.lcnet.folding import folded
from ernest.lcnet.image_io.preprocess import HUGGING_FACE, PADDLECLAS, TEXT_LINE, TIMM, Preprocessing, prepare
from ernest.lcnet.image_io.read import read_picture
from ernest.lcnet.network import PPLCNet
from ernest.lcnet.profiling.cost import Cost, cost, parameters, published_parameters
from ernest.lcnet.weights.foreign import load
from ernest.lcnet.weights.native import Saved, read, save

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
