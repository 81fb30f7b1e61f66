"""Quantises graphs to int8 for ONNX Runtime and OpenVINO: weights per output channel, activations by calibration pictures or not.

Ranges are static: found once, here. The native executor's own int8 form finds its scales at run time and needs no pictures.
"""

from __future__ import annotations

import io
import logging
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from torch import Tensor

from ernest.lcnet.deployment.export import AROUND

if TYPE_CHECKING:
    from onnx import ModelProto
    from openvino import Model


def quantise_onnx(model: ModelProto, images: Sequence[Tensor]) -> ModelProto:
    """`model` with pairs of QuantizeLinear and DequantizeLinear around what a runtime may do in int8; metadata is not kept.

    `images` are batches as the graph takes them, of any sizes. Products become u8 x s8 where a runtime knows how.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        """One batch a call, then None: what the quantiser asks for."""

        def __init__(self) -> None:
            self.remaining = iter(images)

        def get_next(self) -> dict | None:  # type: ignore[override]
            batch = next(self.remaining, None)
            return None if batch is None else {model.graph.input[0].name: batch.numpy()}

    with tempfile.TemporaryDirectory() as folder, _quiet("root"):
        out = Path(folder) / "int8.onnx"
        quantize_static(
            model,
            out,
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=[node.name for node in model.graph.node if node.name.startswith(AROUND)],
        )
        return onnx.load(out)


def quantise_openvino(model: Model, images: Sequence[Tensor]) -> Model:
    """`model` with NNCF's FakeQuantize: symmetric weights, asymmetric activations, which suit h-swish and its minimum of -3/8."""
    with _quiet_nncf() as nncf:
        batches = nncf.Dataset([batch.numpy() for batch in images])
        around = nncf.IgnoredScope(patterns=[f"^{re.escape(AROUND)}.*"], validate=False)
        return nncf.quantize(model, batches, preset=nncf.QuantizationPreset.MIXED, subset_size=len(images), ignored_scope=around)


def compress_openvino(model: Model) -> Model:
    """`model` with weights of 8 bits, which become floating-point numbers again when it is opened: a quarter of the bytes."""
    with _quiet_nncf() as nncf:
        return nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM)


@contextmanager
def _quiet_nncf() -> Iterator[ModuleType]:
    """The package, without its reports over the network that it is used, and without its bars of progress."""
    os.environ.setdefault("NNCF_CI", "1")
    import nncf

    with _quiet("nncf"), redirect_stdout(io.StringIO()):
        yield nncf


@contextmanager
def _quiet(logger: str) -> Iterator[None]:
    """Without the quantisers' advice and progress, which are about their own workings."""
    log = logging.getLogger(logger)
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
