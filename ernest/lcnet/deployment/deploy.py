"""Writes a network for one of three runtimes, compares its answers with eager PyTorch's, and times both."""

import json
import random
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from ernest import storage
from ernest.lcnet.deployment.export import LOGITS, GraphForm, onnx_model, openvino_model, set_metadata
from ernest.lcnet.deployment.quantise import compress_openvino, quantise_onnx, quantise_openvino
from ernest.lcnet.deployment.runtimes import Model, as_pictures, eager_model, native_model, open_model, read_labels
from ernest.lcnet.deployment.verify import Check, compare, input_size, time_both
from ernest.lcnet.folding import fold
from ernest.lcnet.image_io.find import name_pictures
from ernest.lcnet.image_io.preprocess import Preprocessing
from ernest.lcnet.image_io.reader import read_input
from ernest.lcnet.weights.foreign import load_checkpoint
from ernest.lcnet.weights.given import UNKNOWN, Foreign
from ernest.lcnet.weights.load import refuse_folder
from ernest.lcnet.weights.native import KEY, Checkpoint, Precision, metadata, save

Target = Literal["native", "openvino", "onnx"]
Wish = Literal["auto", "fp32", "bf16", "int8"]
"""A precision, or the fastest of them."""

ENDINGS: Mapping[Target, str] = {"native": ".safetensors", "openvino": ".xml", "onnx": ".onnx"}
PACKAGES: Mapping[Target, tuple[str, ...]] = {"native": (), "openvino": ("onnx", "openvino"), "onnx": ("onnx", "onnxruntime")}
"""What writing and checking needs; running needs the last one only."""

FEWEST = 100
"""Pictures, below which a share in per cent would say nothing."""

CALIBRATION = 300
"""Pictures whose ranges are looked at, at most; at least half of all are kept for the comparison."""

COMPARED = 1000
"""Pictures that are compared, at most."""

CLOSENESS = 30.0
"""Decibels between a precision's logits and the eager network's that `auto` asks for: errors of 3 % of a logit's usual size."""


@dataclass(frozen=True)
class Deployment:
    """Result of `deploy`: the files, their agreement with PyTorch, milliseconds for one image of `size` (height, width)."""

    files: tuple[Path, ...]
    to: Target
    precision: Precision
    check: Check
    size: tuple[int, int]
    threads: int
    milliseconds: float
    eager_milliseconds: float
    form: GraphForm


