"""Scores on held-out records, direction by direction, each by its verifier."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import nn

from ernest.data.collate import collate
from ernest.data.examples import EncodedSegment, encode, to_frames
from ernest.data.layout import lay_out_example
from ernest.evaluation.results import Sample
from ernest.generation.engine import Engine
from ernest.generation.sampling import Sampling
from ernest.sequence.record import Record
from ernest.tokenizers.bundle import Tokenizers
from ernest.training.loss import loss_sums, mean_losses
from ernest.verifiers.speech import WordJudge
from ernest.verifiers.vision import classify, load_digit_judge, load_family_judge
from ernest.world import images, speech, video
from ernest.world.split import HELD_OUT
from ernest.world.video import FAMILIES
from ernest.world.world import records, together


@dataclass(frozen=True)
class Judges:
    """Networks that verify what no rule can: whose digit, which family, what word."""

    digits: nn.Module
    families: nn.Module
    words: WordJudge

    @classmethod
    def load(cls, folder: Path) -> Self:
        return cls(
            load_digit_judge(folder / "digits.safetensors"),
            load_family_judge(folder / "families.safetensors"),
            WordJudge.load(folder / "words.safetensors"),
        )

    def pictures_right(
        self, pixels: np.ndarray, digits: Sequence[int], colours: Sequence[str], places: Sequence[str]
    ) -> np.ndarray:
        """Digit by the judge, colour and place exactly: bool `[N]`."""
        seen = classify(self.digits, pixels) == np.array(digits)
        colour = np.array([images.read_colour(one) == colour for one, colour in zip(pixels, colours, strict=True)])
        place = np.array([images.read_place(one) == place for one, place in zip(pixels, places, strict=True)])
        return seen & colour & place

    def families_right(self, videos: np.ndarray, captions: Sequence[str]) -> np.ndarray:
        return classify(self.families, videos) == np.array([FAMILIES.index(caption) for caption in captions])

    def words_right(self, waves: Sequence[np.ndarray], words: Sequence[str]) -> np.ndarray:
        return np.array(self.words.judge(waves)) == np.array(words)


@dataclass(frozen=True)
class Outcome:
    """A score, on how many records, and some of what it was given for; `ceilings` are the verifier's own scores on true records
    and on the tokenizers' reconstructions of them."""

    value: float
    count: int
    samples: tuple[Sample, ...] = ()
    ceilings: tuple[float | None, float | None] = (None, None)


