"""`python -m benchmarks.lcnet.networks FOLDER NAME...`: the networks of the race as files, each once, for every runtime.

Weights are random, for latency does not depend on them; the statistics of normalisation are taken from a few batches, so
that activations keep the scale that they have in trained networks: no denormals, and ranges that 8 bits can hold. Beside
the ONNX graph lie an image with the logits of the plain torch network, what the native executor and torch need (our own
networks only), and the graph in 8 bits (where OpenVINO and NNCF are there).
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.lcnet.published import OURS, PEERS
from benchmarks.lcnet.shufflenet import WIDTHS, ShuffleNetV2
from ernest.lcnet.architecture import PUBLISHED
from ernest.lcnet.deployment import export, quantise
from ernest.lcnet.network import PPLCNet

HERE, HOME, FOLDER = Path(__file__).parent, Path("build/peers/timm"), Path("build/lcnet/networks")
SIDE, CALIBRATION = 224, 32
PACKAGES = ("torch", "onnx", "onnxscript", "openvino", "nncf", "timm")
LABELS = {one.name: one.label for one in (*OURS, *PEERS)}


def prepare(names: Sequence[str], folder: Path = FOLDER) -> dict[str, str]:
    """Makes what is missing or was made with other versions, in processes of their own. Answers with what could not be made."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(name not in PUBLISHED and name not in WIDTHS for name in names):
        install()
    wanted = [name for name in names if not _made(name, folder)]

    def make(half: Sequence[str]) -> None:
        with (folder / f"{half[0]}.messages").open("w") as messages:
            command = [sys.executable, "-m", "benchmarks.lcnet.networks", folder, *half]
            subprocess.run(command, stdout=messages, stderr=messages, check=False)

    with ThreadPoolExecutor(2) as both:
        list(both.map(make, [half for half in (wanted[::2], wanted[1::2]) if half]))
    return {name: _trouble(name, folder) for name in names if not _made(name, folder)}


def _made(name: str, folder: Path) -> bool:
    stamp = folder / f"{name}.json"
    return stamp.exists() and stamp.read_text() == _versions(name)


def _trouble(name: str, folder: Path) -> str:
    log = folder / f"{name}.log"
    return log.read_text() if log.exists() else f"its process ended early: see *.messages in {folder}"


def _versions(name: str) -> str:
    """Of the packages and of our own code that the files of a network depend on."""
    found = {}
    sys.path.append(str(HOME))
    try:
        for package in PACKAGES:
            try:
                found[package] = version(package)
            except PackageNotFoundError:
                found[package] = "none"
    finally:
        sys.path.remove(str(HOME))
    own = (export, quantise) if name in PUBLISHED else ()
    sources = (Path(__file__), *(Path(str(module.__file__)) for module in own))
    found["code"] = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
    return json.dumps(found)


def install() -> None:
    """The packages of peers.txt beside the other build products; what they need is in Ernest's own environment."""
    wanted, mark = (HERE / "peers.txt").read_text(), HOME / "installed.txt"
    if not mark.exists() or mark.read_text() != wanted:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade", "--target", HOME]
        subprocess.run([*command, "--requirement", HERE / "peers.txt"], check=True)
        mark.write_text(wanted)


# ----------------------------------------------------------------------------------------- in the process of its own


def main(folder: Path, names: list[str]) -> None:
    sys.path.append(str(HOME))
    torch.set_num_threads(1)
    for name in names:
        try:
            write(name, folder)
            (folder / f"{name}.json").write_text(_versions(name))
        except Exception as error:  # whatever a package raises, the others shall be measured
            (folder / f"{name}.log").write_text(f"{type(error).__name__}: {str(error).splitlines()[0][:200]}")


def write(name: str, folder: Path) -> None:
    made = calibrated(name)
    image = torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        np.savez(folder / f"{name}.npz", image=image, logits=made(image))
    if isinstance(made, PPLCNet):
        write_ours(made, folder / f"{name}.onnx")
    else:
        write_theirs(made, image, folder / f"{name}.onnx")


def calibrated(name: str) -> nn.Module:
    """In evaluation mode."""
    torch.manual_seed(0)
    made = untrained(name).train()
    norms = [module for module in made.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # a plain average over the batches
        nn.init.uniform_(norm.weight, 0.7, 1.3)
        nn.init.normal_(norm.bias, 0.0, 0.1)
    with torch.no_grad():
        for _ in range(2):
            made(torch.randn(4, 3, SIDE, SIDE))
    return made.eval()


def untrained(name: str) -> nn.Module:
    if name in PUBLISHED:
        return PPLCNet(PUBLISHED[name])
    if name in WIDTHS:
        return ShuffleNetV2(name)
    from benchmarks.lcnet import torchvision_stub

    torchvision_stub.install()
    import timm  # pyright: ignore[reportMissingImports]

    return timm.create_model(name)


def load(name: str, folder: Path = FOLDER) -> PPLCNet:
    """One of our own networks as it was written."""
    from safetensors.torch import load_file

    made = PPLCNet(PUBLISHED[name])
    made.load_state_dict(load_file(folder / f"{name}.safetensors"))
    return made.eval()


def write_ours(made: PPLCNet, graph: Path) -> None:
    """By our own exporter; in 8 bits too, the ranges taken from noise like the image."""
    from safetensors.torch import save_file

    save_file(made.state_dict(), graph.with_suffix(".safetensors"))
    if find_spec("onnx") is not None:
        graph.write_bytes(export.onnx_model(made).SerializeToString())
    noise = torch.Generator().manual_seed(7)
    images = [torch.randn(1, 3, SIDE, SIDE, generator=noise) for _ in range(CALIBRATION)]
    if find_spec("onnxruntime") is not None and find_spec("onnx") is not None:
        small = quantise.quantise_onnx(export.onnx_model(made), images)
        graph.with_suffix(".int8.onnx").write_bytes(small.SerializeToString())
    if find_spec("nncf") is not None and find_spec("openvino") is not None:
        import openvino

        small = quantise.quantise_openvino(export.openvino_model(made), images)
        openvino.save_model(small, graph.with_suffix(".int8.xml"), compress_to_fp16=False)


def write_theirs(made: nn.Module, image: Tensor, graph: Path) -> None:
    """Those with branches are merged first, as their authors deploy them."""
    if not isinstance(made, ShuffleNetV2):
        from timm.utils.model import reparameterize_model  # pyright: ignore[reportMissingImports]

        made = reparameterize_model(made)
    torch.onnx.export(
        made,
        (image,),
        graph,
        input_names=["images"],
        output_names=["logits"],
        opset_version=18,
        dynamo=True,
        external_data=False,
        verbose=False,
    )


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main(Path(sys.argv[1]), sys.argv[2:])
