"""`python -m benchmarks.lcnet.ablation`: the rules of PP-LCNet again, at the scale of minutes (arXiv 2109.15099, Tables 6 to 9).

Accuracy: x0.5 on the middle 20x20 pixels of MNIST, 3000 pictures to learn from for four epochs, 10,000 to score with, three
seeds. Latency: x0.5 at 224x224, one picture, one thread. A run that was stopped goes on: each finished training is a line of
build/lcnet/ablation.jsonl. The tables go into docs/lcnet/training.md, rows to build/bench/lcnet.jsonl.
"""

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import torch
from rich.console import Console

from benchmarks.findings import Findings, write
from benchmarks.lcnet.mnist import DATA, mnist
from benchmarks.page import insert
from benchmarks.tables import Figure, Table, markdown, show
from ernest.lcnet import STRIDES_64, PPLCNet, fold
from ernest.lcnet.training import PictureDataset, Recipe, dataset_from_arrays, fit, supervised
from ernest.results.photographs.variants import TABLES, VARIANTS, Line

COMMAND = "python -m benchmarks.lcnet.ablation"
RUNS, PAGE = Path("build/lcnet/ablation.jsonl"), Path("docs/lcnet/training.md")
SEEDS = (0, 1, 2)
RECIPE = Recipe(
    size=20,
    channels=1,
    epochs=1,
    batch=50,
    rate=4.0,
    warmup=0.2,
    nesterov=True,
    crop_area=(0.75, 1.0),
    crop_aspect=(0.85, 1.18),
    flip=False,
    precision="fp32",
)
LEARNT, TIMES = 3000, 4
"""Every picture is there four times, which makes one epoch of four: only the end is scored."""

POSITIONS = tuple(VARIANTS)[10:]
"""Those of Tables 7 and 8 come last, and may be left out."""


# ---------------------------------------------------------------------------------------------------------- accuracy


def pictures(data: Path) -> tuple[PictureDataset, PictureDataset]:
    """The frame of four empty pixels around every digit is cut off."""
    whole, score = mnist(data, replace(RECIPE, size=28))

    def middle(of: PictureDataset, places: Sequence[int]) -> PictureDataset:
        return dataset_from_arrays([of.picture(place)[4:24, 4:24] for place in places], of.targets[places], of.labels)

    return middle(whole, [*range(LEARNT)] * TIMES), middle(score, range(len(score)))


def accuracy(variant: str, seed: int, learn: PictureDataset, score: PictureDataset) -> float:
    """Top-1 at the end, in percent."""
    torch.manual_seed(seed)
    network = PPLCNet(replace(VARIANTS[variant], classes=10, in_channels=1, strides=STRIDES_64))
    progress = fit(network, supervised(RECIPE.smoothing), learn, score, replace(RECIPE, seed=seed))
    return 100 * progress.history[-1]["top1"]


def run(data: Path, positions: bool) -> None:
    """Every variant with every seed that is not yet a line of the file; the first seed of all comes first."""
    done = {(line["variant"], line["seed"]) for line in lines()}
    same = {"no 1280 layer"}  # is "+ SE" under another name
    names = [name for name in VARIANTS if name not in same and name not in POSITIONS]
    wanted = [(name, seed) for seed in SEEDS for name in names]
    wanted += [(name, seed) for seed in SEEDS for name in POSITIONS] if positions else []
    wanted = [one for one in wanted if one not in done]
    if not wanted:
        return
    learn, score = pictures(data)
    RUNS.parent.mkdir(parents=True, exist_ok=True)
    for variant, seed in wanted:
        begun = time.process_time()
        line = {"variant": variant, "seed": seed, "top1": accuracy(variant, seed, learn, score)}
        line["seconds"] = round(time.process_time() - begun, 1)
        with RUNS.open("a") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
        print(f"{variant}, seed {seed}: {line['top1']:.2f} % in {line['seconds']:.0f} s", flush=True)


def lines() -> list[dict]:
    """What has been trained; a line that an interruption has torn is left out."""
    text = RUNS.read_text() if RUNS.exists() else ""
    return [json.loads(line) for line in text.splitlines() if line.endswith("}")]


# ----------------------------------------------------------------------------------------------------------- latency


