"""The commands of PP-LCNet: train, deploy, classify, profile, build."""

import os
import sys
from collections.abc import Callable, Mapping
from itertools import chain
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from ernest.cli.arguments import Checkpoint, Count, Folder, Overrides, must_exist


def train(
    data: Annotated[Path, Positional, arg(metavar="DATA")],
    out: Folder = Path("build/lcnet"),
    recipe: Annotated[Path | None, arg(metavar="FILE")] = None,
    set_: Overrides = (),
    validation: Annotated[Path | None, arg(metavar="DATA")] = None,
    from_: Annotated[Path | None, arg(name="from", metavar="FILE")] = None,
    teacher: Annotated[Path | None, arg(metavar="FILE")] = None,
    unlabeled: Annotated[Path | None, arg(metavar="FOLDER")] = None,
    mutual: bool = False,
    skip_unreadable: bool = False,
) -> None:
    """Train a PP-LCNet on your own pictures; an interrupted training goes on where it stopped.

    Args:
        data: folder with a sub-folder of pictures for each class (or train/ and val/ with such), or a table .csv, .tsv or .jsonl
            with the columns file and label.
        out: folder for best.safetensors, last.safetensors, history.json, confusion.png, classes.csv and what resuming needs.
        recipe: a TOML file of fields, over the published recipe of its arch (the paper's: 360 epochs for ImageNet).
        set_: fields of the recipe, such as arch=PPLCNet_x0_5 size=64 epochs=20 batch=64 channels=1 ema=0.999 seed=1; a wrong
            name lists all.
        validation: pictures to score with, in the forms of data; by default data/val, else a tenth of each class is held out.
        from_: weights to start from: a file of Ernest, PaddleClas, timm or Hugging Face; other classes get a new classifier.
        teacher: a trained network, any such file, whose answers to learn.
        unlabeled: more pictures without classes, to learn from the teacher.
        mutual: train two networks that teach each other.
        skip_unreadable: leave broken pictures out and count them, instead of refusing to start.
    """
    must_exist(data, recipe, validation, from_, teacher, unlabeled)
    from ernest.lcnet.training import load_recipe
    from ernest.lcnet.training.run import summary, train

    trained = train(
        data,
        out,
        load_recipe(recipe, tuple(chain(*set_))),
        validation=validation,
        start=from_,
        teacher=teacher,
        unlabeled=unlabeled,
        mutual=mutual,
        skip_unreadable=skip_unreadable,
    )
    print(summary(trained))


def deploy(
    checkpoint: Checkpoint,
    to: Literal["native", "openvino", "onnx"],
    precision: Literal["fp32", "bf16", "int8"] = "fp32",
    out: Annotated[Path | None, arg(aliases=["-o"], metavar="FILE")] = None,
    calibration: Annotated[Path | None, arg(metavar="FOLDER")] = None,
    labels: Annotated[Path | None, arg(metavar="FILE")] = None,
    threads: Count = None,
    pictures: bool = False,
    probabilities: bool = False,
    features: bool = False,
    weights_only: bool = False,
) -> None:
    """Write a network for a runtime, check that it answers as PyTorch does, and time it.

    Args:
        checkpoint: best.safetensors of `ernest lcnet train`, or a published file of PaddleClas, timm or Hugging Face.
        to: native is Ernest's own executor for processors; openvino and onnx are for those runtimes.
        precision: bf16 is for native and openvino; int8 needs pictures to calibrate with for openvino and onnx, none for native.
        out: the file, which ends in .safetensors (native), .xml (openvino, with a .bin beside it) or .onnx; by default it lies
            beside the checkpoint.
        calibration: 100 pictures or more, such as the network will meet, in a folder: half calibrate, the others are those on
            which the answers are compared. Nothing is written where too few agree (bf16 99 %, int8 98 %).
        labels: a text file with the name of a class a line, for a file that has none.
        threads: to time it on; by default as many as there are processors.
        pictures: onnx and openvino: the graph takes uint8 pictures (N x H x W x C, red first) and normalises them itself.
        probabilities: onnx and openvino: an output besides the logits.
        features: onnx and openvino: an output besides the logits, what the last map holds on average.
        weights_only: int8 for openvino without calibration: the file is a quarter as large, computing stays in fp32.
    """
    must_exist(checkpoint, calibration, labels)
    from ernest.lcnet.deployment.deploy import GraphForm, deploy, summary

    form = GraphForm(pictures, probabilities, features, weights_only)
    print(summary(deploy(checkpoint, to, precision, out, calibration, labels, threads, form)))


