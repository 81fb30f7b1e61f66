"""The commands that use a model: generate, describe, slice, analyse, serve, export; and build, which compiles what they run."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from ernest.cli.arguments import Checkpoint, Folder, Limits, Number, Refine, Size, must_exist
from ernest.cli.garbage import uncollected
from ernest.config.submodel_size import FULL_SIZE
from ernest.storage import check_new, check_writable

if TYPE_CHECKING:
    from ernest.generation.answer import Result

Rows = Literal["table", "json"]


def generate(
    checkpoint: Checkpoint,
    prompts: Annotated[tuple[str, ...], Positional, arg(metavar="WORDS")],
    to: Literal["text", "image", "video", "audio"],
    out: Annotated[Path | None, arg(aliases=["-o"], metavar="FILE")] = None,
    prompt_file: Annotated[Path | None, arg(metavar="FILE")] = None,
    rows: Rows = "table",
    seed: int = 0,
    temperature: Number = None,
    top_p: Number = None,
    guidance: Number = None,
    refine: Refine = None,
    voice: Annotated[Path | None, arg(metavar="FILE")] = None,
    size: Size = FULL_SIZE,
) -> None:
    """Make a picture, a video, a sound or a text from words.

    Args:
        checkpoint: folder of a trained model, such as build/demo/model.
        prompts: the words; several prompts, each in quotes, are answered in one batch.
        to: what to make.
        out: the file to write: .png, .gif or .mp4, .wav; a text is printed. Of several prompts, a folder.
        prompt_file: a text file with a prompt on each line, instead of words or beside them.
        rows: how answers are printed: those to several prompts as a table with tabs, or a line of JSON each, also of one.
        seed: another seed, a number of any size, makes another answer.
        temperature: 0 takes the likeliest; by default what suits the kind.
        top_p: keeps the likeliest choices that hold this share.
        guidance: how strongly to follow the words.
        refine: folder of a refiner, which draws pictures and videos larger and sharper.
        voice: a sound, best of three seconds: the answer speaks as it does. For models that were trained with samples of voices.
    """
    must_exist(prompt_file, refine, voice)
    from ernest.generation.answer import generate, printable

    asked = [*prompts, *(_lines(prompt_file) if prompt_file else ())]
    tell = partial(_print_row, rows=rows) if len(asked) > 1 or prompt_file or rows == "json" else _print_nothing
    with uncollected() if len(asked) == 1 else nullcontext():
        results = generate(checkpoint, asked, to, out, seed, temperature, top_p, guidance, size, refine, voice, tell)
    if tell is not _print_nothing:
        return
    (result,) = results
    _tell(result.doubts)
    print(f"{to} written to {result.file}" if result.text is None else printable(result.text))


def describe(
    checkpoint: Checkpoint,
    files: Annotated[tuple[Path, ...], Positional, arg(metavar="FILE")],
    question: Annotated[str | None, arg(metavar="WORDS")] = None,
    rows: Rows = "table",
    size: Size = FULL_SIZE,
) -> None:
    """Say what pictures, videos and sounds hold.

    Args:
        checkpoint: folder of a trained model.
        files: .png or another picture, .gif or .mp4, .wav or another sound; or folders of them.
        question: ask about a picture instead.
        rows: how answers are printed: several as a table with tabs, or a line of JSON each, also of one.
    """
    from ernest.generation.answer import printable
    from ernest.generation.describe import describe

    is_one = len(set(files)) == 1 and not files[0].is_dir() and rows == "table"
    tell = _print_nothing if is_one else partial(_print_row, rows=rows)
    with uncollected() if is_one else nullcontext():
        results = describe(checkpoint, files, question, size, tell)
    if not is_one:
        if any(result.error is not None for result in results):
            sys.exit(1)
        return
    _tell(results[0].doubts)
    print(printable(results[0].text or ""))


def _lines(file: Path) -> list[str]:
    """The prompts of a file, one on each line that is not empty."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:  # as of a file in UTF-16
        raise ValueError(f"{file}: expected a text in UTF-8, with a prompt on each line")
    lines = [line.strip() for line in text.split("\n")]  # and not at other signs, which may stand within a prompt
    if not any(lines):
        raise ValueError(f"{file}: holds no prompt")
    return [line for line in lines if line]


def _tell(doubts: Sequence[str]) -> None:
    from ernest.generation.answer import printable

    for doubt in doubts:
        print(f"doubtful: {printable(doubt)}", file=sys.stderr)


def _print_row(result: "Result", rows: Rows) -> None:
    """A line for a source, with what was made of it: at once, so that it stands whatever ends the rest."""
    from ernest.generation.answer import printable

    made = result.text if result.text is not None else None if result.file is None else str(result.file)
    if rows == "json":
        kept = {"text": result.text, "file": result.file and str(result.file), "doubts": result.doubts, "error": result.error}
        line = {"source": result.source} | {name: value for name, value in kept.items() if value not in (None, ())}
        print(json.dumps(line), flush=True)
    elif made is not None:
        print(f"{printable(result.source)}\t{printable(made)}", flush=True)
    if rows == "table":
        _tell([f"{result.source}: {doubt}" for doubt in result.doubts])
    if result.error is not None:
        print(f"left out: {printable(result.error)}", file=sys.stderr)


def _print_nothing(result: "Result") -> None:
    """Of a single answer, which is printed without its source."""