def latency(rounds: int = 9, calls: int = 15) -> dict[str, dict[str, float]]:
    """Milliseconds of every variant by torch (folded) and by the native executor, taken in turn.

    The median over rounds of each round's lower quartile: what an undisturbed call costs.
    """
    image = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    runners: dict[tuple[str, str], object] = {}
    for name, architecture in VARIANTS.items():
        torch.manual_seed(0)
        plain = fold(PPLCNet(architecture))
        runners[name, "torch"] = plain
        runners[name, "native"] = native(plain)
    runners = {key: runner for key, runner in runners.items() if runner is not None}
    quartiles: dict[tuple[str, str], list[float]] = {key: [] for key in runners}
    with torch.inference_mode():
        for _ in range(rounds):
            for key, runner in runners.items():
                quartiles[key].append(_quartile(runner, image, calls))
    found: dict[str, dict[str, float]] = {"torch": {}, "native": {}}
    for (name, how), values in quartiles.items():
        found[how][name] = float(np.median(values))
    return found


def native(network: PPLCNet) -> object | None:
    """The network in one call, or None where there is no compiler."""
    from ernest.lcnet.native import Executor

    made = Executor(network, precision="fp32", threads=1)
    return made if made.compiled else None


def _quartile(runner: object, image: torch.Tensor, calls: int) -> float:
    assert callable(runner)
    times = []
    runner(image)
    for _ in range(calls):
        begun = time.perf_counter()
        runner(image)
        times.append(1000 * (time.perf_counter() - begun))
    return float(np.quantile(times, 0.25))


# ------------------------------------------------------------------------------------------------------------ report


def findings(times: Mapping[str, Mapping[str, float]]) -> Findings:
    """The paper's tables with our columns beside its own."""
    tops: dict[str, list[float]] = {}
    for line in lines():
        tops.setdefault(line["variant"], []).append(line["top1"])
    tops |= {"no 1280 layer": tops["+ SE"]} if "+ SE" in tops else {}
    tables, figures = [], []
    for title, entries in TABLES.items():
        shown = [entry for entry in entries if entry.variant in tops]
        if len(shown) > 1:
            header = ("x0.5", "paper, top-1 %", "here, top-1 %", "paper, ms", "here, torch, ms", "here, native, ms")
            tables.append(Table(title, header, tuple(_cells(entry, tops, times) for entry in shown)))
    for name, values in tops.items():
        figures.append(Figure(f"18: ablation, top-1 of {name}, {len(values)} seeds, %", mean(values)))
    for how, by_name in times.items():
        figures += [Figure(f"18: ablation, ms of {name}, {how}", value) for name, value in by_name.items()]
    if "BaseNet" in tops and "+ dropout" in tops:
        gain = mean(tops["+ dropout"]) - mean(tops["BaseNet"])
        figures.append(Figure("18: ablation, gain of all four rules, points", gain))
    return Findings(tuple(figures), tuple(tables))


def _cells(entry: Line, tops: Mapping[str, Sequence[float]], times: Mapping[str, Mapping[str, float]]) -> tuple[str, ...]:
    values = tops[entry.variant]
    spread = f" ± {stdev(values):.2f}" if len(values) > 1 else ""
    ours = [f"{times[how][entry.variant]:.2f}" if entry.variant in times.get(how, {}) else "–" for how in ("torch", "native")]
    return (entry.shown or entry.variant, f"{entry.top1:.2f}", f"{mean(values):.2f}{spread}", f"{entry.milliseconds:.2f}", *ours)


def main() -> None:
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of MNIST's idx files")
    parser.add_argument("--positions", action="store_true", help="Tables 7 and 8, too")
    parser.add_argument("--only", choices=("accuracy", "latency"), help="measure one of the two, and report both")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.only != "latency":
        run(asked.data, asked.positions)
    measured = RUNS.with_name("ablation-ms.json")
    if asked.only != "accuracy":
        measured.parent.mkdir(parents=True, exist_ok=True)
        measured.write_text(json.dumps(latency(), ensure_ascii=False))
    found = findings(json.loads(measured.read_text()) if measured.exists() else {})
    write("lcnet", "ablation", found, COMMAND)
    show(Console(width=120), "ablation", found.tables, found.figures)
    PAGE.write_text(insert(PAGE.read_text(), "\n\n".join(map(markdown, found.tables)), "ablation"))


if __name__ == "__main__":
    main()