def classify(
    model: Annotated[Path, Positional, arg(metavar="MODEL")],
    image: Annotated[tuple[str, ...], Positional, arg(metavar="IMAGE ...")],
    top: int = 5,
    labels: Annotated[Path | None, arg(metavar="FILE")] = None,
    threads: Count = None,
    json: bool = False,
) -> None:
    """Say what pictures show: a line for each, labels with their probabilities.

    A picture that cannot be read is told on stderr, the others are still classified, and the exit status is 1.

    Args:
        model: what `ernest lcnet deploy` or `ernest lcnet train` wrote, or a published file of PaddleClas, timm or Hugging Face.
        image: pictures of any size, folders of them, or - for names on stdin, each answered at once.
        top: so many labels for each.
        labels: a text file with the name of a class a line, instead of those in the model.
        threads: to compute with; by default as many as there are processors.
        json: print a JSON object for each picture, complaints included.
    """
    must_exist(model, labels)
    from ernest.lcnet.classification import as_json, as_text, classify_files

    write, status = as_json if json else as_text, 0
    for answer in classify_files(model, image, sys.stdin, top, labels, threads):
        line, good = write(answer), answer.error is None
        print(line if good or json else f"ernest: {line}", file=sys.stdout if good or json else sys.stderr, flush=True)
        status = status if good else 1
    sys.exit(status)


def profile(
    model: Checkpoint,
    size: Annotated[tuple[int, int] | None, arg(metavar="HEIGHT WIDTH")] = None,
    precision: Literal["fp32", "bf16", "int8"] = "fp32",
    threads: Annotated[int, arg(metavar="COUNT")] = 1,
    instructions: Literal["generic", "avx2", "avx512", "amx", "neon"] | None = None,
    picture: Annotated[Path | None, arg(metavar="FILE")] = None,
) -> None:
    """Show where a network's time goes: every layer beside the least that this processor could take for it.

    Args:
        model: best.safetensors of `ernest lcnet train`, a native deployment, or a file of PaddleClas, timm or Hugging Face.
        size: of the image; by default what the network was trained for.
        precision: of the native executor.
        threads: with more than one, whole calls are timed on so many too; layers always on one.
        instructions: by default the best of this processor.
        picture: a .png to draw the layers in.
    """
    must_exist(model)
    from rich.console import Console

    from ernest.lcnet.deployment.verify import input_size
    from ernest.lcnet.profiling.profile import draw, profile, table
    from ernest.lcnet.weights.foreign import load_checkpoint

    saved = load_checkpoint(model)
    result = profile(saved.network, size or input_size(saved.preprocessing), precision, threads or os.cpu_count(), instructions)
    if picture is not None:
        draw(result, picture)
    Console().print(table(result))


def build(everywhere: bool = False, into: Annotated[Path | None, arg(metavar="FOLDER")] = None) -> None:
    """Compile the executor now, not at its first use: for an image whose users have no compiler, or no cache that can be written.

    Args:
        everywhere: for every processor of this kind, instead of this one.
        into: by default share/ernest/lcnet of the Python environment, where Ernest looks for it; ernest/lcnet of a folder that
            XDG_CACHE_HOME will name does too.
    """
    from ernest.lcnet.native.prebuild import prebuild

    for one in prebuild(everywhere, into):
        print(f"{one.path}: {one.instructions} {one.precision}, {one.seconds:.0f} s", flush=True)


COMMANDS: Mapping[str, Callable[..., None]] = {
    "train": train,
    "deploy": deploy,
    "classify": classify,
    "profile": profile,
    "build": build,
}
