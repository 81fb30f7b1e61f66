"""Photographs of 12 megapixels a second: `ernest lcnet classify` beside timm with torch, and beside OpenVINO with Pillow.

Others as their documentation shows them (open, convert, resize, crop, normalise, one picture after the other), and once more with
Pillow's draft mode. Photographs are synthesised: noise in five octaves with grain, 4000x3000, JPEG of quality 88 with colours at
half size, about 2 MB each. All networks are an x1.0 with random weights, float32. `python -m benchmarks.lcnet.photographs
PIPELINE FOLDER COUNT THREADS PINNED` times one pipeline in a process of its own.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from benchmarks.findings import Findings
from benchmarks.lcnet import networks
from benchmarks.tables import Figure, Table

COUNT, DISTINCT, HEIGHT, WIDTH, QUALITY = 500, 20, 3000, 4000, 88
OTHERS = ("timm + torch", "OpenVINO + PIL")
BARS = {"": 3.0, ", draft": 1.2}
HOME = Path("build/lcnet/photographs")

Classify = Callable[[Sequence[Path]], None]


def photographs(folder: Path, rounds: int, quick: bool, progress: Callable[[str], None]) -> Findings:
    """Pictures a second of every pipeline, in turn, and how far the answers of decoding at a fraction are from the exact ones."""
    count = 2 * DISTINCT if quick else COUNT
    if not quick:
        networks.install()
    progress("synthesising photographs")
    prepare(count)
    pipelines = ["ours", *(f"{name}{mode}" for name in OTHERS for mode in BARS)]
    figures, lines = [], []
    for threads, pinned in ((1, False), (2, False), (1, True)):
        times: dict[str, list[float]] = {name: [] for name in pipelines}
        for turn in range(max(1, rounds // 5)):
            for name in pipelines:
                progress(f"{name}, {threads} threads, round {turn + 1}")
                times[name].append(_run(name, count, threads, pinned)["seconds"])
        where = f"{threads} thread{'s' if threads > 1 else ''}{' on one processor' if pinned else ''}"
        speeds = {name: count / median(taken) for name, taken in times.items()}
        for name in pipelines[1:]:
            ratio = median(theirs / mine for theirs, mine in zip(times[name], times["ours"], strict=True))
            bar = None if pinned else BARS[", draft" if name.endswith("draft") else ""]
            figures.append(Figure(f"photographs, {where}: images per second, ours ÷ {name}", ratio, bar, False, threads))
        lines += [(where, name, f"{speed:.1f}", f"{speeds['ours'] / speed:.2f}") for name, speed in speeds.items()]
    found = _run("closeness", min(count, DISTINCT), 1, False)
    figures.append(
        Figure("photographs: largest difference of a probability from the exact path", found["difference"], None, True, 1)
    )
    figures.append(Figure("photographs: same label as the exact path", found["same"], None, False, 1))
    table = Table(f"{count} photographs of 12 megapixels, x1.0", ("threads", "pipeline", "images/s", "ours ÷ it"), tuple(lines))
    return Findings(tuple(figures), (table,))


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
    from ernest.lcnet.image_io.read import read_input

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
    draft = pipeline.endswith(", draft")
    if pipeline == "ours":
        run = ours(folder, threads)
    else:
        run = (timm_torch if pipeline.startswith("timm") else openvino_pil)(folder, threads, draft)
    files = [folder / f"{number}.jpg" for number in range(count)]
    run(files[:2])
    begun = time.perf_counter()
    run(files)
    print(json.dumps({"seconds": time.perf_counter() - begun}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:5]), bool(int(sys.argv[5])))  # pyright: ignore[reportCallIssue]
