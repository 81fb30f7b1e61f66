"""`/v1/chat/completions`: text, pictures, films and sounds in; text, a sound and pictures out; at once or in OpenAI's stream."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from ernest.sequence.record import Kind, Segment, given
from ernest.serve import errors, media_out
from ernest.serve.media_in import data_url, from_base64
from ernest.serve.schemas import AudioPart, ChatBody, ImagePart, Part, TextPart
from ernest.serve.service import Served, Service, doubt_headers, sampling, seed
from ernest.serve.stream import DONE, EventStream, collect, ends, sse
from ernest.serve.work import Made, Token, Update, Work

router = APIRouter()
_KEPT = 3600
"""Seconds until a sound is said to expire; it is not kept at all, since the answer holds it."""


@router.post("/v1/chat/completions")
async def create(body: ChatBody, request: Request, service: Served) -> Response:
    """Answers a conversation."""
    work = await _work(body, service)
    form = _audio_form(body)
    job = await service.submit(work)
    answer = _Answer(body, work.kinds or (), str(work.model), form, job.accepted.positions)
    if body.stream:
        return EventStream(job, answer.stream(job.updates()), service.limits.silence_seconds, doubt_headers(job))
    updates = await collect(request, job)
    return errors.Json(await answer.whole(updates), headers=doubt_headers(job))


# ------------------------------------------------------------------ what is asked


async def _work(body: ChatBody, service: Service) -> Work:
    segments = await _segments(body, service)
    asked = body.modalities or ["text"]
    kinds: list[Kind] = [kind for kind in ("text", "image", "audio") if kind in asked]
    stop = [body.stop] if isinstance(body.stop, str) else body.stop or []
    told = body.stream or body.logprobs
    return Work(
        service.find(body.model),
        tuple(segments),
        tuple(kinds),
        sampling(body, *kinds),
        seed(body),
        service.samples(body.n),
        body.max_completion_tokens or body.max_tokens,
        tuple(stop),
        frozenset(["text"] if told else []),
    )


async def _segments(body: ChatBody, service: Service) -> list[Segment]:
    """All parts of all messages, in order. Raises ApiError for none, too many, and too much text."""
    parts = [
        (f"messages.{number}.content{place}", part)
        for number, message in enumerate(body.messages)
        for place, part in _parts(message.content)
    ]
    if not parts:
        raise errors.wrong("messages: they hold no content", "messages")
    # An empty turn says nothing, such as a system's that was left out, or an answer that ended at once.
    parts = [one for one in parts if (text := _text_in(one[1])) is None or text.strip()] or parts[:1]
    if sum(_text_in(part) is None for _, part in parts) > service.limits.parts:
        raise errors.wrong(f"messages: more than {service.limits.parts} pictures, films and sounds in all", "messages")
    if sum(len(_text_in(part) or "") for _, part in parts) > service.limits.prompt:
        raise errors.wrong(f"messages: more than {service.limits.prompt:,} characters in all", "messages")
    return [await _segment(name, part, body.model, service) for name, part in parts]


def _parts(content: str | Sequence[Part] | None) -> list[tuple[str, str | Part]]:
    """Of one message, with the places that they have in its content."""
    return [("", content)] if isinstance(content, str) else [(f".{number}", part) for number, part in enumerate(content or ())]


def _text_in(part: str | Part) -> str | None:
    return part if isinstance(part, str) else part.text if isinstance(part, TextPart) else None


async def _segment(name: str, part: str | Part, model: str | None, service: Service) -> Segment:
    if isinstance(part, str | TextPart):
        return given("text", service.check_text(_text_in(part) or "", name))
    if isinstance(part, AudioPart):
        return await service.read(model, name, from_base64(name, part.input_audio.data), "audio")
    if isinstance(part, ImagePart):
        return await service.read(model, name, data_url(name, part.image_url.url), "image", "video")
    return await service.read(model, name, data_url(name, part.video_url.url), "video")


def _audio_form(body: ChatBody) -> str:
    """Of the sound that is asked for. Raises ApiError for one that cannot be streamed."""
    form = body.audio.format if body.audio else "wav"
    if body.stream and form != "pcm16" and "audio" in (body.modalities or ()):
        raise errors.unsupported("audio.format", form, "a sound is streamed as pcm16")
    return form


# ------------------------------------------------------------------ what is answered


@dataclass
class _Answer:
    body: ChatBody
    kinds: Sequence[Kind]
    model: str
    form: str
    positions: int
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def speaks(self) -> bool:
        """The text is then the transcript of a sound."""
        return "audio" in self.kinds

    async def whole(self, updates: list[Update]) -> dict[str, Any]:
        """The whole answer."""
        ended = ends(updates)
        choices = [
            {
                "index": update.sample,
                "message": await self._message(update),
                "logprobs": self._logprobs([token for u in updates if u.sample == update.sample for token in u.tokens]),
                "finish_reason": update.ending,
            }
            for update in ended
        ]
        return self._envelope("chat.completion", choices) | {"usage": self._usage(sum(update.choices for update in ended))}

    async def _message(self, update: Update) -> dict[str, Any]:
        text = _text_of(update)
        message: dict[str, Any] = {"role": "assistant", "content": None if self.speaks else text, "refusal": None}
        for made in update.made:
            if made.kind == "image":
                message.setdefault("images", []).append(_image(made))
            elif made.kind == "audio":
                data = media_out.to_base64(await self._sound(made))
                message["audio"] = {"id": _audio_id(), "data": data, "transcript": text or "", "expires_at": self.created + _KEPT}
        return message

    async def stream(self, updates: AsyncIterator[Update]) -> AsyncIterator[str]:
        """The same, piece by piece."""
        for index in range(self.body.n or 1):
            yield self._chunk(index, {"role": "assistant"} | ({"audio": {"id": _audio_id()}} if self.speaks else {"content": ""}))
        choices = 0
        async for update in updates:
            if update.what == "text":
                delta = {"audio": {"transcript": update.text}} if self.speaks else {"content": update.text}
                yield self._chunk(update.sample, delta, logprobs=self._logprobs(update.tokens))
            elif update.what == "end":
                choices += update.choices
                async for delta in self._media(update):
                    yield self._chunk(update.sample, delta)
                yield self._chunk(update.sample, {}, update.ending)
        if self.body.stream_options and self.body.stream_options.include_usage:
            yield sse(self._envelope("chat.completion.chunk", []) | {"usage": self._usage(choices)})
        yield DONE

    async def _media(self, update: Update) -> AsyncIterator[dict[str, Any]]:
        """Deltas of what is no text."""
        for made in update.made:
            if made.kind == "image":
                yield {"images": [_image(made)]}
            elif made.kind == "audio":
                for piece in media_out.pieces(await self._sound(made)):
                    yield {"audio": {"data": piece}}
                # Alone and last: OpenAI's client joins what stands beside it in several chunks.
                yield {"audio": {"expires_at": self.created + _KEPT}}

    async def _sound(self, made: Made) -> bytes:
        return await asyncio.to_thread(media_out.sound, made.data, "pcm" if self.form == "pcm16" else self.form, made.rate)

    def _chunk(self, index: int, delta: Mapping[str, Any], reason: str | None = None, logprobs: Any = None) -> str:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        with_usage = self.body.stream_options and self.body.stream_options.include_usage
        return sse(self._envelope("chat.completion.chunk", [choice]) | ({"usage": None} if with_usage else {}))

    def _envelope(self, name: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        head = {"id": self.id, "object": name, "created": self.created, "model": self.model}
        return head | {"choices": choices, "system_fingerprint": None}

    def _usage(self, choices: int) -> dict[str, int]:
        return {"prompt_tokens": self.positions, "completion_tokens": choices, "total_tokens": self.positions + choices}

    def _logprobs(self, tokens: Sequence[Token]) -> dict[str, Any] | None:
        return {"content": [_logprob(token) for token in tokens], "refusal": None} if self.body.logprobs else None


def _text_of(update: Update) -> str | None:
    texts = [made.data for made in update.made if made.kind == "text"]
    return "".join(texts) if texts else None


def _image(made: Made) -> dict[str, Any]:
    url = f"data:image/png;base64,{media_out.to_base64(media_out.picture(made.data))}"
    return {"type": "image_url", "index": 0, "image_url": {"url": url}}


def _audio_id() -> str:
    return f"audio_{secrets.token_hex(12)}"


def _logprob(token: Token) -> dict[str, Any]:
    """A token may hold half a character, which has no bytes in UTF-8."""
    try:
        text = token.spelled.decode("utf-16-be")
        spelled = list(text.encode())
    except UnicodeError:
        text, spelled = token.spelled.decode("utf-16-be", "replace"), None
    return {"token": text, "logprob": max(token.log_prob, -9999.0), "bytes": spelled, "top_logprobs": []}
