"""Refuses what a model cannot or never learnt, and says what is doubtful: the same for commands, Python and whoever else asks."""

from collections.abc import Sequence

from ernest.checkpoint import Learnt
from ernest.data.examples import EncodedSegment
from ernest.data.learnt import direction, kind_of, words_of
from ernest.generation.request import Request
from ernest.model.network import Ernest
from ernest.model.submodel import check
from ernest.sequence.record import Kind
from ernest.tokenizers.bundle import Tokenizers

NAMES = {"text": "a text", "image": "a picture", "video": "a video", "audio": "a sound"}
MOST_WORDS, LONGEST_WORD = 5, 40


class PromptTooLong(ValueError):
    """A prompt of more positions than a model was trained on."""


def refuse_unlearnt(learnt: Learnt, prompt: Sequence[EncodedSegment], kinds: Sequence[Kind] | None, positions: int) -> None:
    """Raises ValueError for kinds that the model was never given, or never made, and for a prompt of more `positions` than any
    document of its training had, which is a PromptTooLong."""
    if learnt.directions:
        pairs = [name.split("→") for name in learnt.directions]
        given, made = {kind for before, _ in pairs for kind in before.split("+")}, {after for _, after in pairs}
        trained = f"it was trained on {', '.join(learnt.directions)}"
        for kind in map(kind_of, prompt):
            if kind not in given:
                raise ValueError(f"the model never learnt to understand {NAMES[kind]}: {trained}")
        for kind in kinds or ():
            if kind not in made:
                raise ValueError(f"the model never learnt to make {NAMES[kind]}: {trained}")
    if positions > learnt.positions:
        raise PromptTooLong(
            f"the prompt takes {positions:,} positions, and the model was trained on documents of at most {learnt.positions:,}"
        )


def refuse_impossible(request: Request, model: Ernest, tokenizers: Tokenizers, most: int) -> None:
    """Raises ValueError for a sub-model, or frames of a video, that the model does not have; `most` latents are its longest."""
    if request.submodel is not None:
        check(request.submodel, model.config, model.spec.levels)
    if request.frames is not None and request.frames > most:
        raise ValueError(f"frames = {request.frames}: a video of this model has at most {most} latents")
    first, quantiser, most = request.first_frames, tokenizers.vision.quantiser, request.frames or most
    if first is None:
        return
    if request.kinds is not None and "video" not in request.kinds:
        raise ValueError(f"first_frames: they begin a video, and what is to be made is {', '.join(request.kinds)}")
    shape = quantiser.bits, *quantiser.sizes[-1]
    if first.dim() != 4 or len(first) > most or tuple(first.shape[1:]) != shape:
        raise ValueError(f"first_frames: expected at most {most} latents {list(shape)}, got {list(first.shape)}")


def doubts_about(learnt: Learnt, prompt: Sequence[EncodedSegment], kinds: Sequence[Kind] | None) -> tuple[str, ...]:
    """One line for each thing that makes an answer doubtful: kinds that were never trained together, words never seen."""
    found = []
    given: list[Kind] = [kind_of(segment) for segment in prompt]
    for kind in kinds or ():
        name = direction(given, kind)
        if learnt.directions and given and name not in learnt.directions:
            found.append(f"the model was never trained on {name}, only on {', '.join(learnt.directions)}")
        given = [*given, kind]
    asked = [word for segment in prompt if segment.form == "text" for word in sorted(words_of(segment.data))]
    unseen = [_short(word) for word in dict.fromkeys(asked) if learnt.words and word not in set(learnt.words)]
    if unseen:
        more = f" and {len(unseen) - MOST_WORDS} more" if len(unseen) > MOST_WORDS else ""
        found.append(f"the model never saw {', '.join(map(repr, unseen[:MOST_WORDS]))}{more} in its training")
    return tuple(found)


def _short(word: str) -> str:
    return word if len(word) <= LONGEST_WORD else f"{word[:LONGEST_WORD]}…"
