"""`python -m benchmarks.lcnet.mnist`: PP-LCNet on MNIST, in minutes of processor time.

Reads the four idx files in ../shared/data/mnist, or wherever `--data` says. A run that was stopped goes on; its processor
time adds up. Rows go to build/bench/lcnet.jsonl, the network and its picture of mistakes to build/lcnet/mnist.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from rich.console import Console

from benchmarks import findings
from benchmarks.findings import Findings
from benchmarks.tables import Figure, show
from ernest.data.mnist import read_idx
from ernest.lcnet import PPLCNet, parameters
from ernest.lcnet.training import (
    PictureDataset,
    Recipe,
    Scores,
    dataset_from_arrays,
    evaluate,
    evaluation_transform,
    fit,
    supervised,
)
from ernest.lcnet.training.loop import Report
from ernest.lcnet.training.recipe import architecture_of, preprocessing_of
from ernest.lcnet.training.scores import draw_confusion
from ernest.lcnet.weights.native import read_checkpoint

COMMAND = "python -m benchmarks.lcnet.mnist"
DATA = Path(__file__).parents[2].parent / "shared" / "data" / "mnist"
OUT = Path("build/lcnet/mnist")
RECIPE = Recipe(
    arch="small",
    size=28,
    channels=1,
    epochs=4,
    batch=128,
    rate=3.2,
    warmup=1.0,
    nesterov=True,
    crop_area=(0.85, 1.0),
    crop_aspect=(0.9, 1.1),
    flip=False,
    elastic_distort=True,
    precision="fp32",
)
"""The last epoch counts, not the best one: the test pictures choose nothing. Bent strokes stand in for other hands."""

BAR, MINUTES = 99.3, 20.0
PARTS = ("train", "t10k")


def mnist(folder: Path, recipe: Recipe) -> tuple[PictureDataset, PictureDataset]:
    """The 60,000 pictures to learn from and the 10,000 to score with. Exits with a line if a file is not there."""
    names, form = [str(digit) for digit in range(10)], evaluation_transform(preprocessing_of(recipe))
    try:
        train, test = ((read_idx(folder, f"{part}-images", 3), read_idx(folder, f"{part}-labels", 1)) for part in PARTS)
    except ValueError as error:
        raise SystemExit(f"{error}; name MNIST's folder with --data") from error
    return dataset_from_arrays(*train, names), dataset_from_arrays(*test, names, form)


def run(data: Path, out: Path, threads: int = 1) -> Findings:
    """Trains, or goes on, and scores once. Accuracy in percent, processor time in minutes."""
    torch.set_num_threads(threads)
    learn, score = mnist(data, RECIPE)
    torch.manual_seed(RECIPE.seed)
    network = PPLCNet(architecture_of(RECIPE, 10))
    clock = out / "seconds.json"
    before = json.loads(clock.read_text()) if clock.exists() else 0.0
    out.mkdir(parents=True, exist_ok=True)

    def tell(report: Report) -> None:
        if report.scores or report.step % 50 == 0:
            clock.write_text(json.dumps(before + time.process_time()))
            told = f", test {report.scores.top1:.2%}" if isinstance(report.scores, Scores) else ""
            place = f"epoch {report.epoch + 1}, step {report.step} of {report.steps}"
            print(f"{place}: loss {report.loss:.3f}, accuracy {report.accuracy:.2%}{told}", flush=True)

    fit(network, supervised(RECIPE.smoothing), learn, score, RECIPE, out, tell)
    scores = evaluate(read_checkpoint(out / "last.safetensors").network, score, preprocessing_of(RECIPE))
    draw_confusion(scores, score.labels, out / "confusion.png")
    minutes = json.loads(clock.read_text()) / 60
    print(f"{parameters(network):,} parameters, {minutes:.1f} minutes of processor time")
    return Findings(
        (
            Figure("18: MNIST, test accuracy after the last epoch, %", 100 * scores.top1, BAR, threads=threads),
            Figure("18: MNIST, minutes of processor time", minutes, MINUTES, less=True, threads=threads),
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the idx files")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    found = run(asked.data, asked.out, asked.threads)
    findings.write("lcnet", "mnist", found, COMMAND)
    show(Console(), "MNIST", found.tables, found.figures)


if __name__ == "__main__":
    main()
