"""The demo's stages before the model: each trains a tokenizer or a judge, or tokenises records; they run side by side.

A stage whose files are there does nothing, so an interrupted demo goes on.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ernest.config.recipe import Recipe
from ernest.data.examples import encode
from ernest.data.store import ExampleStore
from ernest.lcnet.network import PPLCNet
from ernest.sequence.record import Record
from ernest.tokenizers.audio import AudioTokenizer
from ernest.tokenizers.bundle import Tokenizers
from ernest.tokenizers.text import TextTokenizer
from ernest.tokenizers.vision import VisionTokenizer, VisionTokenizerConfig
from ernest.training.frames import UNKNOWN, labelled_frames
from ernest.training.progress import tell_metrics
from ernest.training.tokenizers import audio_tokenizer, label_words, text_tokenizer, vision_tokenizer
from ernest.verifiers import vision
from ernest.verifiers.training import as_teacher, train_digit_judge, train_family_judge, train_word_judge
from ernest.world.images import DIGITS, pictures
from ernest.world.video import FAMILIES
from ernest.world.world import MOVING, records_of_tasks, texts_for_bpe

PICTURE_TASKS = ("text→image", "image→text", "question about image")
VIDEO_TASKS = ("text→video", "video→text", "text→first frame")
SPEECH_TASKS = ("text→speech", "speech→text")
KINDS_OF_VIDEO = (*FAMILIES, MOVING)
JUDGES_SEED, TEACHER_SEED = 1000, 2000
"""Judges are trained on worlds of their own, and so is the tokenizer's teacher: it must not share the judge's mistakes."""

Report = Callable[[str, int, int, str], None]
"""Called with a job's name, its step, its number of steps, and a note to show beside its bar."""


@dataclass(frozen=True)
class StageContext:
    """Output folder, recipe and progress callback of a stage, and the seconds that each of its jobs took, by the clock and of the
    processor."""

    build: Path
    recipe: Recipe
    report: Report
    times: dict[str, tuple[float, float]] = field(default_factory=dict)

    def progress(self, job: str) -> Callable[[int, int, Mapping[str, float]], None]:
        """The progress callback of a training, whose bar is `job`."""

        def callback(step: int, steps: int, metrics: Mapping[str, float]) -> None:
            self.report(job, step, steps, tell_metrics(metrics))

        return callback

    @contextmanager
    def timed(self, job: str) -> Iterator[None]:
        """Notes what the body takes; one that fails leaves nothing."""
        wall, cpu = time.monotonic(), time.process_time()
        yield
        self.times[job] = time.monotonic() - wall, time.process_time() - cpu

    def missing(self, *names: str) -> bool:
        """Whether any of the files or folders `names` is not in the demo's folder yet."""
        return not all((self.build / name).exists() for name in names)


Stage = Callable[[StageContext], None]


def prepare_vision(context: StageContext) -> None:
    """Pictures and videos: the vision tokenizer and their examples."""
    build, world, seed = context.build, context.recipe.world, context.recipe.seed
    if not context.missing("tokenizers/vision.safetensors", "examples/vision"):
        return
    stills = _make_records(context, "pictures", PICTURE_TASKS, seed, world.pictures)
    videos = _make_records(context, "videos", VIDEO_TASKS, seed, world.videos)
    if context.missing("tokenizers/vision.safetensors"):
        _vision_tokenizer(context, stills, videos).save(build / "tokenizers/vision.safetensors")
    tokenizer = VisionTokenizer.load(build / "tokenizers/vision.safetensors")
    tokenizers = Tokenizers(TextTokenizer(), tokenizer, AudioTokenizer())
    _write_examples(context, "vision", [*stills, *videos], tokenizers)


def prepare_audio(context: StageContext) -> None:
    """Speech and text: the text and audio tokenizers and their examples."""
    build, recipe = context.build, context.recipe
    if context.missing("tokenizers/text.json"):
        with context.timed("text tokenizer"):
            texts = texts_for_bpe(recipe.seed, recipe.world.texts)
            text_tokenizer(texts, recipe).save(build / "tokenizers/text.json")
    if not context.missing("tokenizers/audio.safetensors", "examples/audio"):
        return
    clips = _make_records(context, "speech", SPEECH_TASKS, recipe.seed, recipe.world.clips)
    if context.missing("tokenizers/audio.safetensors"):
        waves, words = _clips_and_words(clips)
        with context.timed("audio tokenizer"):
            tokenizer = audio_tokenizer(waves, label_words(words), recipe, context.progress("audio tokenizer"))
        tokenizer.save(build / "tokenizers/audio.safetensors")
    tokenizer = AudioTokenizer.load(build / "tokenizers/audio.safetensors")
    tokenizers = Tokenizers(TextTokenizer(), VisionTokenizer(VisionTokenizerConfig()), tokenizer)
    texts = records_of_tasks(("text",), recipe.seed, range(recipe.world.texts))
    _write_examples(context, "audio", [*clips, *texts], tokenizers)


