"""`python -m benchmarks.lcnet.deployment`: what export and eight bits cost in accuracy, and how small and light the engine is.

A network of half width learns scikit-learn's digits and is deployed to every runtime in every precision; 500 digits that it has
not seen are classified through each. Rows go to lcnet.jsonl in the folder. Needs scikit-learn, pillow and 'ernest-ai[quantise]'.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from benchmarks import findings
from benchmarks.findings import Findings
from benchmarks.lcnet.digits import RECIPE, SEEDS, digits, trained
from benchmarks.lcnet.worker import closeness as decibels
from benchmarks.tables import Figure, Table, show
from ernest.lcnet import PUBLISHED, PPLCNet, deploy, load, onnx_model, open_model, openvino_model, prepare, save
from ernest.lcnet.deployment.deploy import ENDINGS, Target
from ernest.lcnet.native import Executor
from ernest.lcnet.training import PictureDataset
from ernest.lcnet.training.recipe import preprocessing_of
from ernest.lcnet.weights.native import Precision

COMMAND = "python -m benchmarks.lcnet.deployment"
TARGETS: tuple[tuple[Target, Precision], ...] = (
    ("native", "fp32"),
    ("native", "bf16"),
    ("native", "int8"),
    ("openvino", "fp32"),
    ("openvino", "bf16"),
    ("openvino", "int8"),
    ("onnx", "fp32"),
    ("onnx", "int8"),
)
SHAPES = ((1, 3, 224, 224), (3, 3, 96, 160), (1, 3, 80, 160), (5, 3, 33, 47))

IMPORT = """
import json, sys, time
import torch, numpy, safetensors
start = time.process_time()
import ernest.lcnet
print(json.dumps(time.process_time() - start))
"""


def eight_bits(folder: Path) -> Findings:
    """Accuracy on unseen digits and closeness to eager PyTorch of every deployment of one trained network."""
    learn, score = digits()
    network, _ = trained(RECIPE, learn, score)
    checkpoint, pictures = folder / "digits.safetensors", folder / "pictures"
    save(checkpoint, network, learn.labels, preprocessing_of(RECIPE))
    write(learn, pictures)
    images = as_inputs(score)
    with torch.inference_mode():
        expected = load(checkpoint)(images)
    eager, lines, figures = accuracy(expected, score), [], []
    for to, precision in TARGETS:
        done = deploy(checkpoint, to, precision, folder / f"{to}-{precision}{ENDINGS[to]}", pictures, threads=1)
        found = open_model(done.files[0], threads=1).run(images)
        drop, near = eager - accuracy(found, score), decibels(expected.numpy(), found.numpy())
        times = f"{done.milliseconds:.3f}", f"{done.eager_milliseconds / done.milliseconds:.1f}"
        lines.append((to, precision, f"{eager - drop:.2f}", f"{done.check.agreement:.2%}", f"{near:.1f}", *times))
        figures.append(Figure(f"13: {to} {precision}, accuracy lost on 500 digits, points", drop, 0.5, less=True))
        if precision != "fp32":
            bar = 98.0 if precision == "int8" else 99.0
            figures.append(Figure(f"12: {to} {precision}, agreement on other pictures, %", 100 * done.check.agreement, bar))
    header = ("to", "precision", "top-1, %", "agreement", "dB", "ms at 32x32", "times eager")
    note = f"eager PyTorch: {eager:.2f} %; {len(score)} digits that neither training nor calibration has seen"
    return Findings(tuple(figures), (Table("Deployments of one trained network, x0.5", header, tuple(lines), note),))


def closeness(seeds: Sequence[int] = SEEDS) -> Findings:
    """The executor's own eight bits, which nothing has calibrated, on one trained network a seed."""
    learn, score = digits()
    images, near, drops = as_inputs(score), [], []
    for seed in seeds:
        network, top1 = trained(replace(RECIPE, strides="64", seed=seed), learn, score)
        with torch.inference_mode():
            expected = network(images)
        found = Executor(network, "int8", threads=1)(images)
        near.append(decibels(expected.numpy(), found.numpy()))
        drops.append(100 * top1 - accuracy(found, score))
    return Findings(
        (
            Figure(f"13: native int8, dB against eager, the worst of {len(seeds)} seeds", min(near), 38),
            Figure(f"13: native int8, accuracy lost, the worst of {len(seeds)} seeds, points", max(drops), 0.5, less=True),
        )
    )