def slice_(checkpoint: Checkpoint, out: Folder, size: Size = FULL_SIZE, fit: Limits = ()) -> None:
    """Cut a sub-model out as an ordinary smaller checkpoint.

    Args:
        checkpoint: folder of a trained model.
        out: folder of the new one.
        fit: instead of a size, what the weights and a token of text may take: sizes that have scores are measured on this
            machine, and the best one that fits is cut.
    """
    from ernest.checkpoint import write_submodel

    limits = tuple(chain(*fit))
    if not limits:
        print(write_submodel(checkpoint, out, size))
        return
    from ernest.evaluation.affordable import choose_size, read_budget

    budget = read_budget(limits)
    if not size.is_full:
        raise ValueError("--fit finds --layers, --experts and --top-k by itself: leave them out")
    check_new(out)
    choice = choose_size(checkpoint, budget)
    print(write_submodel(checkpoint, out, choice.chosen.size))
    print("\n".join(choice.lines()))


def analyse(
    checkpoint: Checkpoint,
    out: Annotated[Path | None, arg(aliases=["-o"], metavar="FOLDER")] = None,
    data: Annotated[Path | None, arg(metavar="FOLDER")] = None,
    documents: int = 96,
    seed: int = 0,
) -> None:
    """Show which experts a model uses for what: utilisation, overlap of tasks and entropy, as pictures and as CSV.

    Args:
        checkpoint: folder of a trained model.
        out: folder of the pictures and tables; by default routing, beside the checkpoint.
        data: folder of records to look at; by default what the model's run held out, or else what it was trained on.
        documents: of each group of tasks, at most.
        seed: of the shuffled labels.
    """
    from ernest.checkpoint import check_checkpoint, run_of

    must_exist(data)
    check_checkpoint(checkpoint)
    if documents < 2:
        raise ValueError(f"documents = {documents}: expected at least 2")
    if seed < 0:
        raise ValueError(f"seed = {seed}: expected 0 or more")
    folder = out or run_of(checkpoint) / "routing"
    check_writable(folder)
    from ernest.evaluation.specialisation import specialisation
    from ernest.report.figures import check_figures
    from ernest.report.routing import summary, write_routing

    check_figures()
    found = specialisation(checkpoint, data, documents, seed)
    print("\n".join(summary(found)))
    write_routing(folder, found)
    print(f"pictures and tables: {folder}")


def serve(
    models: Annotated[tuple[Path, ...], Positional, arg(metavar="CHECKPOINT")],
    host: str = "127.0.0.1",
    port: int = 8000,
    keys: Annotated[Path | None, arg(metavar="FILE")] = None,
    allow_origin: Annotated[tuple[str, ...], arg(metavar="ORIGIN")] = (),
    rows: int = 64,
    queue: int = 256,
) -> None:
    """Answer over HTTP, as OpenAI's clients ask, and show the playground.

    Args:
        models: folders of trained models, and names of parts of them, such as demo:layers=6,experts=24,top_k=1.
        host: the address to listen on; 0.0.0.0 lets other machines ask.
        port: the port to listen on; 0 takes a free one.
        keys: a text file with an API key on each line; without it everybody who reaches the server may ask.
        allow_origin: web pages that may ask, such as https://example.org; * for all.
        rows: answers that are made at once.
        queue: answers that are waited for at once; more are told to come again later.
    """
    from ernest.serve.limits import Limits
    from ernest.serve.server import read_keys, serve

    if not models:
        raise ValueError("name a checkpoint to serve, such as build/demo/model")
    limits = Limits(rows=rows, queue=queue)
    told = lambda address: print(f"Ernest listens on {address}", flush=True)
    serve(tuple(map(str, models)), host, port, read_keys(keys) if keys else (), allow_origin, limits, told)


def build(everywhere: bool = False, into: Annotated[Path | None, arg(metavar="FOLDER")] = None) -> None:
    """Compile all kernels now, not at first use: for an image whose users have no compiler, or no cache that can be written.

    Those of training and decoding, and PP-LCNet's executor (which `ernest lcnet build` compiles alone).

    Args:
        everywhere: for every processor of this kind, instead of this one.
        into: by default share/ernest/lcnet of the Python environment, where Ernest looks for it; ernest/lcnet of a folder that
            XDG_CACHE_HOME will name does too.
    """
    from ernest.cli import lcnet
    from ernest.model.native import prebuild

    for path, purpose, seconds in prebuild(everywhere, into):
        print(f"{path}: {purpose}, {seconds:.0f} s", flush=True)
    lcnet.build(everywhere, into)


def export(
    checkpoint: Checkpoint,
    to: Literal["hf", "ernest"],
    out: Folder,
    findings: Annotated[Path | None, arg(metavar="FOLDER")] = None,
    shard: Annotated[str, arg(metavar="SIZE")] = "5GB",
    size: Size = FULL_SIZE,
) -> None:
    """Write a checkpoint as a folder that Hugging Face's transformers loads, or such a folder as a checkpoint.

    Args:
        checkpoint: folder of a trained model; with --to ernest, a folder of transformers.
        to: hf is the folder of transformers, ernest the checkpoint.
        out: the folder to write.
        findings: of hf: where the run's scores are, for the model card; by default the folder findings beside the checkpoint.
        shard: of hf: the largest file of weights, such as 500MB.
    """
    from ernest.export.folder import read_hf, write_hf

    must_exist(findings)
    if to == "hf":
        print(write_hf(checkpoint, out, size, findings, shard))
    elif not size.is_full:
        raise ValueError("--layers, --experts and --top-k go with --to hf; afterwards `ernest slice` cuts a checkpoint")
    else:
        print(read_hf(checkpoint, out))


COMMANDS: Mapping[str, Callable[..., None]] = {
    "generate": generate,
    "describe": describe,
    "slice": slice_,
    "analyse": analyse,
    "serve": serve,
    "export": export,
    "build": build,
}
