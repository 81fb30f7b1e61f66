"""What `ernest generate` does: loads a checkpoint, and answers prompts with texts or files.

What can be refused without torch is refused before torch is imported, which takes seconds.
"""

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ernest.checkpoint import check_checkpoint, checkpoint_media, load_expert_importance, load_learnt, load_model
from ernest.config.submodel_size import FULL_SIZE, SubModelSize
from ernest.data import media
from ernest.generation.refined import check_refinable, load_refiner, refined
from ernest.sequence.record import Kind, Segment, given
from ernest.storage import check_writable, write_text

if TYPE_CHECKING:
    from ernest.generation.engine import Engine
    from ernest.generation.request import Answer
    from ernest.generation.sampling import Sampling

ENDINGS = {"image": ".png", "video": ".gif", "audio": ".wav"}
PORTION = 256
"""Answers that are made, written and told before the next ones: what was done stays, whatever ends the rest."""
OnResult = Callable[["Result"], None]


@dataclass(frozen=True)
class Result:
    """The answer to one prompt or file, `source`: a `text`, or the `file` that was written. `doubts` says in a line each why it
    may be worth little, and `error` why there is none."""

    source: str
    text: str | None = None
    file: Path | None = None
    doubts: tuple[str, ...] = ()
    error: str | None = None


def generate(
    checkpoint: Path,
    prompts: Sequence[str],
    to: Kind,
    out: Path | None = None,
    seed: int = 0,
    temperature: float | None = None,
    top_p: float | None = None,
    guidance: float | None = None,
    size: SubModelSize = FULL_SIZE,
    refine: Path | None = None,
    voice: Path | None = None,
    on_result: OnResult = lambda result: None,
) -> list[Result]:
    """Answers each of `prompts` with one segment of kind `to`, in batches; what is no text is written to `out`, a file, or
    of several prompts a folder. `on_result` is told each result once it stands.

    None stands for the kind's default. Pictures and videos are drawn larger by the refiner in the folder `refine`, where there is
    one; sounds have the voice of the sound in the file `voice`, where there is one. Raises ValueError for an empty prompt, a
    checkpoint, a size, a refiner or a voice that cannot be, what the model never learnt, and for a file name that does not suit
    the kind.
    """
    if not prompts or not all(prompt.strip() for prompt in prompts):
        raise ValueError('the prompt is empty: say what to make, for example "a red seven at the top left"')
    files = _files_to_write(len(prompts), to, out)
    check_checkpoint(checkpoint)
    check_refinable(to, refine)
    sample = _voice_sample(voice, to, checkpoint)
    from ernest.data.examples import EncodedSegment, encode_segments
    from ernest.generation.request import Request

    sampling = _sampling(to, temperature, top_p, guidance)
    refiner = load_refiner(refine, checkpoint_media(checkpoint))
    engine = load_engine(checkpoint, size, mapped=len(prompts) == 1)
    spoken = encode_segments(sample, engine.tokenizers)
    segments = [(EncodedSegment("text", prompt, False), *spoken) for prompt in prompts]
    requests = [Request(prompt, (to,), sampling, (seed, n)) for n, prompt in enumerate(segments)]
    for request in requests:  # before any is answered
        engine.check(request)
    for file in files[:1]:
        file.parent.mkdir(parents=True, exist_ok=True)
    results: list[Result] = []
    for start in range(0, len(requests), PORTION):
        part = slice(start, start + PORTION)
        answers = [answer for (answer,) in engine.generate(requests[part])]
        texts = decoded(answers, engine) if to == "text" else [None] * len(answers)
        _write(answers, to, files[part], engine, lambda frames: refined(refiner, frames, seed))
        written = files[part] or [out] * len(answers)
        for prompt, text, file, request in zip(prompts[part], texts, written, requests[part], strict=True):
            results.append(Result(prompt, text, file, engine.doubts(request)))
            on_result(results[-1])
    if to == "text" and out is not None:
        _write_lines(out, results)
    return results


