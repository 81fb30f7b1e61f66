"""What `ernest describe` does: loads a checkpoint, and says in words what files hold, or answers a question about each."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ernest.checkpoint import check_checkpoint, checkpoint_media
from ernest.config.media import MediaSpec
from ernest.config.submodel_size import FULL_SIZE, SubModelSize
from ernest.data import media
from ernest.generation.answer import PORTION, OnResult, Result, decoded, load_engine
from ernest.sequence.record import Segment, given

if TYPE_CHECKING:  # these import torch, and a file that is none is refused without it
    from ernest.generation.engine import Engine
    from ernest.generation.request import Request


def describe(
    checkpoint: Path,
    files: Sequence[Path],
    question: str | None = None,
    size: SubModelSize = FULL_SIZE,
    on_result: OnResult = lambda result: None,
) -> list[Result]:
    """Describes files in words, or answers a question about each; of a folder, every picture, video and sound in it. `on_result`
    is told each result, in order.

    Raises ValueError for a file of another kind, a folder without any, an empty question, and what the model never learnt. Of
    several files, one that cannot be read has its `error`, and the others their texts.
    """
    files = find_files(files)
    if question is not None and not question.strip():
        raise ValueError('the question is empty: ask something, such as "what number is red?", or leave it out')
    check_checkpoint(checkpoint)
    spec = checkpoint_media(checkpoint)
    engine: Engine | None = None
    results: list[Result] = []
    for start in range(0, len(files), PORTION):
        part = files[start : start + PORTION]
        read = {file: _read(file, spec) for file in part}
        if len(files) == 1 and isinstance(failure := read[files[0]], Exception):
            raise failure
        engine = engine or load_engine(checkpoint, size, mapped=len(files) == 1)
        found = _described(engine, read, question)
        if len(files) == 1 and found[0].error is not None:
            raise ValueError(found[0].error)
        for result in found:
            results.append(result)
            on_result(result)
    return results


def _read(file: Path, spec: MediaSpec) -> Segment | Exception:
    try:
        kind = media.kind_of(file)
        if kind is None:  # it was one a moment ago
            raise ValueError(f"{file}: not a format that can be read")
        return given(kind, media.read(file, kind, spec))
    except (ValueError, OSError) as error:
        return error


def _described(engine: "Engine", read: Mapping[Path, Segment | Exception], question: str | None) -> list[Result]:
    """What files hold, those that can be described in one batch."""
    from ernest.data.examples import encode_segments
    from ernest.generation.request import Request

    asked = [given("text", question)] if question else []
    results = {file: Result(str(file), error=str(one)) for file, one in read.items() if isinstance(one, Exception)}
    requests: dict[Path, Request] = {}
    for file, segment in read.items():
        if not isinstance(segment, Exception):
            request = Request(encode_segments([segment, *asked], engine.tokenizers), ("text",))
            refusal = _refusal(engine, request, str(file))
            if refusal is None:
                requests[file] = request
            else:
                results[file] = refusal
    texts = decoded([answer for (answer,) in engine.generate(list(requests.values()))], engine)
    for (file, request), text in zip(requests.items(), texts, strict=True):
        results[file] = Result(str(file), text, doubts=engine.doubts(request))
    return [results[file] for file in read]


def _refusal(engine: "Engine", request: "Request", source: str) -> Result | None:
    try:
        engine.check(request)
    except ValueError as error:
        return Result(source, error=f"{source}: {error}")
    return None


def find_files(files: Sequence[Path]) -> list[Path]:
    """The pictures, videos and sounds among files and in folders, each once. Raises ValueError where there is something else."""
    known = ", ".join(ending for endings in media.SUFFIXES.values() for ending in endings)
    found: list[Path] = []
    for file in files:
        if file.is_dir():
            from ernest.data.tree import is_hidden

            seen = (p for p in file.rglob("*") if p.is_file() and not any(map(is_hidden, p.relative_to(file).parts)))
            inside = sorted(p for p in seen if media.kind_of(p))
            if not inside:
                raise ValueError(f"{file}: holds no file that ends in one of {known}")
            found += inside
        elif not file.exists():
            raise ValueError(f"{file}: there is no such file")
        elif not file.is_file():
            raise ValueError(f"{file}: expected a file, or a folder of files, not a pipe or a device")
        elif media.kind_of(file) is None:
            raise ValueError(f"{file}: expected a file that ends in one of {known}")
        else:
            found.append(file)
    if not found:
        raise ValueError("name a file or a folder to describe")
    return list(dict.fromkeys(found))
