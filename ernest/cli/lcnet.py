"""The commands of PP-LCNet: train, deploy, classify, profile, build."""

import ctypes
import functools
import logging
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import TextIOWrapper
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import OmitArgPrefixes, Positional, arg

from ernest.cli.arguments import Checkpoint, Count, Folder, Number, Overrides, must_exist

if TYPE_CHECKING:
    from ernest.lcnet.weights.given import Foreign


@dataclass(frozen=True)
class ForeignOptions:
    """Weights of others: what they do not tell, and what is said to be assumed unless you know better.

    Args:
        strides: for weights of others: strides of the stem and the five stages, such as 2,1,2,2,2,2, or Paddle's
            five; 2x1 is (vertical, horizontal). Paddle's lines of text have 2,2x1,2x1,2x1,2x1.
        preprocessing: for weights of others: how their pictures were prepared.
        squash: for weights of others: press whole pictures into this size, without a crop; 80 160 for Paddle's lines of text.
        dropout: for weights of Paddle and Hugging Face: the rate by which their features are scaled; 0.2 unless told.
        many_labels: for weights of others that were trained for several labels a picture (attributes).
        activation: for weights of PaddleClas' first version, where no graph tells it: h-swish unless told.
    """

    strides: Annotated[str | None, arg(metavar="STRIDE,...")] = None
    preprocessing: Literal["paddleclas", "timm", "timm-bilinear", "hugging-face", "text-line"] | None = None
    squash: Annotated[tuple[int, int] | None, arg(metavar="HEIGHT WIDTH")] = None
    dropout: Number = None
    many_labels: bool = False
    activation: Literal["h-swish", "relu"] | None = None

    def parse(self) -> "Foreign":
        """Raises ValueError, which names the option."""
        from ernest.lcnet.weights.given import foreign_of

        return foreign_of(self.strides, self.preprocessing, self.squash, self.dropout, self.many_labels, self.activation)


Known = Annotated[ForeignOptions, OmitArgPrefixes, arg(name="")]


def telling_assumptions(command: Callable[..., None]) -> Callable[..., None]:
    """The command, with a line on stderr for each file of others: what was assumed of it."""

    @functools.wraps(command)
    def told(*args: object, **kwargs: object) -> None:
        log, handler = logging.getLogger("ernest.lcnet.weights"), logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("ernest: %(message)s"))
        level = log.level
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        try:
            command(*args, **kwargs)
        finally:
            log.setLevel(level)
            log.removeHandler(handler)

    return told


def keep_freed_memory() -> None:
    """Has glibc keep what a step of training frees for the next one: else the kernel clears the same pages again at every step,
    which takes a tenth of the time. For this process as a whole, so that only a command may ask for it."""
    threshold_of_mmap, threshold_of_trim = -3, -1
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # another system
        return
    mallopt(threshold_of_mmap, 1 << 30)
    mallopt(threshold_of_trim, (1 << 31) - 1)