def _files_to_write(count: int, to: Kind, out: Path | None) -> list[Path]:
    """A file for each of `count` answers that are no text. Raises ValueError for a place that no file can have."""
    if out is not None:
        check_writable(out)
        if out.is_dir() and (to == "text" or count == 1):
            raise ValueError(f"{out} is a folder: name a file")
    if to == "text":
        return []
    if count > 1:
        folder = out or Path("out")
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"{folder}: expected a folder, for {count} answers")
        return [folder / f"{n:0{max(4, len(str(count)))}}{ENDINGS[to]}" for n in range(1, count + 1)]
    file = out or Path(f"out{ENDINGS[to]}")
    if media.suffix(file) not in media.WRITTEN[to]:
        raise ValueError(f"{file}: a name for {to} ends in {', '.join(media.WRITTEN[to])}")
    return [file]


def _voice_sample(voice: Path | None, to: Kind, checkpoint: Path) -> list[Segment]:
    """The sound in the file `voice`, if there is one. Raises ValueError for one that is no sound, or where none is to be made."""
    if voice is None:
        return []
    if to != "audio":
        raise ValueError(
            f"{voice}: a voice is for a sound to be made, and this is to be {to}: add --to audio, or leave --voice out"
        )
    return [given("audio", media.read_audio(voice, checkpoint_media(checkpoint)), voice=str(voice))]


def _sampling(to: Kind, temperature: float | None, top_p: float | None, guidance: float | None) -> "Sampling":
    """The kind's usual sampling, but for what is given. A temperature that is given holds for the first frame too."""
    from ernest.generation.sampling import DEFAULTS, Sampling

    usual = DEFAULTS[to]
    return Sampling(
        usual.temperature if temperature is None else temperature,
        usual.top_p if top_p is None else top_p,
        usual.guidance if guidance is None else guidance,
        usual.first_frame_temperature if temperature is None else None,
    )


def _write(
    answers: Sequence["Answer"], to: Kind, files: Sequence[Path], engine: "Engine", finish: Callable[[np.ndarray], np.ndarray]
) -> None:
    """Writes what was answered, pictures and videos as `finish` gives them back; a text is no file of its own."""
    if to == "text":
        return
    values = [answer.segments[0].value for answer in answers]
    made = engine.play(values) if to == "audio" else engine.draw(values)
    for file, data in zip(files, made, strict=True):
        if to == "image":
            media.write_image(file, finish(data[0]))
        elif to == "video":
            media.write_video(file, finish(data), engine.tokenizers.media.frame_rate)
        else:
            media.write_audio(file, data, engine.tokenizers.media.sample_rate)


def _write_lines(out: Path, results: Sequence[Result]) -> None:
    """Writes texts, a line each."""
    lines = "".join(f"{printable(result.text or '')}\n" for result in results)
    if out.exists() and not out.is_file():  # a pipe or a terminal, in whose place no file may come
        out.write_text(lines, encoding="utf-8")
    else:
        write_text(out, lines)


def printable(text: str) -> str:
    """A text on one line, without control characters, which could steer a terminal."""
    spaced = "".join(" " if c.isspace() else c for c in text)
    return "".join(c for c in spaced if unicodedata.category(c) not in ("Cc", "Cs")).strip(" ")


def load_engine(checkpoint: Path, size: SubModelSize = FULL_SIZE, mapped: bool = False) -> "Engine":
    """An engine for a checkpoint, which refuses what its model never learnt. Weights that are `mapped` share memory with
    their files, which is soonest for a single answer."""
    from ernest.generation.engine import Engine
    from ernest.model.slicing import choose

    model, tokenizers = load_model(checkpoint, mapped)
    submodel = None if size.is_full else choose(model, load_expert_importance(checkpoint), size)
    return Engine(model, tokenizers, submodel, learnt=load_learnt(checkpoint))


def decoded(answers: Sequence["Answer"], engine: "Engine") -> list[str]:
    """The words of answers that are texts."""
    return [engine.tokenizers.text.decode(answer.segments[0].value) for answer in answers]