def as_inputs(pictures: PictureDataset) -> Tensor:
    rule = preprocessing_of(RECIPE)
    return torch.cat([prepare(pictures.picture(place)[..., 0], rule) for place in range(len(pictures))])


def write(pictures: PictureDataset, folder: Path) -> None:
    """As .png files, such as a user has."""
    from PIL import Image

    folder.mkdir()
    for place in range(len(pictures)):
        Image.fromarray(pictures.picture(place)[..., 0]).save(folder / f"{place:04}.png")


def accuracy(logits: Tensor, pictures: PictureDataset) -> float:
    return 100 * float((logits.argmax(1).numpy() == pictures.targets).mean())


def parity() -> Findings:
    """The largest error of a logit through ONNX Runtime and OpenVINO, all published networks.

    The second version is told without a bar: on random weights eager PyTorch itself is 1e-5 away from double precision.
    """
    import onnxruntime
    import openvino

    worst: dict[str, float] = defaultdict(float)
    kinds: set[str] = set()
    for name, architecture in PUBLISHED.items():
        torch.manual_seed(0)
        network, version = seen_noise(PPLCNet(architecture)), "PP-LCNetV2" if name.startswith("PPLCNetV2") else "PP-LCNet"
        model = onnx_model(network)
        kinds |= {node.op_type for node in model.graph.node} if version == "PP-LCNet" else set()
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        compiled = openvino.Core().compile_model(openvino_model(network), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        for shape in SHAPES:
            images = torch.randn(shape)
            with torch.inference_mode():
                expected = network(images).numpy()
            found = {"ONNX Runtime": session.run(None, {"images": images.numpy()})[0], "OpenVINO": compiled(images.numpy())[0]}
            for runtime, logits in found.items():
                error = float(np.abs(logits - expected).max()) / max(1.0, float(np.abs(expected).max()))
                worst[f"{version} in {runtime}"] = max(worst[f"{version} in {runtime}"], error)
    figures = [
        Figure(f"12: {one}, largest error of a logit, all sizes", error, None if "V2" in one else 1e-5, less=True)
        for one, error in worst.items()
    ]
    return Findings((*figures, Figure("12: kinds of operators in a graph of PP-LCNet", len(kinds), 7, less=True)))


@torch.no_grad()
def seen_noise(network: PPLCNet) -> PPLCNet:
    """Normalised by what its own maps hold, as training would leave it: else all logits would be near zero, and all equal."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the average of all that is seen
    network.train()(torch.randn(4, 3, 160, 160))
    return network.eval()


def small_and_light() -> Findings:
    """Seconds to import after torch, in fresh interpreters, and the size of what is installed."""
    program = [sys.executable, "-c", IMPORT]
    seconds = [float(json.loads(subprocess.run(program, capture_output=True, check=True).stdout)) for _ in range(5)]
    room = Path(str(sys.modules["ernest.lcnet"].__file__)).parent
    files = [file for file in room.rglob("*") if file.is_file() and "__pycache__" not in file.parts]
    return Findings(
        (
            Figure("22: import after torch, median of 5, s", float(np.median(seconds)), 0.2, less=True),
            Figure("22: installed size, MB", sum(file.stat().st_size for file in files) / 1e6, 1.0, less=True),
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--folder", type=Path, default=findings.FOLDER)
    folder = parser.parse_args().folder
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        found = eight_bits(Path(scratch)) + closeness() + parity() + small_and_light()
    findings.write("lcnet", "deployment", found, COMMAND, folder)
    show(Console(width=120), "deployment", found.tables, found.figures)


if __name__ == "__main__":
    main()
