"""`python -m benchmarks.lcnet.readers`: who reads our graphs, and how near to PyTorch their answers are.

Every runtime that is installed gets the same fp32 graphs (int8 hides a wrong gate) of networks whose pictures differ, and
answers for single pictures and batches of two sizes; ncnn, LiteRT and ExecuTorch are given the network by PyTorch instead. Rows
go to lcnet.jsonl in the folder. Runtimes beyond those of 'ernest-ai[deploy]' are looked for in `--readers`, a folder for
`pip install --no-deps --target`: opencv-python-headless, MNN, ncnn and pnnx; litert-torch with ai-edge-litert, ai-edge-quantizer
and litert-converter; executorch; and for the last two torchao, jax, jaxlib, flatbuffers, absl-py, multipledispatch, tabulate,
ml_dtypes, opt_einsum, backports.strenum, ruamel.yaml, immutabledict.
"""

import argparse
import importlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from benchmarks import findings
from benchmarks.findings import Findings
from benchmarks.lcnet.deployment import seen_noise
from benchmarks.page import insert
from benchmarks.tables import Figure, Table, grid, show
from ernest.lcnet import PUBLISHED, PPLCNet, fold, onnx_model, small_images

COMMAND = "python -m benchmarks.lcnet.readers"
NETWORKS = {"x0.25": PUBLISHED["PPLCNet_x0_25"], "V2 small": PUBLISHED["PPLCNetV2_small"], "small images": small_images(10, 0.5)}
SHAPES = ((1, 3, 224, 224), (3, 3, 96, 160))
WRONG = 1e-3
"""Beyond this an answer is no matter of rounding."""

Reader = Callable[[PPLCNet, Path, np.ndarray], np.ndarray]
"""From a network, a folder with its graph.onnx, and images to logits."""


def by_onnxruntime(_: PPLCNet, folder: Path, images: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / "graph.onnx", providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["logits"], {"images": images})[0])


def by_openvino(_: PPLCNet, folder: Path, images: np.ndarray) -> np.ndarray:
    return _openvino(folder, images, {"INFERENCE_PRECISION_HINT": "f32"})


def by_openvino_untold(_: PPLCNet, folder: Path, images: np.ndarray) -> np.ndarray:
    """As its own examples call it."""
    return _openvino(folder, images, {})


def _openvino(folder: Path, images: np.ndarray, settings: dict[str, str]) -> np.ndarray:
    import openvino

    return openvino.Core().compile_model(folder / "graph.onnx", "CPU", settings)(images)[0]


def by_opencv(_: PPLCNet, folder: Path, images: np.ndarray) -> np.ndarray:
    dnn = importlib.import_module("cv2").dnn
    net = dnn.readNetFromONNX(str(folder / "graph.onnx"))
    net.setInput(images)
    return net.forward()


def by_mnn(_: PPLCNet, folder: Path, images: np.ndarray) -> np.ndarray:
    """Converted first, by the module behind its `mnnconvert`, which would install packages, unasked, and report its use."""
    mnn = importlib.import_module("MNN")
    converted = folder / "graph.mnn"
    if not converted.exists():
        arguments = ["-f", "ONNX", "--modelFile", str(folder / "graph.onnx"), "--MNNModel", str(converted), "--bizCode", "x"]
        code = "import sys, _tools; _tools.mnnconvert(sys.argv)"
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PIP_NO_INDEX": "1"}
        subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True, env=environment)
    net = mnn.nn.load_module_from_file(str(converted), ["images"], ["logits"])
    given = mnn.expr.placeholder(list(images.shape), mnn.expr.NCHW)
    given.write(images)
    return np.array(mnn.expr.convert(net.forward([given])[0], mnn.expr.NCHW).read())


def by_ncnn(network: PPLCNet, folder: Path, images: np.ndarray) -> np.ndarray:
    """Through pnnx, which traces PyTorch, without its halves; one image at a time."""
    ncnn, pnnx = importlib.import_module("ncnn"), importlib.import_module("pnnx")
    model = fold(network)
    example = torch.from_numpy(images[:1])
    with torch.inference_mode():
        pnnx.export(model, str(folder / "graph.pt"), (example,), fp16=False)
    net = ncnn.Net()
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.load_param(str(folder / "graph.ncnn.param"))
    net.load_model(str(folder / "graph.ncnn.bin"))
    logits = []
    for image in images:
        run = net.create_extractor()
        run.input("in0", ncnn.Mat(np.ascontiguousarray(image)).clone())
        logits.append(np.array(run.extract("out0")[1]).reshape(-1))
    return np.stack(logits)


def by_litert(network: PPLCNet, folder: Path, images: np.ndarray) -> np.ndarray:
    """Through litert-torch, which exports PyTorch, for images of one size."""
    given = (torch.from_numpy(images),)
    return np.asarray(importlib.import_module("litert_torch").convert(fold(network), given)(*given))


