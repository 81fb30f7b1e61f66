"""Reads a row of a data set, as JSON lines and parquet hold them, as the parts of a document.

Interleaved rows have parallel lists `texts` and `images` with nothing where the other has something (OBELICS, MINT-1T,
OmniCorpus), or a `text_list` and images with the number of the text that each stands before (MMC4). Chats have `messages` or
`conversations`, whose contents are texts with `<image>` where a medium of the row's own list stands (LLaVA, ShareGPT), or lists
of typed parts (OpenAI, `transformers`). Pairs have `texts` of a user and an assistant, about all media of the row (the
Cauldron, FineVision).
"""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ernest.data.documents import Part, Reference

_MESSAGES = ("messages", "conversations", "conversation")
_LISTS = {"image": ("images", "image"), "video": ("videos", "video"), "audio": ("audios", "audio")}
_MADE = ("assistant", "gpt", "model", "bot", "chatgpt", "function_call")
_GIVEN = ("user", "human", "system", "developer", "tool", "function", "observation")
_TEXTS = ("text", "input_text", "output_text")
_HOLDERS = ("url", "path", "data", "bytes", "file")

Parts = list[Part | Reference]


def is_document(row: Any) -> bool:
    """Whether a row is a document by the names of its fields."""
    if not isinstance(row, Mapping):
        return False
    listed = {name for name, value in row.items() if isinstance(value, Sequence) and not isinstance(value, str | bytes)}
    parallel = "texts" in listed and bool(listed & {names[0] for names in _LISTS.values()})
    return bool(listed & {*_MESSAGES}) or parallel or {"text_list", "image_info"} <= listed


def read_row(row: Mapping[str, Any]) -> tuple[Parts, bool]:
    """The parts of a row, and whether it is a chat. Raises ValueError that says what cannot be understood."""
    if not is_document(row):
        raise ValueError("neither messages, nor texts beside images, nor text_list beside image_info")
    messages = next((row[name] for name in _MESSAGES if isinstance(row.get(name), Sequence)), None)
    if messages is not None:
        return _chat(messages, _own_media(row)), True
    if "text_list" in row:
        return list(_numbered(row["text_list"], row["image_info"])), False
    if any(isinstance(text, Mapping) for text in row["texts"]):
        pairs = [{"role": role, "content": pair.get(role)} for pair in row["texts"] for role in ("user", "assistant")]
        return _chat(pairs, _own_media(row)), True
    return list(_parallel(row)), False


# ------------------------------------------------------------------ interleaved lists


def _parallel(row: Mapping[str, Any]) -> Iterator[Part | Reference]:
    lists = [row[names[0]] for names in _LISTS.values() if isinstance(row.get(names[0]), Sequence)]
    texts = row["texts"]
    if any(len(media) != len(texts) for media in lists):
        raise ValueError(f"{len(texts)} texts beside {' and '.join(str(len(media)) for media in lists)} media: not parallel")
    for number, (text, *media) in enumerate(zip(texts, *lists, strict=True)):
        there = [one for one in media if one is not None]
        if len(there) + bool(text) > 1:
            raise ValueError(f"texts[{number}] stands beside a medium, and nothing says which comes first")
        if text:
            yield _paragraph(text, f"texts[{number}]")
        for one in there:
            yield Reference(_source(one), anywhere=True)


def _numbered(texts: Sequence[Any], images: Sequence[Any]) -> Iterator[Part | Reference]:
    before: dict[int, list[Any]] = {}
    for image in images:
        number = image.get("matched_text_index") if isinstance(image, Mapping) else None
        if not isinstance(number, int) or not 0 <= number < len(texts):
            raise ValueError(f"image_info: matched_text_index {number!r} is none of the {len(texts)} texts")
        before.setdefault(number, []).append(image.get("image_name") or image.get("raw_url") or "")
    for number, text in enumerate(texts):
        yield from (Reference(name, anywhere=True) for name in before.get(number, []))
        if text:
            yield _paragraph(text, f"text_list[{number}]")


def _paragraph(text: Any, field: str) -> Part:
    return Part("text", f"{_checked(text, field).strip()}\n")


# ------------------------------------------------------------------ chats

_Place = tuple[str, str | bytes | None]
"""Where a medium stands: its kind, and what names it, None for the next one of the row's own."""