@dataclass(frozen=True)
class Examiner:
    """A model under examination: `count` held-out records of the world `seed` in each direction."""

    engine: Engine
    judges: Judges
    seed: int
    count: int
    show: int = 0

    @property
    def tokenizers(self) -> Tokenizers:
        return self.engine.tokenizers

    def indices(self, count: int) -> range:
        return range(HELD_OUT, HELD_OUT + max(1, count))

    def prompts(self, found: Sequence[Record]) -> list[tuple[EncodedSegment, ...]]:
        """The given segments of records."""
        examples = encode(found, self.tokenizers)
        return [tuple(segment for segment in document.segments if not segment.made) for document in examples]

    # ------------------------------------------------------------------ understanding

    def _answers(self, found: Sequence[Record], kind: str) -> Outcome:
        said = self.engine.texts(self.prompts(found))
        right = np.array([answer == record.segments[-1].data for answer, record in zip(said, found, strict=True)])
        samples = [
            _sample(kind, record, answer, bool(ok)) for record, answer, ok in zip(found[: self.show], said, right, strict=False)
        ]
        return Outcome(float(right.mean()), len(right), tuple(samples), (1.0, None))

    def image_to_text(self) -> Outcome:
        return self._answers(records("image→text", self.seed, self.indices(self.count)), "picture described")

    def question_about_image(self) -> Outcome:
        return self._answers(records("question about image", self.seed, self.indices(self.count)), "picture described")

    def speech_to_text(self) -> Outcome:
        return self._answers(records("speech→text", self.seed, self.indices(self.count)), "speech heard")

    def unheard_voices(self) -> Outcome:
        found = records("speech→text", self.seed, self.indices(self.count // 2), speech.UNHEARD_VOICES)
        return self._answers(found, "speech heard")

    def video_to_text(self) -> Outcome:
        return self._answers(self._films("video→text", self.count), "video described")

    def _films(self, task: str, count: int) -> list[Record]:
        """Held-out videos of the five physical families."""
        found = records(task, self.seed, self.indices(count * 6 // 5))
        return [record for record in found if record.facts["family"] in FAMILIES]

    # ------------------------------------------------------------------ generation

    def text_to_image(self) -> Outcome:
        wanted = [(d, c, p) for d in range(10) for c in images.COLOURS for p in images.PLACES]
        chosen = [wanted[i * len(wanted) // min(self.count, len(wanted))] for i in range(min(self.count, len(wanted)))]
        captions = [images.caption(*one) for one in chosen]
        pixels = self.engine.pictures([(EncodedSegment("text", caption, False),) for caption in captions], seed=self.seed)
        right = self.judges.pictures_right(pixels, *zip(*chosen, strict=True))
        picks = np.random.default_rng(self.seed).permutation(len(chosen))[: self.show]
        samples = [Sample("picture made", captions[i], pixels=pixels[i], right=bool(right[i])) for i in picks]
        return Outcome(float(right.mean()), len(right), tuple(samples), self._picture_ceilings())

    def _picture_ceilings(self) -> tuple[float, float]:
        found = images.pictures(self.seed, self.indices(self.count))
        pixels = np.stack([one.pixels for one in found])
        facts = [one.digit for one in found], [one.colour for one in found], [one.place for one in found]
        rebuilt = rebuild_frames(self.tokenizers, pixels)
        return tuple(float(self.judges.pictures_right(shown, *facts).mean()) for shown in (pixels, rebuilt))  # type: ignore[return-value]

    def text_to_speech(self) -> Outcome:
        pairs = [(speech.VOICES[i % len(speech.VOICES)].name, speech.WORDS[i % len(speech.WORDS)]) for i in range(self.count)]
        lines = [f"{voice} says {word}" for voice, word in pairs]
        waves = self.engine.sounds([(EncodedSegment("text", line, False),) for line in lines], seed=self.seed)
        right = self.judges.words_right(waves, [word for _, word in pairs])
        samples = [
            Sample("speech made", lines[i], wave=waves[i], right=bool(right[i])) for i in range(min(self.show, len(lines)))
        ]
        found = records("speech→text", self.seed, self.indices(self.count))
        true, words = [record.segments[0].data for record in found], [record.facts["word"] for record in found]
        rebuilt = self.tokenizers.audio.decode(self.tokenizers.audio.encode(true))
        ceilings = tuple(float(self.judges.words_right(waves, words).mean()) for waves in (true, rebuilt))
        return Outcome(float(right.mean()), len(right), tuple(samples), ceilings)  # type: ignore[arg-type]

    def text_to_video(self) -> tuple[Outcome, Outcome]:
        """Family; family and lawful."""
        captions = [FAMILIES[i % len(FAMILIES)] for i in range(max(5, self.count * 2 // 3))]
        videos = self.engine.videos([(EncodedSegment("text", caption, False),) for caption in captions], seed=self.seed)
        return self._film_outcomes("video made", videos, captions)

    def first_frame_to_video(self) -> tuple[Outcome, Outcome]:
        """The rest of a held-out video after its first frame, with its words: family; family and lawful."""
        found = self._films("text→video", max(5, self.count // 3))
        examples = list(encode(found, self.tokenizers))
        first = torch.stack([torch.from_numpy(document.segments[-1].data[:1]) for document in examples])
        videos = self.engine.videos([document.segments[:-1] for document in examples], seed=self.seed, first=first)
        return self._film_outcomes("video continued", videos, [record.segments[0].data for record in found])

    def _film_outcomes(self, kind: str, videos: np.ndarray, captions: Sequence[str]) -> tuple[Outcome, Outcome]:
        family = self.judges.families_right(videos, captions)
        law = video.obeys_energy_law(videos)
        samples = tuple(
            Sample(
                kind, captions[i], pixels=videos[i], curve=video.energies(videos[i]), right=bool(family[i]), lawful=bool(law[i])
            )
            for i in range(min(self.show, len(captions)))
        )
        found = self._films("text→video", max(5, self.count // 3))
        true = np.stack([record.segments[-1].data for record in found])
        names = [record.segments[0].data for record in found]
        ceilings = []
        for shown in (true, rebuild_frames(self.tokenizers, true)):
            right = self.judges.families_right(shown, names)
            ceilings.append((float(right.mean()), float((right & video.obeys_energy_law(shown)).mean())))
        (true_family, true_both), (rebuilt_family, rebuilt_both) = ceilings
        return (
            Outcome(float(family.mean()), len(family), samples, (true_family, rebuilt_family)),
            Outcome(float((family & law).mean()), len(law), (), (true_both, rebuilt_both)),
        )

    # ------------------------------------------------------------------ never trained

    def image_to_speech(self) -> Outcome:
        found = records("image→speech", self.seed, self.indices(self.count // 3))
        waves = self.engine.sounds(self.prompts(found), seed=self.seed)
        right = self.judges.words_right(waves, [record.facts["word"] for record in found])
        samples = [
            Sample(
                "untrained",
                "speak what is drawn",
                pixels=record.segments[0].data,
                wave=wave,
                right=bool(ok),
                note=record.facts["word"],
            )
            for record, wave, ok in zip(found[: min(self.show, 4)], waves, right, strict=False)
        ]
        return Outcome(float(right.mean()), len(right), tuple(samples))

    def speech_to_image(self) -> Outcome:
        found = records("speech→image", self.seed, self.indices(self.count // 3))
        pixels = self.engine.pictures(self.prompts(found), seed=self.seed)
        right = classify(self.judges.digits, pixels) == np.array([record.facts["digit"] for record in found])
        samples = [
            Sample(
                "untrained",
                "draw what is spoken",
                pixels=image,
                wave=record.segments[0].data,
                right=bool(ok),
                note=record.facts["word"],
            )
            for record, image, ok in zip(found[: min(self.show, 4)], pixels, right, strict=False)
        ]
        return Outcome(float(right.mean()), len(right), tuple(samples))

    # ------------------------------------------------------------------ text

    @torch.inference_mode()
    def text_share(self) -> Outcome:
        """Held-out bits per byte as a share of those of a unigram over the same symbols, counted on the training texts."""
        held_out = together(("text",), self.seed, self.indices(self.count))
        tokenizer = self.tokenizers.text
        ids = [tokenizer.encode(segment.data) for record in held_out for segment in record.segments if segment.made]
        trained = together(("text",), self.seed, range(2000))
        counts = np.ones(tokenizer.vocab_size)
        for record in trained:
            for segment in record.segments:
                if segment.made:
                    np.add.at(counts, [*tokenizer.encode(segment.data), tokenizer.eos], 1)
        log_p = np.log(counts / counts.sum())
        unigram = -sum(log_p[[*one, tokenizer.eos]].sum() for one in ids)
        nats = 0.0
        examples = list(encode(held_out, self.tokenizers))
        for start in range(0, len(examples), 32):
            placed = [lay_out_example(example, self.tokenizers, tokenizer.encode) for example in examples[start : start + 32]]
            batch = collate([[one] for one in placed], max(len(one.layout) for one in placed), self.tokenizers)
            total, count = loss_sums(self.engine.model(batch, self.engine.submodels(len(placed))), batch)
            nats += mean_losses(total, count)["text"] * float(count[0])
        samples = tuple(Sample("text", text=line) for line in self._continued())
        return Outcome(nats / float(unigram), len(held_out), samples)

    def _continued(self) -> list[str]:
        """Texts that the model writes from nothing."""
        return self.engine.texts([()] * min(self.show, 6), Sampling(temperature=0.8), self.seed) if self.show else []


def rebuild_frames(tokenizers: Tokenizers, pixels: np.ndarray) -> np.ndarray:
    """Frames uint8 `[..., height, width, 3]` through the vision tokenizer and back."""
    flat = to_frames(pixels.reshape(-1, *pixels.shape[-3:]))
    vision = tokenizers.vision
    with torch.inference_mode():
        parts = [vision.decode(vision.quantiser.history(vision.encode(part)).total) for part in flat.split(256)]
    rebuilt = (torch.cat(parts) * 255).round().to(torch.uint8).movedim(1, -1)
    return rebuilt.numpy().reshape(pixels.shape)


def _sample(kind: str, record: Record, answer: str, right: bool) -> Sample:
    first = record.segments[0]
    pixels = first.data if first.kind in ("image", "video") else None
    wave = first.data if first.kind == "audio" else None
    truth = record.segments[-1].data
    prompt = " ".join(segment.data for segment in record.segments[1:-1] if segment.kind == "text")
    return Sample(kind, prompt, answer, pixels, wave, right=right, note="" if right else f"in truth: {truth}")


DIRECTIONS: dict[str, Callable[[Examiner], Outcome | tuple[Outcome, Outcome]]] = {
    "image→text": Examiner.image_to_text,
    "speech→text": Examiner.speech_to_text,
    "speech→text, voices never heard": Examiner.unheard_voices,
    "text→image": Examiner.text_to_image,
    "text→speech": Examiner.text_to_speech,
    "video→text": Examiner.video_to_text,
    "text→video": Examiner.text_to_video,
    "first frame→video": Examiner.first_frame_to_video,
    "question about image": Examiner.question_about_image,
    "text": Examiner.text_share,
    "image→speech": Examiner.image_to_speech,
    "speech→image": Examiner.speech_to_image,
}
"""What each direction is examined by; the two of video give family, and family with law."""
