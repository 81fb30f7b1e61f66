"""Opens a network file of any kind (Ernest's, other libraries', ONNX, OpenVINO) as a `Model` in the runtime that fits it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ernest.lcnet.image_io.preprocess import Preprocessing
from ernest.lcnet.weights.foreign import UNKNOWN, Foreign, load_checkpoint
from ernest.lcnet.weights.native import KEY, Checkpoint, Precision, decode_metadata, parse_metadata

Runtime = Literal["torch", "native", "onnx", "openvino"]

NEEDS: Mapping[Runtime, tuple[str, ...]] = {"torch": (), "native": (), "onnx": ("onnxruntime",), "openvino": ("openvino",)}
"""The packages without which a runtime cannot run."""


@dataclass(frozen=True)
class Model:
    """A network behind some runtime. `run` takes float32 `[N, C, H, W]` of any sizes to logits `[N, classes]`."""

    run: Callable[[Tensor], Tensor]
    runtime: Runtime
    precision: Precision
    classes: int
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    about: Mapping[str, Any]


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
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file")
    if path.suffix in (".onnx", ".xml") and foreign != UNKNOWN:
        raise ValueError(f"{path}: pre-processing, dropout and strides are for the files of others; this one holds its own")
    if path.suffix == ".onnx":
        model = _open_onnx(path, threads)
    elif path.suffix == ".xml":
        model = _open_openvino(path, threads)
    else:
        saved = load_checkpoint(path, foreign)
        model = eager_model(saved) if saved.precision is None else _open_native(saved, threads)
    return model if labels is None else replace(model, labels=read_labels(labels, model.classes))


def eager_model(saved: Checkpoint) -> Model:
    """The network of a checkpoint in eager PyTorch, neither folded nor compiled."""
    return _model(torch.inference_mode()(saved.network.eval()), "torch", saved)


def read_labels(path: str | Path, classes: int) -> tuple[str, ...]:
    """Reads the names of classes, one per line. Raises ValueError, which names the file, if there are not as many as classes."""
    path = Path(path)
    try:
        names = tuple(line.strip() for line in path.read_text(encoding="utf-8").rstrip().splitlines())
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


def _model(run: Callable[[Tensor], Tensor], runtime: Runtime, saved: Checkpoint) -> Model:
    classes = saved.network.architecture.classes
    return Model(run, runtime, saved.precision or "fp32", classes, saved.labels, saved.preprocessing, saved.about)


def _open_native(saved: Checkpoint, threads: int | None) -> Model:
    from ernest.lcnet.native import Executor

    return _model(Executor(saved.network, precision=saved.precision or "fp32", threads=threads), "native", saved)


def _open_onnx(path: Path, threads: int | None) -> Model:
    require_packages("onnx")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no base class with each other
        raise ValueError(f"{path}: ONNX Runtime cannot read it: {_first_line(error)}") from None

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])

    text = session.get_modelmeta().custom_metadata_map.get(KEY)
    return _described(path, text, run, "onnx", session.get_outputs()[0].shape[-1])


def _open_openvino(path: Path, threads: int | None) -> Model:
    require_packages("openvino")
    import openvino

    core = openvino.Core()
    try:
        graph = core.read_model(path)
        text = graph.get_rt_info([KEY]).astype(str) if graph.has_rt_info([KEY]) else None
        hint = "bf16" if text and decode_metadata(text)["precision"] == "bf16" else "f32"
        settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": threads or 0}
        compiled = core.compile_model(graph, "CPU", settings)
    except RuntimeError as error:
        raise ValueError(f"{path}: OpenVINO cannot read it: {_first_line(error)}") from None

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(compiled(images.numpy())[0])

    return _described(path, text, run, "openvino", compiled.output(0).partial_shape[1].get_length())


def _described(path: Path, text: str | None, run: Callable[[Tensor], Tensor], runtime: Runtime, classes: int) -> Model:
    """A model with what its metadata tell."""
    if text is None:
        raise ValueError(f"{path}: it carries no labels and no pre-processing: make it with `ernest lcnet deploy`")
    try:
        labels, preprocessing, about, precision = parse_metadata(decode_metadata(text))
        if labels and len(labels) != classes:
            raise ValueError(f"labels: expected one for each of the {classes} classes, got {len(labels)}")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: damaged metadata {KEY}: {error}") from None
    return Model(run, runtime, precision or "fp32", classes, labels, preprocessing, about)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
