"""What comes before the model: tokenizers and judges, in chains of stages that run side by side.

Every stage writes one file and is passed over where the file is there, so an interrupted demo goes on.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
from ernest.training.tokenizers import UNKNOWN, Seen, audio_tokenizer, text_tokenizer, vision_tokenizer
from ernest.verifiers import vision
from ernest.verifiers.speech import train_word_judge
from ernest.world.images import DIGITS, pictures
from ernest.world.video import FAMILIES
from ernest.world.world import MOVING, texts_for_bpe, together

PICTURE_TASKS = ("text→image", "image→text", "question about image")
VIDEO_TASKS = ("text→video", "video→text", "text→first frame")
SPEECH_TASKS = ("text→speech", "speech→text")
KINDS_OF_VIDEO = (*FAMILIES, MOVING)
JUDGES_SEED, TEACHER_SEED = 1000, 2000
"""Judges are trained on worlds of their own, and so is the tokenizer's teacher: it must not share the judge's mistakes."""

Tell = Callable[[str, int, int, str], None]
"""`tell(stage, step, steps, note)` to whoever draws the bars."""


@dataclass(frozen=True)
class Lane:
    """Where a chain writes, what it follows and whom it tells."""

    build: Path
    recipe: Recipe
    tell: Tell

    def progress(self, stage: str) -> Callable[[int, int, Mapping[str, float]], None]:
        def report(step: int, steps: int, metrics: Mapping[str, float]) -> None:
            self.tell(stage, step, steps, " ".join(f"{name} {value:.3g}" for name, value in metrics.items()))

        return report

    def missing(self, *names: str) -> bool:
        return not all((self.build / name).exists() for name in names)


def see(lane: Lane) -> None:
    """Pictures and videos: the vision tokenizer and their examples."""
    build, world, seed = lane.build, lane.recipe.world, lane.recipe.seed
    if not lane.missing("tokenizers/vision.safetensors", "examples/seen"):
        return
    stills = _chunks(lane, "pictures", PICTURE_TASKS, seed, world.pictures)
    videos = _chunks(lane, "videos", VIDEO_TASKS, seed, world.videos)
    if lane.missing("tokenizers/vision.safetensors"):
        _vision_tokenizer(lane, stills, videos).save(build / "tokenizers/vision.safetensors")
    tokenizer = VisionTokenizer.load(build / "tokenizers/vision.safetensors")
    tokenizers = Tokenizers(TextTokenizer(), tokenizer, AudioTokenizer())
    _write_examples(lane, "seen", [*stills, *videos], tokenizers)


def hear(lane: Lane) -> None:
    """Speech and text: the text and audio tokenizers and their examples."""
    build, recipe = lane.build, lane.recipe
    if lane.missing("tokenizers/text.json"):
        texts = texts_for_bpe(recipe.seed, recipe.world.texts)
        text_tokenizer(texts, recipe).save(build / "tokenizers/text.json")
    if not lane.missing("tokenizers/audio.safetensors", "examples/heard"):
        return
    clips = _chunks(lane, "speech", SPEECH_TASKS, recipe.seed, recipe.world.clips)
    if lane.missing("tokenizers/audio.safetensors"):
        tokenizer = audio_tokenizer(*_heard(clips), recipe, lane.progress("audio tokenizer"))
        tokenizer.save(build / "tokenizers/audio.safetensors")
    tokenizer = AudioTokenizer.load(build / "tokenizers/audio.safetensors")
    tokenizers = Tokenizers(TextTokenizer(), VisionTokenizer(VisionTokenizerConfig()), tokenizer)
    texts = together(("text",), recipe.seed, range(recipe.world.texts))
    _write_examples(lane, "heard", [*clips, *texts], tokenizers)


def judge_digits(lane: Lane) -> None:
    if lane.missing("judges/digits.safetensors"):
        steps = lane.recipe.tokenizers.digit_judge_steps
        vision.save(_reader(lane, "digit judge", JUDGES_SEED, steps), lane.build / "judges/digits.safetensors")


def judge_families(lane: Lane) -> None:
    if not lane.missing("judges/families.safetensors"):
        return
    recipe = lane.recipe
    count = recipe.world.videos // 4
    records = _chunks(lane, "videos for the judge", ("video→text",), recipe.seed + JUDGES_SEED, count)
    videos = np.stack([record.segments[0].data for record in records])
    families = np.array([KINDS_OF_VIDEO.index(record.facts["family"]) for record in records])
    steps, progress = recipe.tokenizers.family_judge_steps, lane.progress("family judge")
    judge = vision.train_family_judge(videos, families, steps, recipe.seed, progress)
    vision.save(judge, lane.build / "judges/families.safetensors")


def judge_words(lane: Lane) -> None:
    if not lane.missing("judges/words.safetensors"):
        return
    recipe = lane.recipe
    count = recipe.world.clips // 2
    clips = _chunks(lane, "speech for the judge", ("speech→text",), recipe.seed + JUDGES_SEED, count)
    steps, progress = recipe.tokenizers.word_judge_steps, lane.progress("word judge")
    train_word_judge(*_heard(clips), steps, recipe.seed, progress).save(lane.build / "judges/words.safetensors")


CHAINS: tuple[Callable[[Lane], None], ...] = (see, hear, judge_digits, judge_words, judge_families)
"""The longest first."""


def _chunks(lane: Lane, stage: str, tasks: Sequence[str], seed: int, count: int, chunk: int = 200) -> list[Record]:
    """Records of indices 0 to `count`, told of as they are made."""
    records: list[Record] = []
    for start in range(0, count, chunk):
        records += together(tasks, seed, range(start, min(start + chunk, count)))
        lane.tell(stage, min(start + chunk, count), count, "")
    return records


def _heard(records: Sequence[Record]) -> tuple[list[np.ndarray], list[str]]:
    """Each clip once, and its word."""
    heard = [record for record in records if record.task == "speech→text"]
    return [record.segments[0].data for record in heard], [record.facts["word"] for record in heard]


def _write_examples(lane: Lane, name: str, records: Sequence[Record], tokenizers: Tokenizers) -> None:
    stage = f"examples {name}"
    lane.tell(stage, 0, 1, "")
    ExampleStore.write(lane.build / "examples" / name, encode(records, tokenizers))
    lane.tell(stage, 1, 1, "")


def _reader(lane: Lane, stage: str, seed_offset: int, steps: int) -> PPLCNet:
    """A PP-LCNet that reads the digit of pictures of a world of its own."""
    seed = lane.recipe.seed + seed_offset
    made = pictures(seed, range(lane.recipe.world.pictures // 2))
    pixels, digits = np.stack([p.pixels for p in made]), np.array([p.digit for p in made])

    def draw(step: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = np.random.default_rng((seed, step)).integers(len(digits), size=64)
        return pixels[chosen], digits[chosen]

    return vision.train_digit_judge(draw, steps, seed, lane.progress(stage))


def _vision_tokenizer(lane: Lane, stills: Sequence[Record], videos: Sequence[Record]) -> VisionTokenizer:
    """Semantic classes: the digit of a picture, and the family in the first half of a video, where it still shows."""
    teacher = _reader(lane, "teacher of the vision tokenizer", TEACHER_SEED, lane.recipe.tokenizers.teacher_steps)
    shown = [record for record in stills if record.task == "image→text"]
    moving = [record for record in videos if record.task == "video→text"]
    still_frames = np.stack([record.segments[0].data for record in shown])
    moving_frames = np.concatenate([record.segments[0].data for record in moving])
    digits = np.array([record.facts["digit"] for record in shown])
    families = [
        len(DIGITS) + FAMILIES.index(record.facts["family"]) if frame < 5 and record.facts["family"] in FAMILIES else UNKNOWN
        for record in moving
        for frame in range(len(record.segments[0].data))
    ]
    seen = Seen(still_frames, digits, moving_frames, np.array(families))
    return vision_tokenizer(seen, lane.recipe, lane.progress("vision tokenizer"), teacher)
