"""Folded networks as graphs for other runtimes: ONNX, written node by node, and OpenVINO's intermediate form, read from it.

A clean graph is what converters ask for: Conv, HardSwish, ReduceMean, Relu, HardSigmoid, Mul and Gemm are all that a
PP-LCNet consists of (PP-LCNetV2 adds Add and Sigmoid), one input of free batch and size, one output, no shape arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from ernest.lcnet.folding import fold
from ernest.lcnet.network import DepthwiseSeparable, Head, PPLCNet, SqueezeExcite
from ernest.lcnet.weights.native import KEY

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto
    from openvino import Model

OPSET = 17
"""Old enough for the runtimes of 2022, and the axes of ReduceMean are an attribute still."""

IR_VERSION = 8
"""The version of the container that came with this operator set."""


def onnx_model(network: PPLCNet, metadata: str = "") -> ModelProto:
    """`images` float32 `[batch, channels, height, width]`, the first and the last two free, to `logits` `[batch, classes]`.

    `network` may be folded or not and is not changed. `metadata`, a JSON text, goes into the model's metadata properties.
    """
    from onnx import TensorProto, checker, helper

    graph = _Graph()
    last = graph.add_network(fold(network), "images")
    graph.nodes[-1].output[0] = "logits"
    assert last == graph.nodes[-1].name
    channels, classes = network.architecture.in_channels, network.architecture.classes
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", channels, "height", "width"])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", classes])
    whole = helper.make_graph(graph.nodes, "PP-LCNet", [images], [logits], graph.constants)
    model = helper.make_model(
        whole, producer_name="ernest.lcnet", opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )
    set_metadata(model, metadata)
    checker.check_model(model, full_check=True)
    return model


def set_metadata(model: ModelProto, metadata: str) -> None:
    """Stores `metadata` in the ONNX model's metadata properties, where runtimes and viewers show it."""
    from onnx import helper

    helper.set_model_props(model, {KEY: metadata} if metadata else {})


def openvino_model(network: PPLCNet, metadata: str = "") -> Model:
    """The graph of `onnx_model` in OpenVINO, with `metadata`, a JSON text, in its runtime information."""
    import openvino

    model = openvino.Core().read_model(onnx_model(network).SerializeToString())
    if metadata:
        model.set_rt_info(metadata, [KEY])
    return model


# --------------------------------------------------------------------------------------------------------- the graph

ACTIVATIONS: dict[type[nn.Module], tuple[str, dict[str, float]]] = {
    nn.Hardswish: ("HardSwish", {}),
    nn.ReLU: ("Relu", {}),
    nn.Sigmoid: ("Sigmoid", {}),
    nn.Hardsigmoid: ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}),
}


@dataclass
class _Graph:
    """Nodes in the order in which they run, and their weights. A value is called like the node that makes it."""

    nodes: list[NodeProto] = field(default_factory=list)
    constants: list[TensorProto] = field(default_factory=list)

    def add_network(self, network: PPLCNet, images: str) -> str:
        x = self.add(network.stem, "stem", images)
        x = self.add(network.stages, "stages", x)
        return self.add(network.head, "head", x)

    def add(self, module: nn.Module, name: str, x: str) -> str:
        """Appends what `module`, which the network calls `name`, does to the value `x`; returns the name of the result."""
        match module:
            case nn.Conv2d():
                return self._convolution(module, name, x)
            case nn.Linear():
                return self.node("Gemm", name, [x, *self._weights(module, name)], transB=1)
            case SqueezeExcite():
                pooled = self.node("ReduceMean", f"{name}.pool", [x], axes=[2, 3], keepdims=1)
                return self.node("Mul", f"{name}.scale", [x, self.add(module.gate, f"{name}.gate", pooled)])
            case Head():
                pooled = self.node("ReduceMean", f"{name}.pool", [x], axes=[2, 3], keepdims=0)
                wide = self.add(module.wide, f"{name}.wide", pooled)
                return self.add(module.classifier, f"{name}.classifier", wide)
            case nn.Sequential():
                out = x
                for part, child in module.named_children():
                    out = self.add(child, f"{name}.{part}", out)
                shortcut = isinstance(module, DepthwiseSeparable) and module.shortcut
                return self.node("Add", f"{name}.add", [x, out]) if shortcut else out
            case nn.Identity():
                return x
            case _:
                kind, numbers = ACTIVATIONS[type(module)]
                return self.node(kind, name, [x], **numbers)

    def node(self, kind: str, name: str, inputs: list[str], **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def _convolution(self, module: nn.Conv2d, name: str, x: str) -> str:
        sizes = {"kernel_shape": module.kernel_size, "strides": module.stride, "pads": (*module.padding, *module.padding)}
        return self.node("Conv", name, [x, *self._weights(module, name)], group=module.groups, **sizes)

    def _weights(self, module: nn.Conv2d | nn.Linear, name: str) -> list[str]:
        from onnx import numpy_helper

        names: list[str] = []
        for leaf, tensor in (("weight", module.weight), ("bias", module.bias)):
            if isinstance(tensor, Tensor):
                names.append(f"{name}.{leaf}")
                self.constants.append(numpy_helper.from_array(tensor.detach().float().numpy(), names[-1]))
        return names