def by_executorch(network: PPLCNet, folder: Path, images: np.ndarray) -> np.ndarray:
    """Exported from PyTorch for images of one size, whole to XNNPACK."""
    parts, exir = (
        importlib.import_module(f"executorch.{name}") for name in ("backends.xnnpack.partition.xnnpack_partitioner", "exir")
    )
    given = (torch.from_numpy(images),)
    with torch.no_grad():
        exported = torch.export.export(fold(network), given)
        program = exir.to_edge_transform_and_lower(exported, partitioner=[parts.XnnpackPartitioner()]).to_executorch()
    method = importlib.import_module("executorch.runtime").Runtime.get().load_program(program.buffer).load_method("forward")
    return method.execute(list(given))[0].numpy()


READERS: Mapping[str, tuple[str, Reader]] = {
    "ONNX Runtime": ("onnxruntime", by_onnxruntime),
    "OpenVINO, told f32": ("openvino", by_openvino),
    "OpenVINO as it comes": ("openvino", by_openvino_untold),
    "OpenCV's DNN": ("opencv-python-headless", by_opencv),
    "MNN": ("MNN", by_mnn),
    "ncnn, through pnnx": ("ncnn", by_ncnn),
    "LiteRT, through litert-torch": ("litert-torch", by_litert),
    "ExecuTorch, by XNNPACK": ("executorch", by_executorch),
}
"""Name -> package and how it runs a graph."""


def read(name: str, networks: Mapping[str, PPLCNet], scratch: Path) -> tuple[tuple[str, ...], list[Figure]]:
    """The row of a reader: of each network the largest error of a logit beside the largest logit, or why there is none."""
    package, reader = READERS[name]
    try:
        cells, figures = [f"{name} {version(package)}"], []
    except PackageNotFoundError:
        return (name, *["not installed"] * len(networks)), []
    for label, network in networks.items():
        folder, worst = scratch / label.replace(" ", "-"), 0.0
        try:
            for shape in SHAPES:
                images = torch.randn(shape, generator=torch.Generator().manual_seed(0))
                with torch.inference_mode():
                    right = network(images).numpy()
                worst = max(worst, _error(reader(network, folder, images.numpy()), right))
        except Exception as error:  # whatever a foreign runtime raises is the answer to the question
            cells.append(f"no: {str(error).strip().splitlines()[-1][:60] if str(error).strip() else type(error).__name__}")
            continue
        cells.append(f"{worst:.0e}" if worst < WRONG else f"{worst:.0e}, {'**wrong**' if _bar(name) else 'in bf16'}")
        figures.append(Figure(f"5: {label} read by {name}, largest error of a logit", worst, _bar(name), less=True))
    return tuple(cells), figures


def _error(found: Any, right: np.ndarray) -> float:
    if np.shape(found) != right.shape:
        raise ValueError(f"logits {list(np.shape(found))} instead of {list(right.shape)}")
    return float(np.abs(found - right).max() / max(1.0, np.abs(right).max()))


def _bar(name: str) -> float | None:
    """OpenVINO that nobody has told computes in bf16 where it can, which is its own choice."""
    return None if name == "OpenVINO as it comes" else 2e-5


def measure() -> Findings:
    torch.manual_seed(0)
    networks = {label: seen_noise(PPLCNet(architecture)) for label, architecture in NETWORKS.items()}
    with tempfile.TemporaryDirectory() as scratch:
        for label, network in networks.items():
            folder = Path(scratch) / label.replace(" ", "-")
            folder.mkdir()
            (folder / "graph.onnx").write_bytes(onnx_model(network).SerializeToString())
        found = [read(name, networks, Path(scratch)) for name in READERS]
    note = "largest error of a logit beside the largest logit, over a picture of 224x224 and three of 96x160, fp32"
    table = Table("Who reads our graphs", ("runtime", *networks), tuple(row for row, _ in found), note)
    return Findings(tuple(figure for _, figures in found for figure in figures), (table,))


def main() -> None:
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--folder", type=Path, default=findings.FOLDER)
    parser.add_argument("--readers", type=Path)
    parser.add_argument("--page", type=Path, help="a page of docs to put the table into, between the marks `readers`")
    given = parser.parse_args()
    if given.readers is not None:
        sys.path.append(str(given.readers.resolve()))
    torch.set_num_threads(1)
    found = measure()
    findings.write("lcnet", "readers", found, COMMAND, given.folder)
    show(Console(width=140), "readers", found.tables, found.figures)
    if given.page is not None:
        block = f"{grid(found.tables[0].header, found.tables[0].rows)}\n\n`{COMMAND}`: {found.tables[0].note}."
        given.page.write_text(insert(given.page.read_text(), block, "readers"))


if __name__ == "__main__":
    main()
