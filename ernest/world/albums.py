"""Make documents in which words, pictures and sounds alternate, each part leaning on those before it; some make two kinds.

They are off in the demo's mixture. `text→image, text→image` draws a picture and, asked for another colour, the same hand's digit
again; `image→text, text→speech` describes a picture and says its digit; `speech→text, text→image` writes what it hears and
draws it.
"""

from ernest.sequence.record import Record, given, made
from ernest.world import speech
from ernest.world.images import COLOURS, DIGITS, Picture, caption, picture
from ernest.world.sizes import SIZE
from ernest.world.speech import VOICES, Voice
from ernest.world.split import generator

RECOLOURED, READ_ALOUD, HEARD = "text→image, text→image", "image→text, text→speech", "speech→text, text→image"
ALBUMS = (RECOLOURED, READ_ALOUD, HEARD)


def album(task: str, seed: int, index: int, voices: tuple[Voice, ...] = VOICES, size: int = SIZE) -> Record:
    """The document `index` of one of `ALBUMS`; `facts` hold what its last part must show or say."""
    first = picture(seed, index, size)
    words = caption(first.digit, first.colour, first.place)
    if task == RECOLOURED:
        second = picture(seed, index, size, another_colour(seed, index, first))
        segments = given("text", words), made("image", first.pixels), given("text", f"now in {second.colour}")
        return Record((*segments, made("image", second.pixels)), task, _shown(second))
    clip = speech.speech(seed, index, voices, (DIGITS[first.digit],))
    if task == READ_ALOUD:
        segments = given("image", first.pixels), made("text", words), given("text", f"{clip.voice} says the digit")
        return Record((*segments, made("audio", clip.wave)), task, {"word": clip.word, "voice": clip.voice})
    where = words.split(maxsplit=3)[3]
    segments = given("audio", clip.wave), made("text", clip.word), given("text", f"draw it in {first.colour} {where}")
    return Record((*segments, made("image", first.pixels)), task, _shown(first))


def another_colour(seed: int, index: int, first: Picture) -> str:
    """Any but that of the first picture."""
    others = [colour for colour in COLOURS if colour != first.colour]
    return others[generator(seed, index, "album").integers(len(others))]


def _shown(shown: Picture) -> dict[str, int | str]:
    return {"digit": shown.digit, "colour": shown.colour, "place": shown.place}
