"""Folded networks as graphs for other runtimes: ONNX, written node by node, and OpenVINO's intermediate form, read from it.

A clean graph is what converters ask for: Conv, HardSwish, ReduceMean, Relu, Clip, Mul and Gemm are all that a PP-LCNet
consists of (PP-LCNetV2 adds Add and Sigmoid), one input of free batch and size, one output, no shape arithmetic.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ernest.lcnet.folding import fold
from ernest.lcnet.image_io.preprocess import PADDLECLAS, Preprocessing
from ernest.lcnet.network import DepthwiseSeparable, Head, PPLCNet, SqueezeExcite
from ernest.lcnet.weights.native import KEY

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto
    from openvino import Model

OPSET = 17
"""Old enough for the runtimes of 2022, and the axes of ReduceMean are an attribute still."""

IR_VERSION = 8
"""The version of the container that came with this operator set."""


PICTURES = "pictures"
"""The input of a graph that takes uint8 `[N, H, W, C]`; that of others is called images."""

AROUND = "around."
"""How the names of nodes begin that are not the network's: normalisation before it, probabilities behind it."""


@dataclass(frozen=True)
class GraphForm:
    """What a graph for ONNX or OpenVINO takes and gives besides logits, for programs that are not Ernest.

    `pictures`: uint8 `[N, H, W, C]`, red first, normalised inside, instead of normalised images. `probabilities`, `features` (the
    pooled ones): more outputs. `weights_only`: int8 for OpenVINO of the weights alone, which needs no pictures. `many`: the
    probabilities are those of a network that gives pictures any number of labels; `deploy` takes that from the checkpoint.
    """

    pictures: bool = False
    probabilities: bool = False
    features: bool = False
    weights_only: bool = False
    many: bool = False


LOGITS = GraphForm()
"""From normalised images to logits alone: the smallest graph."""


def onnx_model(network: PPLCNet, metadata: str = "", form: GraphForm = LOGITS, rule: Preprocessing = PADDLECLAS) -> ModelProto:
    """`images` float32 `[batch, channels, height, width]`, the first and the last two free, to `logits` `[batch, classes]`.

    A `form` that takes pictures has the input `pictures`, uint8 `[batch, height, width, channels]`, as decoders give them, which
    are normalised by the `rule`; its `probabilities` and `features` `[batch, width]` are outputs behind `logits`. `network` may
    be folded or not and is not changed. `metadata`, a JSON text, goes into the model's metadata properties.
    """
    from onnx import TensorProto, checker, helper

    graph, folded = _Graph(), fold(network)
    channels, classes, width = network.architecture.in_channels, network.architecture.classes, network.feature_channels[-1]
    if not form.pictures:
        taken = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", channels, "height", "width"])
        images = "images"
    else:
        taken = helper.make_tensor_value_info(PICTURES, TensorProto.UINT8, ["batch", "height", "width", channels])
        images = graph.normalise(rule, folded)
    given = [("logits", classes)]
    graph.rename(graph.add_network(folded, images), "logits")
    if form.probabilities:
        kind, options = ("Sigmoid", {}) if form.many else ("Softmax", {"axis": 1})
        graph.rename(graph.node(kind, f"{AROUND}{kind.lower()}", ["logits"], **options), "probabilities")
        given.append(("probabilities", classes))
    if form.features:
        graph.rename("head.pool", "features")
        given.append(("features", width))
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size]) for name, size in given]
    whole = helper.make_graph(graph.nodes, "PP-LCNet", [taken], outputs, graph.constants)
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


def openvino_model(network: PPLCNet, metadata: str = "", form: GraphForm = LOGITS, rule: Preprocessing = PADDLECLAS) -> Model:
    """The graph of `onnx_model` in OpenVINO, with `metadata`, a JSON text, in its runtime information.

    OpenVINO's `save_model` halves weights to fp16 unless it gets `compress_to_fp16=False`.
    """
    import openvino

    graph = onnx_model(network, "", form, rule)
    model = openvino.Core().read_model(graph.SerializeToString())
    if metadata:
        model.set_rt_info(metadata, [KEY])
    return model


# --------------------------------------------------------------------------------------------------------- the graph

ACTIVATIONS: dict[type[nn.Module], str] = {nn.Hardswish: "HardSwish", nn.ReLU: "Relu", nn.Sigmoid: "Sigmoid"}


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
                gate = self.add(module.gate, f"{name}.gate", pooled)
                return self.node("Mul", f"{name}.scale", [x, gate])
            case nn.Sequential() if isinstance(module[-1], nn.Hardsigmoid):
                return self._hard_gate(module, name, x)
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
                return self.node(ACTIVATIONS[type(module)], name, [x])

    def _hard_gate(self, gate: nn.Sequential, name: str, x: str) -> str:
        """hard-sigmoid(W x + b) = clip((W / 6) x + (b / 6 + 1/2), 0, 1): OpenCV 5 takes y HardSigmoid(x) for HardSwish(x)."""
        reduce, activation, expand = gate[0], gate[1], deepcopy(gate[2])
        assert isinstance(expand, nn.Conv2d)
        assert expand.bias is not None
        expand.weight.data.div_(6)
        expand.bias.data.div_(6).add_(0.5)
        for part, module in enumerate((reduce, activation, expand)):
            x = self.add(module, f"{name}.{part}", x)
        limits = [self.constant(f"{name}.{side}", torch.tensor(bound)) for side, bound in (("least", 0.0), ("most", 1.0))]
        return self.node("Clip", f"{name}.3", [x, *limits])

    def normalise(self, rule: Preprocessing, network: PPLCNet) -> str:
        """Appends (levels / 255 - mean) / std for uint8 pictures. `network` is ours: its first weights are turned round where it
        wants blue first."""
        from onnx import TensorProto

        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (rule.mean, rule.std))
        if rule.bgr:
            stem = network.stem[0]
            assert isinstance(stem, nn.Conv2d)
            mean, std, stem.weight.data = mean.flip(0), std.flip(0), stem.weight.data.flip(1)
        x = self.node("Cast", f"{AROUND}cast", [PICTURES], to=TensorProto.FLOAT)
        x = self.node("Transpose", f"{AROUND}transpose", [x], perm=[0, 3, 1, 2])
        x = self.node("Mul", f"{AROUND}scale", [x, self.constant(f"{AROUND}factor", 1 / (255 * std))])
        return self.node("Sub", f"{AROUND}shift", [x, self.constant(f"{AROUND}mean", mean / std)])

    def rename(self, old: str, new: str) -> None:
        """Calls a value otherwise than the node that makes it."""
        for node in self.nodes:
            for names in (node.input, node.output):
                for place, name in enumerate(names):
                    names[place] = new if name == old else name

    def node(self, kind: str, name: str, inputs: list[str], **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def _convolution(self, module: nn.Conv2d, name: str, x: str) -> str:
        sizes = {"kernel_shape": module.kernel_size, "strides": module.stride, "pads": (*module.padding, *module.padding)}
        return self.node("Conv", name, [x, *self._weights(module, name)], group=module.groups, **sizes)

    def _weights(self, module: nn.Conv2d | nn.Linear, name: str) -> list[str]:
        both = (("weight", module.weight), ("bias", module.bias))
        return [self.constant(f"{name}.{leaf}", tensor) for leaf, tensor in both if isinstance(tensor, Tensor)]

    def constant(self, name: str, tensor: Tensor) -> str:
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(tensor.detach().float().contiguous().numpy(), name))
        return name
