"""The ways to run a network, each from the files of `benchmarks.lcnet.networks` to a call without arguments.

What a runtime needs is imported inside its function: a worker loads only its own.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ernest.lcnet.native import Precision

Call = Callable[[], Any]
"""One image through the network; the result is the logits or holds them."""


def native(name: str, folder: Path, threads: int, precision: "Precision", instructions: str | None) -> Call:
    import torch

    from benchmarks.lcnet.networks import load
    from ernest.lcnet.native import Executor

    executor = Executor(load(name, folder), precision, threads, instructions)
    if not executor.compiled:
        raise RuntimeError("the native executor is not compiled: no compiler")
    image = torch.from_numpy(_image(name, folder))
    return lambda: executor(image)


def openvino(name: str, folder: Path, threads: int, precision: str, _: str | None) -> Call:
    """The size of pictures fixed beforehand."""
    return _openvino(name, folder, threads, precision, fixed=True)


def openvino_of_any_size(name: str, folder: Path, threads: int, precision: str, _: str | None) -> Call:
    return _openvino(name, folder, threads, precision, fixed=False)


def _openvino(name: str, folder: Path, threads: int, precision: str, fixed: bool) -> Call:
    import openvino as ov

    graph = folder / (f"{name}.int8.xml" if precision == "int8" else f"{name}.onnx")
    model = ov.Core().read_model(graph)
    image = _image(name, folder)
    if fixed:
        model.reshape(list(image.shape))
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
    }
    request = ov.Core().compile_model(model, "CPU", settings).create_infer_request()
    request.set_input_tensor(ov.Tensor(image))

    def run() -> np.ndarray:
        request.infer()
        return request.get_output_tensor().data

    return run


def onnxruntime(name: str, folder: Path, threads: int, precision: str, _: str | None) -> Call:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    graph = folder / f"{name}{'.int8' * (precision == 'int8')}.onnx"
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: _image(name, folder)}
    return lambda: session.run(None, feed)[0]


def eager(name: str, folder: Path, threads: int, precision: str, _: str | None) -> Call:
    """Torch as it is; in bf16 by autocast."""
    import torch

    from benchmarks.lcnet.networks import load

    network, image = load(name, folder), torch.from_numpy(_image(name, folder))
    torch.set_num_threads(threads)

    def run() -> torch.Tensor:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            return network(image).float()

    return run


def eager_folded(name: str, folder: Path, threads: int, *_: object) -> Call:
    """Normalisation folded in, channels last: torch's best without a compiler."""
    import torch

    from benchmarks.lcnet.networks import load
    from ernest.lcnet.folding import fold

    network = fold(load(name, folder))
    network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    image = torch.from_numpy(_image(name, folder)).contiguous(memory_format=torch.channels_last)
    torch.set_num_threads(threads)

    def run() -> torch.Tensor:
        with torch.inference_mode():
            return network(image)

    return run


def compiled(name: str, folder: Path, threads: int, *_: object) -> Call:
    """`torch.compile` as it comes."""
    import torch

    from benchmarks.lcnet.networks import load

    torch.set_num_threads(threads)
    network, image = torch.compile(load(name, folder)), torch.from_numpy(_image(name, folder))

    def run() -> torch.Tensor:
        with torch.no_grad():
            return network(image)

    return run


def compile_ahead_of_time(name: str, folder: Path, threads: int, *_: object) -> Call:
    """Our one call to torch's best: folded, channels last, frozen, compiled before it runs."""
    import torch

    from benchmarks.lcnet.networks import load
    from ernest.lcnet.deployment.aot import compile_ahead_of_time as compile_ahead

    torch.set_num_threads(threads)
    network, image = compile_ahead(load(name, folder)), torch.from_numpy(_image(name, folder))

    def run() -> torch.Tensor:
        with torch.inference_mode():
            return network(image)

    return run


RUNTIMES: dict[str, Callable[..., Call]] = {
    "native": native,
    "OpenVINO": openvino,
    "OpenVINO of any size": openvino_of_any_size,
    "ONNX Runtime": onnxruntime,
    "eager": eager,
    "eager folded channels-last": eager_folded,
    "torch.compile": compiled,
    "AOTInductor": compile_ahead_of_time,
}


def _image(name: str, folder: Path) -> np.ndarray:
    """float32 `[1, 3, 224, 224]`."""
    return np.load(folder / f"{name}.npz")["image"]
