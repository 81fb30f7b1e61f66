"""What `python -m benchmarks.lcnet` measures: the LCNet engine beside other runtimes, other networks and the machine's floor."""

from collections.abc import Callable
from pathlib import Path

from benchmarks.findings import Findings
from benchmarks.lcnet import floor, networks, others, report, sets, widths
from benchmarks.lcnet.photographs import photographs
from benchmarks.runner import Part, Wing


def training(folder: Path, rounds: int, quick: bool, progress: Callable[[str], None]) -> Findings:
    """Images a second in training, beside an eager network as timm has it."""
    from benchmarks.lcnet.throughput import training_throughput

    if not quick:
        networks.install()
    progress("training")
    return training_throughput(1 if quick else max(3, rounds // 2))


WING = Wing(
    name="lcnet",
    command="python -m benchmarks.lcnet",
    parts={
        "widths": Part(widths.measure),
        "threads": Part(widths.on_all_threads),
        "peers": Part(others.peers, quick=False),
        "torch": Part(others.torch_paths, quick=False),
        "choices": Part(others.choices),
        "closeness": Part(floor.closeness),
        "roofline": Part(floor.roofline),
        "instructions": Part(floor.instructions),
        "sets": Part(sets.measure),
        "training": Part(training),
        "photographs": Part(photographs, quick=False),
        "stress": Part(floor.stress),
        "repeat": Part(widths.repeated, quick=False),
    },
    rounds=20,
    quick_rounds=2,
    packages=("torch", "openvino", "onnxruntime", "nncf", "onnx"),
    own_blocks=("sets", "photographs"),
    studies=(
        "mnist",
        "digits",
        "ablation",
        "deployment",
        "readers",
        *(f"scenes-{n}" for n in ("counts", "detection", "deeplab", "liteseg")),
    ),
    method="Lower quartile: the median over rounds of each round's lower quartile; ratios: the median over rounds of the ratio "
    "in each; a process for each runtime, bursts of calls in rotating order; random weights with calibrated normalisation, "
    "224x224.",
    draw=report.draw_parts,
)