def let_idle_threads_sleep() -> None:
    """Has PyTorch's threads sleep between operations instead of turning over a processor that threads of kernels and of pictures
    want. OpenMP reads it when PyTorch is loaded: for this process as a whole, and before."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


@telling_assumptions
def train(
    data: Annotated[Path, Positional, arg(metavar="DATA")],
    out: Folder = Path("build/lcnet"),
    recipe: Annotated[Path | None, arg(metavar="FILE|paper")] = None,
    set_: Overrides = (),
    size: Annotated[str | None, arg(metavar="HEIGHTxWIDTH")] = None,
    minutes: float = 20.0,
    validation: Annotated[Path | None, arg(metavar="DATA")] = None,
    from_: Annotated[Path | None, arg(name="from", metavar="FILE")] = None,
    teacher: Annotated[Path | None, arg(metavar="FILE")] = None,
    unlabeled: Annotated[Path | None, arg(metavar="FOLDER")] = None,
    mutual: bool = False,
    skip_unreadable: bool = False,
    known: Known = ForeignOptions(),
) -> None:
    """Train a PP-LCNet on your own pictures; an interrupted training goes on where it stopped.

    Args:
        data: folder with a sub-folder of pictures for each class (or train/ and val/ with such), or a table .csv, .tsv or .jsonl
            with the columns file and label.
        out: folder for best.safetensors, last.safetensors, history.json, confusion.png, classes.csv and what resuming needs.
        recipe: a TOML file of fields, over the published recipe of its arch, or just "paper" for that (360 epochs for ImageNet);
            by default size, network, batch, epochs and rate are chosen for these pictures, this machine and the minutes.
        size: of the images that the network sees, such as 64, or 64x256 for lines of text, into which whole pictures are pressed
            (--set fit=letterbox keeps their form instead).
        minutes: so long about the training may take where no recipe is named; few pictures need less.
        set_: fields of the recipe, such as arch=PPLCNet_x0_5 size=64 epochs=20 batch=64 channels=1 ema=0.999 seed=1; a wrong
            name lists all.
        validation: pictures to score with, in the forms of data; by default data/val, else a tenth of each class is held out.
        from_: weights to start from: a file of Ernest, PaddleClas, timm or Hugging Face; other classes get a new classifier.
        teacher: a trained network, any such file, whose answers to learn.
        unlabeled: more pictures without classes, to learn from the teacher.
        mutual: train two networks that teach each other.
        skip_unreadable: leave broken pictures out and count them, instead of refusing to start.
        known: of the weights to start from, and of the teacher; strides and pictures of what is trained are the recipe's.
    """
    paper = recipe == Path("paper")
    must_exist(data, None if paper else recipe, validation, from_, teacher, unlabeled)
    from ernest.lcnet.training import load_recipe
    from ernest.lcnet.training.plan import Budget
    from ernest.lcnet.training.recipe import fields_of_size
    from ernest.lcnet.training.run import summary, train

    keep_freed_memory()
    let_idle_threads_sleep()
    fields = tuple(chain(*set_))
    fields = fields if size is None else (*fields_of_size(size, fields), *fields)
    trained = train(
        data,
        out,
        Budget(minutes, fields) if recipe is None else load_recipe(None if paper else recipe, fields),
        validation=validation,
        start=from_,
        teacher=teacher,
        unlabeled=unlabeled,
        mutual=mutual,
        skip_unreadable=skip_unreadable,
        foreign=known.parse(),
    )
    print(summary(trained))


@telling_assumptions
def deploy(
    checkpoint: Checkpoint,
    to: Literal["native", "openvino", "onnx"],
    precision: Literal["auto", "fp32", "bf16", "int8"] = "fp32",
    out: Annotated[Path | None, arg(aliases=["-o"], metavar="FILE")] = None,
    calibration: Annotated[Path | None, arg(metavar="FOLDER")] = None,
    labels: Annotated[Path | None, arg(metavar="FILE")] = None,
    threads: Count = None,
    pictures: bool = False,
    probabilities: bool = False,
    features: bool = False,
    weights_only: bool = False,
    threshold: Number = None,
    closeness: float = 30.0,
    known: Known = ForeignOptions(),
) -> None:
    """Write a network for a runtime, check that it answers as PyTorch does, and time it.

    Args:
        checkpoint: best.safetensors of `ernest lcnet train`, or a published file of PaddleClas, timm or Hugging Face.
        to: native is Ernest's own executor for processors; openvino and onnx are for those runtimes.
        precision: bf16 is for native and openvino; int8 needs pictures to calibrate with for openvino and onnx, none for native;
            auto is for native: the fastest on this machine of those that are close enough.
        out: the file, which ends in .safetensors (native), .xml (openvino, with a .bin beside it) or .onnx; by default it lies
            beside the checkpoint.
        calibration: 100 pictures or more, such as the network will meet, in a folder: half calibrate, the others are those on
            which the answers are compared. Nothing is written where too few agree (bf16 99 %, int8 98 %).
        labels: a text file with the name of a class a line, for a file that has none.
        threads: to time it on; by default as many as there are processors.
        pictures: onnx and openvino: the graph takes uint8 pictures (N x H x W x C, red first) and normalises them itself.
        probabilities: onnx and openvino: an output besides the logits.
        features: onnx and openvino: an output besides the logits, what the last map holds on average.
        threshold: goes into the file: the least probability of a label, below which `classify` says none of these.
        weights_only: int8 for openvino without calibration: the file is a quarter as large, computing stays in fp32.
        closeness: precision auto: so many decibels between the logits and PyTorch's, on the pictures or on noise.
        known: of weights of others.
    """
    must_exist(checkpoint, calibration, labels)
    from ernest.lcnet.deployment.deploy import deploy, summary
    from ernest.lcnet.deployment.export import GraphForm

    form = GraphForm(pictures, probabilities, features, weights_only)
    print(
        summary(deploy(checkpoint, to, precision, out, calibration, labels, threads, known.parse(), form, threshold, closeness))
    )


@telling_assumptions
def classify(
    model: Annotated[Path, Positional, arg(metavar="MODEL")],
    image: Annotated[tuple[str, ...], Positional, arg(metavar="IMAGE ...")],
    top: int = 5,
    labels: Annotated[Path | None, arg(metavar="FILE")] = None,
    threads: Count = None,
    exact: bool = False,
    threshold: Number = None,
    json: bool = False,
    known: Known = ForeignOptions(),
) -> None:
    """Say what pictures show: a line for each, labels with their probabilities.

    A picture that cannot be read is told on stderr, the others are still classified, and the exit status is 1.

    Args:
        model: what `ernest lcnet deploy` or `ernest lcnet train` wrote, or a published file of PaddleClas, timm or Hugging Face.
        image: pictures of any size, folders of them, or - for names on stdin, each answered at once.
        top: so many labels for each; a network for many labels a picture names all that are there.
        labels: a text file with the name of a class a line, instead of those in the model.
        threads: to compute with; by default as many as there are processors.
        exact: decode photographs whole, which takes many times as long; otherwise a JPEG is decoded at a half, a quarter or an
            eighth where that is no smaller than what the network looks at.
        threshold: the least probability of a label; a picture without one shows none of these. By default what the file holds:
            of a network for many labels a picture a threshold for each, of others none.
        json: print a JSON object for each picture, complaints included.
        known: of weights of others.
    """
    must_exist(model, labels)
    from ernest.lcnet.classification import as_json, as_text, classify_files

    if isinstance(sys.stdin, TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")  # a name that is no UTF-8 ends no run
    write, status = as_json if json else as_text, 0

    def tell(line: str) -> None:
        print(f"ernest: {line}", file=sys.stderr)

    for answer in classify_files(model, image, sys.stdin or (), top, labels, threads, exact, tell, known.parse(), threshold):
        line, good = write(answer), answer.error is None
        print(line if good or json else f"ernest: {line}", file=sys.stdout if good or json else sys.stderr, flush=True)
        status = status if good else 1
    sys.exit(status)


@telling_assumptions
def profile(
    model: Checkpoint,
    size: Annotated[tuple[int, int] | None, arg(metavar="HEIGHT WIDTH")] = None,
    precision: Literal["fp32", "bf16", "int8"] = "fp32",
    threads: Annotated[int, arg(metavar="COUNT")] = 1,
    instructions: Literal["generic", "avx2", "avx2_vnni", "avx512", "amx", "neon"] | None = None,
    picture: Annotated[Path | None, arg(metavar="FILE")] = None,
    known: Known = ForeignOptions(),
) -> None:
    """Show where a network's time goes: every layer beside the least that this processor could take for it.

    Args:
        model: best.safetensors of `ernest lcnet train`, a native deployment, or a file of PaddleClas, timm or Hugging Face.
        size: of the image; by default what the network was trained for.
        precision: of the native executor.
        threads: with more than one, whole calls are timed on so many too; layers always on one.
        instructions: by default the best of this processor.
        picture: a .png to draw the layers in.
        known: of weights of others.
    """
    must_exist(model)
    from rich.console import Console

    from ernest.lcnet.deployment.verify import input_size
    from ernest.lcnet.profiling.profile import profile
    from ernest.lcnet.profiling.shown import draw, table
    from ernest.lcnet.weights.foreign import load_checkpoint

    saved = load_checkpoint(model, known.parse())
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
    from ernest.lcnet.prebuild import prebuild

    for one in prebuild(everywhere, into):
        print(f"{one.path}: {one.purpose}, {one.seconds:.0f} s", flush=True)


COMMANDS: Mapping[str, Callable[..., None]] = {
    "train": train,
    "deploy": deploy,
    "classify": classify,
    "profile": profile,
    "build": build,
}
