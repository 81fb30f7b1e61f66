"""PP-LCNet, a vision network made for CPUs (arXiv 2109.15099), and PP-LCNetV2: others' weights, features, deployment.

A name is imported when it is first asked for: whoever needs one part, such as the compiler, does not wait for all.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ernest.lcnet.architecture import (
        PP_LCNET,
        PUBLISHED,
        SCALES,
        STRIDES_32,
        STRIDES_64,
        STRIDES_TEXT_LINE,
        Architecture,
        Block,
        pplcnet_v2,
        rewire,
        small_images,
    )
    from ernest.lcnet.classification import Answer, classify
    from ernest.lcnet.decision import Decision
    from ernest.lcnet.deployment.aot import compile_ahead_of_time
    from ernest.lcnet.deployment.deploy import Deployment, deploy
    from ernest.lcnet.deployment.export import GraphForm, onnx_model, openvino_model
    from ernest.lcnet.deployment.runtimes import Model, open_model
    from ernest.lcnet.folding import fold
    from ernest.lcnet.image_io.preprocess import HUGGING_FACE, PADDLECLAS, TEXT_LINE, TIMM, Preprocessing, prepare
    from ernest.lcnet.image_io.read import read_picture
    from ernest.lcnet.network import PPLCNet
    from ernest.lcnet.profiling.cost import Cost, cost, parameters, published_parameters
    from ernest.lcnet.weights.foreign import load, load_checkpoint
    from ernest.lcnet.weights.given import Foreign
    from ernest.lcnet.weights.native import Checkpoint, save

__all__ = [
    "HUGGING_FACE",
    "PADDLECLAS",
    "PP_LCNET",
    "PUBLISHED",
    "SCALES",
    "STRIDES_32",
    "STRIDES_64",
    "STRIDES_TEXT_LINE",
    "TEXT_LINE",
    "TIMM",
    "Answer",
    "Architecture",
    "Block",
    "Checkpoint",
    "Cost",
    "Decision",
    "Deployment",
    "Foreign",
    "GraphForm",
    "Model",
    "PPLCNet",
    "Preprocessing",
    "classify",
    "compile_ahead_of_time",
    "cost",
    "deploy",
    "fold",
    "load",
    "load_checkpoint",
    "onnx_model",
    "open_model",
    "openvino_model",
    "parameters",
    "pplcnet_v2",
    "prepare",
    "published_parameters",
    "read_picture",
    "rewire",
    "save",
    "small_images",
]

_HOMES = {
    "architecture": "PP_LCNET PUBLISHED SCALES STRIDES_32 STRIDES_64 STRIDES_TEXT_LINE "
    "Architecture Block pplcnet_v2 rewire small_images",
    "classification": "Answer classify",
    "decision": "Decision",
    "deployment.aot": "compile_ahead_of_time",
    "deployment.deploy": "Deployment deploy",
    "deployment.export": "GraphForm onnx_model openvino_model",
    "deployment.runtimes": "Model open_model",
    "folding": "fold",
    "image_io.preprocess": "HUGGING_FACE PADDLECLAS TEXT_LINE TIMM Preprocessing prepare",
    "image_io.read": "read_picture",
    "network": "PPLCNet",
    "profiling.cost": "Cost cost parameters published_parameters",
    "weights.foreign": "load load_checkpoint",
    "weights.given": "Foreign",
    "weights.native": "Checkpoint save",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
