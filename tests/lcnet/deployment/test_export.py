"""The ONNX graph: nothing but a network's own operators, and the eager network's logits in two runtimes at any size."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from ernest.lcnet import PUBLISHED, Architecture, PPLCNet, small_images
from ernest.lcnet.deployment.export import onnx_model, openvino_model

onnx = pytest.importorskip("onnx", reason="needs ernest-ai[deploy]")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs ernest-ai[deploy]")
openvino = pytest.importorskip("openvino", reason="needs ernest-ai[deploy]")

SHAPES = ((1, 3, 224, 224), (3, 3, 96, 160), (1, 3, 80, 160), (5, 3, 33, 47))
FIRST = {"Conv", "HardSwish", "ReduceMean", "Relu", "Clip", "Mul", "Gemm"}
SECOND = {"Conv", "ReduceMean", "Relu", "Sigmoid", "Mul", "Add", "Gemm"}
ARCHITECTURES = {
    "PPLCNet_x0_25": PUBLISHED["PPLCNet_x0_25"],
    "PPLCNet_x1_0": PUBLISHED["PPLCNet_x1_0"],
    "PPLCNetV2_small": PUBLISHED["PPLCNetV2_small"],
    "text lines": Architecture(classes=2, scale=0.25, strides=(2, (2, 1), (2, 1), (2, 1), (2, 1), (2, 1)), head_bias=True),
    "small": small_images(10),
    "relu, no hidden layer": Architecture(classes=5, scale=0.25, activation="relu", head_width=0),
}


@torch.no_grad()
def seen_noise(network: PPLCNet) -> PPLCNet:
    """Normalised by what its own maps hold, gains of one: with gains from a half to one and a half, eager PyTorch itself would
    be up to 1e-5 from double precision."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the average of all that is seen
    network.train()(torch.randn(4, 3, 160, 160))
    return network.eval()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_logits_of_both_runtimes_are_those_of_pytorch(name: str) -> None:
    network = seen_noise(PPLCNet(ARCHITECTURES[name]))
    data = onnx_model(network).SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    compiled = openvino.Core().compile_model(openvino_model(network), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for shape in SHAPES:
        images = torch.randn(shape, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            expected = network(images).numpy()
        allowed = 1e-5 * max(1.0, np.abs(expected).max())
        assert np.abs(session.run(None, {"images": images.numpy()})[0] - expected).max() <= allowed
        assert np.abs(compiled(images.numpy())[0] - expected).max() <= allowed


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_graph_holds_nothing_but_the_network(name: str) -> None:
    model = onnx_model(PPLCNet(replace(PUBLISHED[name], classes=7)).eval())
    kinds = Counter(node.op_type for node in model.graph.node)
    assert set(kinds) == (SECOND if name.startswith("PPLCNetV2") else FIRST)
    assert kinds["Gemm"] == 2
    assert [one.name for one in model.graph.input] == ["images"]
    assert [one.name for one in model.graph.output] == ["logits"]
    free = [axis.dim_param or axis.dim_value for axis in model.graph.input[0].type.tensor_type.shape.dim]
    assert free == ["batch", 3, "height", "width"]
    onnx.checker.check_model(model, full_check=True)
    expected = {"PPLCNet_x1_0": {"Conv": 31, "HardSwish": 28, "ReduceMean": 3, "Relu": 2, "Clip": 2, "Mul": 2, "Gemm": 2}}
    assert kinds == expected.get(name, kinds)


def test_weights_are_in_the_graph_once_and_the_network_stays_as_it_is() -> None:
    network = PPLCNet(small_images(10)).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    model = onnx_model(network)
    names = [one.name for one in model.graph.initializer]
    assert len(names) == len(set(names))
    assert network.training
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    convolutions = sum(isinstance(module, torch.nn.Conv2d) for module in network.modules())
    gates = sum(isinstance(module, torch.nn.Hardsigmoid) for module in network.modules())
    assert len(names) == 2 * (convolutions + 1) + 2 * gates, "weights and biases, and the two limits of each gate"


def test_what_is_told_is_in_the_metadata() -> None:
    text = '{"labels": ["Hündchen", "\\"quoted\\" <&>"]}'
    network = PPLCNet(small_images(10))
    assert {one.key: one.value for one in onnx_model(network, text).metadata_props} == {"ernest.lcnet": text}
    assert openvino_model(network, text).get_rt_info(["ernest.lcnet"]).astype(str) == text
