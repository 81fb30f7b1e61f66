"""Opens a network file of any kind (Ernest's, other libraries', ONNX, OpenVINO) as a `Model` in the runtime that fits it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from ernest.lcnet.decision import ONE, Decision
from ernest.lcnet.deployment.constants import check_onnx, check_openvino
from ernest.lcnet.deployment.export import PICTURES
from ernest.lcnet.image_io.preprocess import Preprocessing
from ernest.lcnet.inference import as_input, infer, start_runtime, until_exit
from ernest.lcnet.weights.foreign import load_checkpoint, refuse_foreign
from ernest.lcnet.weights.given import UNKNOWN, Foreign
from ernest.lcnet.weights.load import refuse_folder
from ernest.lcnet.weights.native import KEY, Checkpoint, Precision, decode_metadata, parse_metadata

if TYPE_CHECKING:
    import openvino

Runtime = Literal["torch", "native", "onnx", "openvino"]

NEEDS: Mapping[Runtime, tuple[str, ...]] = {"torch": (), "native": (), "onnx": ("onnxruntime",), "openvino": ("openvino",)}
"""The packages without which a runtime cannot run."""


@dataclass(frozen=True)
class Model:
    """A network behind some runtime, which `forward` hands images to as they are; `run` is for use. Threads may share a model;
    copies are the model itself. To another process send the name of the file: pickling is refused.

    `precision` is the one that the file asks for, `actual` the one that this machine computes in: fp32 where it has no
    compiler or no such products. `decision` says what the logits mean: one label or many.
    """

    forward: Callable[[Tensor], Tensor]
    runtime: Runtime
    precision: Precision
    actual: Precision
    classes: int
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    about: Mapping[str, Any]
    decision: Decision = ONE

    def run(self, images: Tensor) -> Tensor:
        """Float32 logits `[N, classes]` of images `[N, C, H, W]`, any N and sizes, by the same rules in every runtime.

        Any floating-point type and strides are taken; the result is the caller's own and has no history. Raises ValueError for
        other images, and RuntimeError in a forked process, which lacks the threads of most runtimes (`native` starts its own).
        """
        with until_exit:
            images = as_input(images, len(self.preprocessing.mean))
            return self.forward(images) if len(images) else images.new_empty((0, self.classes))

    def __copy__(self) -> Model:
        return self

    def __deepcopy__(self, memo: object) -> Model:
        return self

    def __reduce__(self) -> tuple:
        raise TypeError("a Model cannot be pickled: send the name of its file, and open it in the other process")


def open_model(
    path: str | Path,
    labels: str | Path | None = None,
    threads: int | None = None,
    foreign: Foreign = UNKNOWN,
) -> Model:
    """The model of a file: `.onnx` and `.xml` as `deploy` writes them, our own file, deployed or not, or one of others.

    `labels` is a text file with a name a line, instead of those in the file. `threads` None is as many as there are
    processors; plain PyTorch, which runs what has not been deployed, has a number of its own, `torch.set_num_threads`.
    `foreign` is what you know of a file of others.
    Raises ValueError, which names the file, ImportError, which says what to install, or OSError.
    """
    path = Path(path)
    if threads is not None and threads < 1:
        raise ValueError(f"threads: expected 1 or more, got {threads}")
    refuse_folder(path)
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file")
    ending = path.suffix.lower()
    if ending in (".onnx", ".xml"):
        refuse_foreign(path, foreign)
    if ending == ".onnx":
        model = _open_onnx(path, threads)
    elif ending == ".xml":
        model = _open_openvino(path, threads)
    else:
        saved = load_checkpoint(path, foreign)
        model = eager_model(saved) if saved.precision is None else native_model(saved, threads)
    return model if labels is None else replace(model, labels=read_labels(labels, model.classes))


def eager_model(saved: Checkpoint) -> Model:
    """The network of a checkpoint in eager PyTorch, neither folded nor compiled."""
    return _model(partial(infer, saved.network.eval()), "torch", saved)


def read_labels(path: str | Path, classes: int) -> tuple[str, ...]:
    """Reads the names of classes, one per line. Raises ValueError, which names the file, if there are not as many as classes."""
    path = Path(path)
    try:
        names = tuple(line.strip() for line in path.read_text(encoding="utf-8-sig").rstrip().split("\n"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected text in UTF-8 ({error})") from None
    if len(names) != classes:
        raise ValueError(f"{path}: expected a label a line for each of the {classes} classes, got {len(names)}")
    return names


def require_packages(runtime: Runtime) -> None:
    """Raises ImportError, which says what to install, where a runtime is missing."""
    for package in NEEDS[runtime]:
        if find_spec(package) is None:
            raise ImportError(f"{package} is not installed: pip install '{package}', or 'ernest-ai[deploy]'")


def _model(forward: Callable[[Tensor], Tensor], runtime: Runtime, saved: Checkpoint) -> Model:
    classes = saved.network.architecture.classes
    wanted: Precision = saved.precision or "fp32"
    return Model(forward, runtime, wanted, wanted, classes, saved.labels, saved.preprocessing, saved.about, saved.decision)


def native_model(saved: Checkpoint, threads: int | None) -> Model:
    """The network of a checkpoint in the native executor, in the precision that the checkpoint asks for."""
    from ernest.lcnet.native import Executor

    executor = Executor(saved.network, precision=saved.precision or "fp32", threads=threads)
    return replace(_model(executor, "native", saved), actual=executor.precision if executor.compiled else "fp32")


def _open_onnx(path: Path, threads: int | None) -> Model:
    require_packages("onnx")
    start_runtime()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    # Else its threads wait for the next picture at full speed, and take the processors from whoever reads that picture.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no base class with each other
        raise ValueError(f"{path}: ONNX Runtime cannot read it: {_reason(error)}") from None
    check_onnx(path)

    taken = session.get_inputs()[0].name

    def forward(images: Tensor) -> Tensor:
        start_runtime()
        return torch.from_numpy(session.run(["logits"], {taken: images.numpy()})[0])

    text = session.get_modelmeta().custom_metadata_map.get(KEY)
    return _described(path, text, forward, "onnx", session.get_outputs()[0].shape[-1], taken == PICTURES)


def _open_openvino(path: Path, threads: int | None) -> Model:
    require_packages("openvino")
    weights = path.with_suffix(".bin")
    if not weights.is_file():
        raise ValueError(f"{path}: its weights are missing, {weights}")
    start_runtime()

    core = _openvino_core(os.getpid())
    try:
        graph = core.read_model(path)
        check_openvino(path, graph)
        text = graph.get_rt_info([KEY]).astype(str) if graph.has_rt_info([KEY]) else None
        settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads or 0}
        bf16 = text is not None and decode_metadata(text)["precision"] == "bf16"
        compiled = core.compile_model(graph, "CPU", settings | {"INFERENCE_PRECISION_HINT": "bf16"} if bf16 else settings)
        lacks_bf16 = bf16 and ("BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") or not _answers(compiled))
        if lacks_bf16:
            warnings.warn("OpenVINO has no bf16 products on this processor: running in fp32", RuntimeWarning, stacklevel=3)
            compiled = core.compile_model(graph, "CPU", settings)
    except RuntimeError as error:
        raise ValueError(f"{path}: OpenVINO cannot read it: {_reason(error)}") from None
    idle: list[openvino.InferRequest] = []  # a request holds the images and logits of one call at a time

    def forward(images: Tensor) -> Tensor:
        start_runtime()
        try:
            request = idle.pop()
        except IndexError:
            request = compiled.create_infer_request()
        logits = request.infer([images.numpy()], share_inputs=True)[0]
        idle.append(request)
        if len(logits) != len(images):  # see _answers
            raise RuntimeError(f"{path}: OpenVINO gives {len(logits)} rows for {len(images)} images: it lacks a kernel here")
        return torch.from_numpy(logits)

    classes = compiled.output(0).partial_shape[1].get_length()
    model = _described(path, text, forward, "openvino", classes, compiled.input(0).any_name == PICTURES)
    return replace(model, actual="fp32") if lacks_bf16 else model


@cache
def _openvino_core(process: int) -> openvino.Core:
    """OpenVINO for this process, kept until its end.

    Its CPU plugin (2026.4, Linux) gives the thread that first compiles a network a stack for signals, and frees that stack with
    the last of what it made: where another thread does this, the next signal, a Ctrl-C, ends the process.
    """
    import openvino

    core = openvino.Core()
    core.set_property({"ENABLE_MMAP": False})  # else who overwrites the .bin changes the answers of a model that is open
    return core


def _answers(compiled: openvino.CompiledModel) -> bool:
    """Whether a graph of free size answers at all: OpenVINO 2026.4 gives no row, and no error, where oneDNN lacks a kernel."""
    shape = [side.get_length() if side.is_static else 32 for side in compiled.input(0).partial_shape]
    return len(compiled(np.zeros([1, *shape[1:]], compiled.input(0).element_type.to_dtype()))[0]) == 1


def _described(
    path: Path, text: str | None, forward: Callable[[Tensor], Tensor], runtime: Runtime, classes: int, pictures: bool
) -> Model:
    """A model with what its metadata tell; `pictures`: its graph takes those and normalises them itself."""
    if text is None:
        raise ValueError(f"{path}: it carries no labels and no pre-processing: make it with `ernest lcnet deploy`")
    try:
        labels, preprocessing, about, precision, decision = parse_metadata(decode_metadata(text))
        for what, values in (("labels", labels), ("thresholds", decision.thresholds[1:] and decision.thresholds)):
            if values and len(values) != classes:
                raise ValueError(f"{what}: expected one for each of the {classes} classes, got {len(values)}")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: damaged metadata {KEY}: {error}") from None
    wanted: Precision = precision or "fp32"
    forward = (lambda images, run=forward: run(as_pictures(images, preprocessing))) if pictures else forward
    return Model(forward, runtime, wanted, wanted, classes, labels, preprocessing, about, decision)


def as_pictures(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    """The uint8 pictures `[N, H, W, C]`, red first, that `prepare` made the images from. Raises ValueError if it did not."""
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    levels = 255 * (images * std + mean)
    whole = levels.round()
    if not ((levels - whole).abs().max() < 0.05 and whole.min() >= 0 and whole.max() <= 255):
        raise ValueError("images: expected what `prepare` makes of pictures: the file takes whole levels from 0 to 255")
    whole = whole.flip(1) if preprocessing.bgr else whole
    return whole.movedim(1, -1).to(torch.uint8).contiguous()


def _reason(error: Exception) -> str:
    """The first line that says more than where in C++ it was raised."""
    lines = [*str(error).strip().splitlines(), type(error).__name__]
    return next((line for line in lines if not line.startswith(("Exception from ", "Check '"))), lines[0])
