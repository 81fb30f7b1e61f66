"""Photographs of 12 megapixels a second: `ernest lcnet classify` beside timm with torch, and beside OpenVINO with Pillow.

Others as their documentation shows them (open, convert, resize, crop, normalise, one picture after the other), and once more with
Pillow's draft mode. Photographs are synthesised: noise in five octaves with grain, 4000x3000, JPEG of quality 88 with colours at
half size, about 2 MB each. All networks are an x1.0 with random weights, float32. Pipelines that decode whole photographs, which
takes ten times as long, get a fifth of them. `python -m benchmarks.lcnet.photographs PIPELINE FOLDER COUNT THREADS PINNED` times
one pipeline in a process of its own.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from benchmarks.findings import Findings
from benchmarks.lcnet import networks
from benchmarks.machine import processor
from benchmarks.tables import Figure, Table

COUNT, WHOLE, DISTINCT, HEIGHT, WIDTH, QUALITY = 500, 100, 20, 3000, 4000, 88
OTHERS = ("timm + torch", "OpenVINO + PIL")
DRAFT = ", draft"
BARS = {"": 3.0, DRAFT: 1.2}
HOME = Path("build/lcnet/photographs")

Classify = Callable[[Sequence[Path]], None]


@dataclass(frozen=True)
class Taken:
    """Seconds a photograph: of the clock, and of processors."""

    seconds: float
    processor: float


def photographs(folder: Path, rounds: int, quick: bool, progress: Callable[[str], None]) -> Findings:
    """Pictures a second of every pipeline, in turn, and how far the answers of decoding at a fraction are from the exact ones."""
    count = 2 * DISTINCT if quick else COUNT
    if not quick:
        networks.install()
    progress("synthesising photographs")
    prepare(count)
    figures: list[Figure] = []
    lines: list[tuple[str, ...]] = []
    for threads, pinned in ((1, False), (2, False), (1, True)):
        taken = _in_turn(count, threads, pinned, max(1, rounds // 5), progress)
        where = f"{threads} thread{'s' if threads > 1 else ''}{' on one processor' if pinned else ''}"
        for name, each in taken.items():
            by_clock, by_processor = _ratio(each, taken["ours"], "seconds"), _ratio(each, taken["ours"], "processor")
            mine = median(one.seconds for one in each), median(one.processor for one in each)
            lines.append((where, name, f"{1 / mine[0]:.1f}", f"{by_clock:.2f}", f"{1e3 * mine[1]:.1f}", f"{by_processor:.2f}"))
            if name != "ours":
                bar = None if pinned else BARS[DRAFT if name.endswith(DRAFT) else ""]
                figures += [
                    Figure(f"photographs, {where}: images per second, ours ÷ {name}", by_clock, bar, False, threads),
                    Figure(
                        f"photographs, {where}: images per second of a processor, ours ÷ {name}", by_processor, None, False, 1
                    ),
                ]
    found = _run("closeness", min(count, DISTINCT), 1, False)
    figures.append(
        Figure("photographs: largest difference of a probability from the exact path", found["difference"], None, True, 1)
    )
    figures.append(Figure("photographs: same label as the exact path", found["same"], None, False, 1))
    header = ("threads", "pipeline", "images/s", "ours ÷ it", "ms of a processor each", "its ÷ ours")
    note = (
        f"JPEG of quality {QUALITY}, {WIDTH}x{HEIGHT}, colours at half size, some 2 MB each. "
        f"{processor()}; load {os.getloadavg()[0]:.1f}."
    )
    table = Table(f"{count} photographs of 12 megapixels, x1.0", header, tuple(lines), note)
    return Findings(tuple(figures), (table,))


def _in_turn(count: int, threads: int, pinned: bool, rounds: int, progress: Callable[[str], None]) -> dict[str, "list[Taken]"]:
    """Every pipeline, one after the other, round after round."""
    taken: dict[str, list[Taken]] = {name: [] for name in ("ours", *(f"{name}{mode}" for name in OTHERS for mode in BARS))}
    for turn in range(rounds):
        for name, each in taken.items():
            progress(f"{name}, {threads} threads, round {turn + 1}")
            whole = name != "ours" and not name.endswith(DRAFT)
            each.append(Taken(**_run(name, min(count, WHOLE) if whole else count, threads, pinned)))
    return taken


def _ratio(theirs: "Sequence[Taken]", ours: "Sequence[Taken]", kind: str) -> float:
    return median(getattr(other, kind) / getattr(own, kind) for other, own in zip(theirs, ours, strict=True))


def prepare(count: int, folder: Path = HOME) -> None:
    """`DISTINCT` photographs under `count` names, and the network for each pipeline."""
    from ernest import lcnet

    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "0.jpg").exists():
        base = photograph(0)
        for number in range(DISTINCT):
            shown = np.roll(base, (number * 149, number * 337), (0, 1))[:: -1 if number % 2 else 1]
            Image.fromarray(shown).save(folder / f"{number}.jpg", quality=QUALITY)
    for number in range(DISTINCT, count):
        if not (folder / f"{number}.jpg").exists():
            os.link(folder / f"{number % DISTINCT}.jpg", folder / f"{number}.jpg")
    if not (folder / "x1.safetensors").exists():
        network = networks.calibrated("PPLCNet_x1_0")
        assert isinstance(network, lcnet.PPLCNet)
        lcnet.save(folder / "x1.safetensors", network, (), lcnet.TIMM)
        for kind in ("native", "openvino"):
            lcnet.deploy(folder / "x1.safetensors", kind, threads=1)


def photograph(seed: int) -> np.ndarray:
    """uint8 `[3000, 4000, 3]`: each octave is a coarse grid of random levels, smoothly enlarged; grain is the same in all."""
    rng = np.random.default_rng(seed)
    levels = np.full((HEIGHT, WIDTH, 3), 120, np.float32)
    for cell, strength in ((1000, 60), (250, 40), (60, 25), (15, 12), (4, 6)):
        coarse = rng.normal(0, strength, (HEIGHT // cell + 3, WIDTH // cell + 3, 3)).astype(np.float32)
        for colour in range(3):
            levels[..., colour] += np.asarray(
                Image.fromarray(coarse[..., colour]).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
            )
    levels += rng.normal(0, 2.5, (HEIGHT, WIDTH, 1)).astype(np.float32)
    return np.clip(levels, 0, 255).astype(np.uint8)


def _run(pipeline: str, count: int, threads: int, pinned: bool) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.lcnet.photographs", pipeline, HOME, str(count), str(threads), str(int(pinned))]
    limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **limits})
    return json.loads(done.stdout.splitlines()[-1])


# ----------------------------------------------------------------------------------------- in the process of its own


def ours(folder: Path, threads: int, exact: bool = False) -> Classify:
    from ernest.lcnet import classify, open_model
    from ernest.lcnet.classification import BATCH

    model = open_model(folder / "x1.fp32.safetensors", threads=threads)

    def run(files: Sequence[Path]) -> None:
        assert all(answer.error is None for answer in classify(model, files, batch=BATCH, exact=exact))

    return run


def timm_torch(folder: Path, threads: int, draft: bool) -> Classify:
    """What timm's example does, with its transform of this network written out: torchvision's steps on a picture of Pillow."""
    import torch

    sys.path.append(str(networks.HOME))
    network = networks.untrained("lcnet_100").eval()
    torch.set_num_threads(threads)

    def run(files: Sequence[Path]) -> None:
        with torch.inference_mode():
            for file in files:
                image = torch.from_numpy(_transformed(file, draft))
                network(image).softmax(1).topk(5)

    return run


def openvino_pil(folder: Path, threads: int, draft: bool) -> Classify:
    import openvino

    compiled = openvino.Core().compile_model(folder / "x1.fp32.xml", "CPU", {"INFERENCE_NUM_THREADS": threads})

    def run(files: Sequence[Path]) -> None:
        for file in files:
            np.argsort(compiled(_transformed(file, draft))[0][0])[-5:]

    return run


def _transformed(file: Path, draft: bool) -> np.ndarray:
    """float32 `[1, 3, 224, 224]`: short side 256, bicubic, the middle, mean and deviation taken out."""
    with Image.open(file) as picture:
        if draft:
            picture.draft("RGB", (256, 256))
        image = picture.convert("RGB")
    factor = 256 / min(image.size)
    image = image.resize((int(image.width * factor), int(image.height * factor)), Image.Resampling.BICUBIC)
    left, top = (image.width - 224) // 2, (image.height - 224) // 2
    levels = np.asarray(image.crop((left, top, left + 224, top + 224)), np.float32) / 255
    mean, std = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)
    return np.ascontiguousarray(((levels - mean) / std).transpose(2, 0, 1)[None])


def closeness(folder: Path, count: int) -> dict[str, float]:
    """Probabilities of decoding at a fraction beside those of decoding whole."""
    from ernest.lcnet import open_model
    from ernest.lcnet.image_io.reader import read_input

    model, differences, same = open_model(folder / "x1.fp32.safetensors", threads=1), [], []
    for number in range(count):
        fast, exact = (
            model.run(read_input(folder / f"{number}.jpg", model.preprocessing, whole)).softmax(1)[0] for whole in (False, True)
        )
        differences.append(float((fast - exact).abs().max()))
        same.append(bool(fast.argmax() == exact.argmax()))
    return {"difference": max(differences), "same": float(np.mean(same))}


def main(pipeline: str, folder: Path, count: int, threads: int, pinned: bool) -> None:
    if pinned:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    if pipeline == "closeness":
        print(json.dumps(closeness(folder, count)))
        return
    draft = pipeline.endswith(DRAFT)
    if pipeline == "ours":
        run = ours(folder, threads)
    else:
        run = (timm_torch if pipeline.startswith("timm") else openvino_pil)(folder, threads, draft)
    files = [folder / f"{number}.jpg" for number in range(count)]
    run(files[: min(2, count)])
    begun, used = time.perf_counter(), time.process_time()
    run(files)
    taken = Taken((time.perf_counter() - begun) / count, (time.process_time() - used) / count)
    print(json.dumps(asdict(taken)))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5] == "1")