def _chat(messages: Sequence[Any], media: Mapping[str, list[Any]]) -> Parts:
    """What each message says and shows. The row's own media stand where messages have places for them, or else, where no message
    names any of that kind, before all that is said to the assistant."""
    said: list[tuple[bool, list[str | _Place]]] = []
    for number, message in enumerate(messages):
        made, content = _speaker(message, f"messages[{number}]")
        said.append((made, list(_content(content, media, f"messages[{number}]"))))
    waiting = {}
    for kind, own in media.items():
        places = [one for _, content in said for one in content if not isinstance(one, str) and one[0] == kind]
        if own and not places:
            first = next((content for made, content in said if not made and content), None)
            if first is None:
                raise ValueError(f"no message to the assistant in which the row's own {kind} could stand")
            first[:0] = [(kind, None)] * len(own)
        elif (count := places.count((kind, None))) != len(own) and (count or len(places) != len(own)):
            raise ValueError(f"{count} places <{kind}> for {len(own)} media of that kind")
        waiting[kind] = iter(own)
    parts: Parts = []
    for turn, (made, content) in enumerate(said):
        for one in content:
            if isinstance(one, str):
                parts.append(Part("text", one, made=made, turn=turn))
            else:
                source = _source(next(waiting[one[0]])) if one[1] is None else one[1]
                parts.append(Reference(source, made=made, turn=turn, anywhere=True))
    if not any(part.made for part in parts):
        raise ValueError("nothing is said by the assistant")
    return parts


def _speaker(message: Any, field: str) -> tuple[bool, Any]:
    """Whether a message is made, and its content."""
    if not isinstance(message, Mapping):
        raise ValueError(f"{field}: expected an object with role and content")
    role = str(message.get("role", message.get("from"))).lower()
    if role not in (*_MADE, *_GIVEN):
        raise ValueError(f"{field}: role {role!r} is none of {', '.join((*_GIVEN, *_MADE))}")
    return role in _MADE, message.get("content", message.get("value"))


def _content(content: Any, media: Mapping[str, list[Any]], field: str) -> Iterator[str | _Place]:
    """Texts and places of media, in the order in which a message has them."""
    if content is None or not isinstance(content, Sequence) or isinstance(content, str):
        yield from _cut(_checked("" if content is None else content, field), media)
        return
    for number, part in enumerate(content):
        where = f"{field}.content[{number}]"
        if isinstance(part, str):
            part = {"type": "text", "text": part}
        name = str(part.get("type")) if isinstance(part, Mapping) else ""
        kind = next((one for one in _LISTS if one in name), None)
        if name in _TEXTS:
            yield from _cut(_checked(part.get("text") or "", where), media)
        elif kind is None:
            raise ValueError(f"{where}: a part of type {name!r} is neither text, image, video nor audio")
        else:
            held = next((part[key] for key in (name, kind, *_HOLDERS, "source") if part.get(key) is not None), None)
            if held is None and kind not in media:
                raise ValueError(f"{where}: names no medium, and the row has no list of its own")
            yield kind, None if held is None else _source(held)


def _cut(text: str, media: Mapping[str, list[Any]]) -> Iterator[str | _Place]:
    """A text cut where it writes `<image>` for a medium of the row; for a kind of which the row has no list that is text."""
    marks = {f"<{kind}>": kind for kind in media}
    for one in re.split(f"({'|'.join(marks)})", text) if marks else [text]:
        if one in marks:
            yield marks[one], None
        elif one.strip():
            yield one.strip()


def _own_media(row: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The row's own list of each kind that it has one of."""
    found = {}
    for kind, names in _LISTS.items():
        value = next((row[name] for name in names if row.get(name) is not None), None)
        if value is not None:
            found[kind] = list(value) if isinstance(value, Sequence) and not isinstance(value, str | bytes) else [value]
    return found


# ------------------------------------------------------------------ values


def _source(value: Any) -> str | bytes:
    """What names a medium: a path or an address, or its bytes, in base64 too. Raises ValueError where nothing does."""
    if isinstance(value, str | bytes) and value:
        return value
    if isinstance(value, Mapping):
        if isinstance(data := value.get("data"), str):
            try:
                return base64.b64decode(data.partition(",")[2] if data.startswith("data:") else data, validate=True)
            except binascii.Error as error:
                raise ValueError(f"a medium's data are no base64: {error}") from error
        held = next((value[name] for name in ("bytes", "url", "path", "file") if value.get(name) is not None), None)
        if held is not None:
            return _source(held)
    raise ValueError(f"a medium is named by {str(value)[:40]!r}: expected a path, an address, or bytes")


def _checked(text: Any, field: str) -> str:
    if not isinstance(text, str):
        raise ValueError(f"{field}: expected a text, got {str(text)[:40]!r}")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError(f"{field}: holds half a surrogate pair")
    return text
