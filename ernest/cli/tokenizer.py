"""The commands of tokenizers that stand alone: train, encode, decode, report."""

import tempfile
from collections.abc import Callable, Mapping
from itertools import chain
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from ernest.cli.arguments import Folder, Overrides, RecipeFile, Refine, check_apart, must_exist
from ernest.storage import check_file

Kind = Annotated[Literal["text", "vision", "audio"], Positional, arg(metavar="{text,vision,audio}")]
Which = Annotated[Literal["text", "vision", "audio"] | None, arg(name="kind")]
Tokenizer = Annotated[Path, Positional, arg(metavar="TOKENIZER")]
File = Annotated[Path, Positional, arg(metavar="FILE")]
Out = Annotated[Path, arg(aliases=["-o"], metavar="FILE")]
Data = Annotated[Path, arg(metavar="FOLDER")]


def train(
    kind: Kind,
    data: Data,
    out: Folder,
    recipe: RecipeFile = Path("tiny"),
    codec: Annotated[Path | None, arg(metavar="TOKENIZER")] = None,
    set_: Overrides = (),
) -> None:
    """Train a tokenizer of texts, of pictures and videos, or of sounds on your files, without a model.

    Args:
        kind: what to encode.
        data: folder of files, or of records that `ernest import` wrote, whose captions help.
        out: folder of the tokenizer; an interrupted training goes on from there.
        recipe: a TOML file, or the name of a recipe that comes with Ernest: its media, its steps, its vocabulary.
        codec: a tokenizer of sounds, or a checkpoint, whose codes stay what they are: a vocoder alone is trained for it.
        set_: fields of the recipe to change, such as media.height=64 tokenizers.vision_steps=9000.
    """
    from ernest.config.recipe import find_recipe, load_recipe

    file = find_recipe(recipe)
    settings = load_recipe(file, tuple(chain(*set_)))
    must_exist(data, codec)
    from ernest.training.standalone import train_standalone

    print(train_standalone(kind, data, out, settings, file.stem, codec))


def encode(tokenizer: Tokenizer, file: File, out: Out, kind: Which = None) -> None:
    """Encode a picture, a video, a sound or a text as bits, codes or ids.

    Args:
        tokenizer: folder of a tokenizer, or a checkpoint.
        file: what to encode.
        out: where the codes go, as safetensors.
        kind: which tokenizer of a checkpoint; by default the one for the file.
    """
    must_exist(tokenizer, file)
    check_apart(out, file)
    check_file(out)
    from ernest.data.standalone import kind_for, read_for
    from ernest.tokenizers import load
    from ernest.tokenizers.standalone import save_codes

    found = load(tokenizer, kind or kind_for(tokenizer, file))
    codes = found.encode(read_for(found, file))  # pyright: ignore[reportArgumentType]
    size = save_codes(out, found, codes)
    print(f"{out}: {' x '.join(map(str, codes.shape))} {'bits' if codes.dtype == bool else 'codes'}, {size:,} bytes")


def decode(tokenizer: Tokenizer, file: File, out: Out, kind: Which = None, refine: Refine = None) -> None:
    """Make a picture, a video, a sound or a text from what `encode` wrote.

    Args:
        tokenizer: the one that encoded it.
        file: the codes.
        out: .png, .gif or .mp4, .wav, .txt.
        kind: which tokenizer of a checkpoint.
        refine: folder of a refiner, which draws the picture or the video larger.
    """
    must_exist(tokenizer, file, refine)
    check_apart(out, file)
    check_file(out)
    from ernest.data.standalone import write_for
    from ernest.generation.refined import decode_refined
    from ernest.tokenizers import load
    from ernest.tokenizers.standalone import kind_in, load_codes

    found = load(tokenizer, kind or kind_in(tokenizer, file))
    write_for(found, decode_refined(found, load_codes(file, found), refine), out)
    print(f"{out} written")


def report(
    tokenizer: Tokenizer,
    data: Data,
    out: Out = Path("tokenizer.html"),
    kind: Which = None,
    judge: Annotated[Path | None, arg(metavar="FILE")] = None,
) -> None:
    """Measure a tokenizer on files, and write what came back, to look at and to hear, beside every figure.

    Args:
        tokenizer: folder of a tokenizer, or a checkpoint.
        data: folder of files or records to measure on, best those that it was not trained on.
        out: the report.
        kind: which tokenizer of a checkpoint.
        judge: judges/digits.safetensors of an `ernest demo`, whose features then make up the Fréchet distance of pictures, or its
            judges/words.safetensors, which says how many words of sounds are misheard.
    """
    must_exist(tokenizer, data, judge)
    check_file(out)
    from ernest.evaluation.tokenizers import measure_tokenizer
    from ernest.report.tokenizer import write_tokenizer_report
    from ernest.tokenizers import load
    from ernest.training.standalone import decode_for

    found = load(tokenizer, kind)
    with tempfile.TemporaryDirectory() as folder:
        measured = measure_tokenizer(found, decode_for(found, data, Path(folder) / "decoded"), str(data), judge)
    for measure in measured.measures:
        print(f"{measure.name}: {measure}{f' ({measure.note})' if measure.note else ''}")
    write_tokenizer_report(out, measured)
    print(f"report: {out}")


COMMANDS: Mapping[str, Callable[..., None]] = {"train": train, "encode": encode, "decode": decode, "report": report}