def judge_digits(context: StageContext) -> None:
    """Trains the judge that reads the digit of a picture."""
    if context.missing("judges/digits.safetensors"):
        steps = context.recipe.tokenizers.digit_judge_steps
        vision.save(_digit_reader(context, "digit judge", JUDGES_SEED, steps), context.build / "judges/digits.safetensors")


def judge_families(context: StageContext) -> None:
    """Trains the judge that names the family of a video."""
    if not context.missing("judges/families.safetensors"):
        return
    recipe = context.recipe
    count = recipe.world.videos // 4
    records = _make_records(context, "videos for the judge", ("video→text",), recipe.seed + JUDGES_SEED, count)
    videos = np.stack([record.segments[0].data for record in records])
    families = np.array([KINDS_OF_VIDEO.index(record.facts["family"]) for record in records])
    steps, progress = recipe.tokenizers.family_judge_steps, context.progress("family judge")
    with context.timed("family judge"):
        judge = train_family_judge(videos, families, steps, recipe.seed, progress)
    vision.save(judge, context.build / "judges/families.safetensors")


def judge_words(context: StageContext) -> None:
    """Trains the judge that names the word of a clip."""
    if not context.missing("judges/words.safetensors"):
        return
    recipe = context.recipe
    count = recipe.world.clips // 2
    clips = _make_records(context, "speech for the judge", ("speech→text",), recipe.seed + JUDGES_SEED, count)
    steps, progress = recipe.tokenizers.word_judge_steps, context.progress("word judge")
    with context.timed("word judge"):
        judge = train_word_judge(*_clips_and_words(clips), steps, recipe.seed, progress)
    judge.save(context.build / "judges/words.safetensors")


STAGES: tuple[Stage, ...] = (prepare_vision, prepare_audio, judge_digits, judge_words, judge_families)
"""The longest first."""


def _make_records(context: StageContext, job: str, tasks: Sequence[str], seed: int, count: int, chunk: int = 200) -> list[Record]:
    """Records of indices 0 to `count`, in chunks, each of them reported."""
    records: list[Record] = []
    with context.timed(job):
        for start in range(0, count, chunk):
            records += records_of_tasks(tasks, seed, range(start, min(start + chunk, count)))
            context.report(job, min(start + chunk, count), count, "")
    return records


def _clips_and_words(records: Sequence[Record]) -> tuple[list[np.ndarray], list[str]]:
    """Each clip once, and its word."""
    clips = [record for record in records if record.task == "speech→text"]
    return [record.segments[0].data for record in clips], [record.facts["word"] for record in clips]


def _write_examples(context: StageContext, name: str, records: Sequence[Record], tokenizers: Tokenizers) -> None:
    job = f"examples {name}"
    context.report(job, 0, 1, "")
    with context.timed(job):
        ExampleStore.write(context.build / "examples" / name, encode(records, tokenizers))
    context.report(job, 1, 1, "")


def _digit_reader(context: StageContext, job: str, seed_offset: int, steps: int) -> PPLCNet:
    """A PP-LCNet that reads the digit of pictures of a world of its own."""
    seed = context.recipe.seed + seed_offset
    with context.timed(f"pictures for the {job}"):
        samples = pictures(seed, range(context.recipe.world.pictures // 2))
    pixels, digits = np.stack([p.pixels for p in samples]), np.array([p.digit for p in samples])

    def draw(step: int) -> tuple[np.ndarray, np.ndarray]:
        picks = np.random.default_rng((seed, step)).integers(len(digits), size=64)
        return pixels[picks], digits[picks]

    with context.timed(job):
        return train_digit_judge(draw, steps, seed, context.progress(job))


def _vision_tokenizer(context: StageContext, stills: Sequence[Record], videos: Sequence[Record]) -> VisionTokenizer:
    """Semantic classes: the digit of a picture, and the family in the first half of a video, where it still shows."""
    teacher = _digit_reader(context, "teacher of the vision tokenizer", TEACHER_SEED, context.recipe.tokenizers.teacher_steps)
    described = [record for record in stills if record.task == "image→text"]
    moving = [record for record in videos if record.task == "video→text"]
    still_frames = np.stack([record.segments[0].data for record in described])
    moving_frames = np.concatenate([record.segments[0].data for record in moving])
    digits = np.array([record.facts["digit"] for record in described])
    families = [
        len(DIGITS) + FAMILIES.index(record.facts["family"]) if frame < 5 and record.facts["family"] in FAMILIES else UNKNOWN
        for record in moving
        for frame in range(len(record.segments[0].data))
    ]
    shown = labelled_frames(still_frames, digits), labelled_frames(moving_frames, np.array(families))
    with context.timed("vision tokenizer"):
        return vision_tokenizer(shown, context.recipe, context.progress("vision tokenizer"), as_teacher(teacher))