def deploy(
    checkpoint: str | Path,
    to: Target,
    precision: Wish = "fp32",
    out: str | Path | None = None,
    calibration: str | Path | None = None,
    labels: str | Path | None = None,
    threads: int | None = None,
    foreign: Foreign = UNKNOWN,
    form: GraphForm = LOGITS,
    threshold: float | None = None,
    closeness: float = CLOSENESS,
) -> Deployment:
    """Writes `checkpoint` for a runtime, with labels and pre-processing inside, if it answers as the eager network does.

    `out` is by default beside the checkpoint; `form` is for other programs. `calibration` is a folder of pictures such as
    the network will meet: int8 for OpenVINO and ONNX Runtime takes the ranges of activations from half of them, and the answers
    are compared on the others (on all, where no ranges are needed; on noise without a folder). `labels` names the classes, one
    a line. `threads` is for the timing, `foreign` what you know of a file of others. `threshold` goes into the file: the least
    probability of a label, below which a picture has none of them.

    Precision auto is for native: the fastest on this machine of those that keep `closeness` decibels to the eager network's
    logits, on the same pictures or on noise, and that would be written if they were asked for by name.

    Raises ValueError or ImportError before any work for what cannot be, and ValueError, with nothing written, where the answers
    differ too much, or where this machine has no products of that precision.
    """
    checkpoint = Path(checkpoint)
    if precision == "auto":
        asked = Path(out) if out is not None else checkpoint.with_name(f"auto{ENDINGS[to]}")
        _check_request(checkpoint, to, "fp32", asked, False)
        precision = fastest(checkpoint, to, closeness, calibration, threads, foreign)
    out = Path(out) if out is not None else checkpoint.with_name(f"{checkpoint.stem}.{precision}{ENDINGS[to]}")
    static = precision == "int8" and to != "native" and not form.weights_only
    _check_form(form, to, precision)
    _check_request(checkpoint, to, precision, out, static and calibration is None)
    saved = replace(load_checkpoint(checkpoint, foreign), precision=precision)
    saved = replace(saved, decision=saved.decision.with_threshold(threshold))
    form = replace(form, many=saved.decision.many)
    if labels is not None:
        saved = replace(saved, labels=read_labels(labels, saved.network.architecture.classes))
    pictures = _pictures(calibration, saved.preprocessing) if calibration is not None else []
    ranges = pictures[: min(CALIBRATION, len(pictures) // 2)] if static else []
    eager, size = eager_model(saved), input_size(saved.preprocessing)
    with storage.write_file(out, mine=lambda second: out.exists()) as aside:  # a .bin of its own has an .xml beside it
        _write(saved, to, aside, ranges, form)
        deployed = _opened(aside, to, precision, threads)
        check = compare(eager, deployed, precision, pictures[len(ranges) :][:COMPARED])
        milliseconds = time_both(deployed, eager, size, threads)
        files = tuple(out.with_name(file.name) for file in sorted(aside.parent.iterdir(), key=lambda one: one != aside))
    return Deployment(files, to, precision, check, size, threads or torch.get_num_threads(), *milliseconds, form)


def fastest(
    checkpoint: Path,
    to: Target,
    closeness: float = CLOSENESS,
    calibration: str | Path | None = None,
    threads: int | None = None,
    foreign: Foreign = UNKNOWN,
) -> Precision:
    """The precision that precision auto of `deploy` takes. Raises ValueError for other runtimes than native."""
    if to != "native":
        raise ValueError(f"precision: auto is for native, which needs no pictures for its int8; name one for {to}")
    saved = load_checkpoint(checkpoint, foreign)
    eager, size = eager_model(saved), input_size(saved.preprocessing)
    pictures = _pictures(calibration, saved.preprocessing)[:COMPARED] if calibration is not None else []
    times: dict[Precision, float] = {}
    for precision in get_args(Precision):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that such products are not here: then the model tells, and is left out
            model = native_model(replace(saved, precision=precision), threads)
        if model.actual != precision:
            continue
        with suppress(ValueError):
            if precision == "fp32" or compare(eager, model, precision, pictures).snr_db >= closeness:
                times[precision] = time_both(model, eager, size, threads)[0]
    return min(times, key=lambda precision: times[precision]) if times else "fp32"


def summary(done: Deployment) -> str:
    """A text of five lines: files, agreement with PyTorch, times, what running needs, and a command that does."""
    size = sum(file.stat().st_size for file in done.files)
    check, (height, width) = done.check, done.size
    of_pictures = f"{check.agreement:.1%} of {check.pictures} pictures get the class"
    many = of_pictures if check.pictures else "random images get the logits"
    times = done.eager_milliseconds / done.milliseconds
    return "\n".join(
        [
            f"written: {' and '.join(map(str, done.files))} ({size / 1e6:.1f} MB), with labels and pre-processing inside",
            f"checked: {many} that PyTorch gives them; logits agree to {check.snr_db:.0f} dB, at worst by {check.max_error:.1e}",
            f"timed: {done.milliseconds:.2f} ms for an image of {height}x{width}, {done.threads} threads; "
            f"eager PyTorch {done.eager_milliseconds:.2f} ms, {times:.1f} times as long",
            f"to run it: {_needs(done)}",
            f"           ernest lcnet classify {done.files[0]} PICTURE...",
        ]
    )


def _needs(done: Deployment) -> str:
    form = done.form
    taken = "input pictures (uint8, N x H x W x C, red first)" if form.pictures else "input images"
    given = " and ".join(["logits", *(name for name in ("probabilities", "features") if getattr(form, name))])
    match done.to:
        case "native":
            return "pip install ernest-ai, and a C++ compiler (g++ or clang++), without which it runs in plain PyTorch"
        case "onnx":
            return f"pip install 'ernest-ai[deploy]'; or any ONNX runtime in any language: {taken}, output {given}"
        case "openvino":
            return f"pip install 'ernest-ai[deploy]'; or OpenVINO in C++, C, Java: both files, {taken}, output {given}"


# ------------------------------------------------------------------------------------------------------------ before


def _check_form(form: GraphForm, to: Target, precision: Precision) -> None:
    asked = [name for name in ("pictures", "probabilities", "features") if getattr(form, name)]
    if asked and to == "native":
        raise ValueError(f"{' and '.join(asked)}: for onnx and openvino; the native file is opened by Ernest alone")
    if form.weights_only and (to, precision) != ("openvino", "int8"):
        raise ValueError(f"weights_only: for int8 of openvino, got {precision} of {to}")


def _check_request(checkpoint: Path, to: Target, precision: Precision, out: Path, lacks_pictures: bool) -> None:
    """All that can be known to fail before the work."""
    refuse_folder(checkpoint)
    if not checkpoint.is_file():
        raise ValueError(f"{checkpoint}: there is no such file")
    if out.suffix != ENDINGS[to]:
        raise ValueError(f"{out}: a file for {to} ends in {ENDINGS[to]}")
    if out.is_dir() or out.resolve() == checkpoint.resolve():
        raise ValueError(f"{out} is {'a folder' if out.is_dir() else 'the checkpoint itself'}: choose another name")
    if to == "onnx" and precision == "bf16":
        raise ValueError("precision: ONNX Runtime has no bf16 on a CPU; take fp32 or int8, or bf16 with --to native or openvino")
    if lacks_pictures:
        without = "--to native" + (" or --weights-only" if to == "openvino" else "")
        raise ValueError(f"calibration: int8 for {to} needs a folder of {FEWEST} or more pictures; {without} needs none")
    wanted = PACKAGES[to] + (("nncf",) if precision == "int8" and to == "openvino" else ())
    missing = [package for package in wanted if find_spec(package) is None]
    if missing:
        extra = "quantise" if "nncf" in missing else "deploy"
        raise ImportError(f"{' and '.join(missing)} missing: pip install 'ernest-ai[{extra}]'")


def _pictures(folder: str | Path, preprocessing: Preprocessing) -> list[Tensor]:
    """Pictures of a folder, each prepared as a batch of one, in an order that mixes its sub-folders."""
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder}: expected a folder of pictures")
    files = list(name_pictures([folder]).files)
    if len(files) < FEWEST:
        raise ValueError(f"{folder}: expected {FEWEST} pictures or more, found {len(files)}")
    random.Random(0).shuffle(files)
    return [read_input(file, preprocessing) for file in files[: CALIBRATION + COMPARED]]


def _opened(path: Path, to: Target, precision: Precision, threads: int | None) -> Model:
    """The written model. Raises ValueError if this machine computes it in fp32: that says nothing of fewer bits elsewhere."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        deployed = open_model(path, threads=threads)
    if deployed.actual != precision:
        why = str(told[0].message) if told else f"it runs in {deployed.actual}"
        raise ValueError(f"precision: {to} {precision} cannot be checked on this machine ({why}); deploy on one that has it")
    for one in told:
        warnings.warn(one.message, one.category, stacklevel=3)
    return deployed


# ----------------------------------------------------------------------------------------------------------- writing


def _write(saved: Checkpoint, to: Target, path: Path, ranges: Sequence[Tensor], form: GraphForm) -> None:
    """The file, or for OpenVINO the two files, at `path`; in eight bits where there are images to take `ranges` from."""
    text, rule = json.dumps(metadata(saved)), saved.preprocessing
    ranges = [as_pictures(images, rule) for images in ranges] if form.pictures else ranges
    match to:
        case "native":
            save(path, fold(saved.network), saved.labels, saved.preprocessing, saved.about, saved.precision, saved.decision)
        case "onnx":
            model = onnx_model(saved.network, "", form, rule)
            model = quantise_onnx(model, ranges) if ranges else model
            set_metadata(model, text)
            path.write_bytes(model.SerializeToString())
        case "openvino":
            import openvino

            graph = openvino_model(saved.network, "", form, rule)
            graph = quantise_openvino(graph, ranges) if ranges else compress_openvino(graph) if form.weights_only else graph
            graph.set_rt_info(text, [KEY])
            openvino.save_model(graph, path, compress_to_fp16=False)
