"""What OpenAI's own client must be able to do with a server, whichever version of it is installed.

`python tests/serve/openai_client.py URL` runs all of it, for a client that lies in another folder.
"""

import base64
import inspect
import io
import sys
import warnings
import wave
from collections.abc import Callable, Mapping

import openai
from openai import OpenAI

SOUND_RATE = 24_000


def client_of(url: str) -> OpenAI:
    return OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=60)


def picture_url() -> str:
    """A red square of 2 x 2 pixels, as PPM."""
    return "data:image/x-portable-pixmap;base64," + base64.b64encode(b"P6\n2 2\n255\n" + b"\xff\0\0" * 4).decode()


def wav(seconds: float = 0.3) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(range(256)) * round(seconds * 8000 / 128))
    return file.getvalue()


def ask(client: OpenAI, content, **how):
    return client.chat.completions.create(model="demo", messages=[{"role": "user", "content": content}], **how)


# ------------------------------------------------------------------ models


def check_models(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["demo", "demo:layers=4,experts=4,top_k=1"]
    model = client.models.retrieve("demo:layers=5")
    assert (model.id, model.object, model.owned_by) == ("demo:layers=5", "model", "ernest")
    assert model.created > 0
    must_fail(openai.NotFoundError, "model_not_found", lambda: client.models.retrieve("other"))


def must_fail(kind: type[openai.APIStatusError], code: str, call: Callable[[], object]) -> openai.APIStatusError:
    found: openai.APIStatusError | None = None
    try:
        call()
    except kind as error:
        found = error
    assert found is not None, f"expected {kind.__name__}"
    assert found.code == code, found
    assert found.request_id, "an error needs the id of its request"
    return found


# ------------------------------------------------------------------ chat


def check_chat(client: OpenAI) -> None:
    answer = ask(client, "a red seven", temperature=0, max_tokens=9, n=2, seed=1)
    assert answer.object == "chat.completion"
    assert answer.model == "demo"
    assert [choice.index for choice in answer.choices] == [0, 1]
    first, second = (choice.message.content for choice in answer.choices)
    assert first == second, "greedy answers are alike"
    assert first
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].finish_reason in ("stop", "length")
    usage = answer.usage
    assert usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert 0 < usage.completion_tokens <= 18
    assert usage.prompt_tokens > 0


def check_chat_stream(client: OpenAI) -> None:
    """Joined, the pieces are the answer that comes at once."""
    whole = ask(client, "three plus four", temperature=0)
    pieces = {0: "", 1: ""}
    reasons = {}
    usage = None
    for chunk in ask(client, "three plus four", temperature=0, n=2, stream=True, stream_options={"include_usage": True}):
        assert chunk.object == "chat.completion.chunk"
        if not chunk.choices:
            assert usage is None, "the usage comes once"
            usage = chunk.usage
        for choice in chunk.choices:
            assert usage is None, "the usage comes last"
            assert choice.index not in reasons, "nothing follows a finish_reason"
            pieces[choice.index] += choice.delta.content or ""
            if choice.finish_reason:
                reasons[choice.index] = choice.finish_reason
    assert pieces == {0: whole.choices[0].message.content, 1: whole.choices[0].message.content}
    assert set(reasons.values()) == {whole.choices[0].finish_reason}
    assert usage
    assert usage.completion_tokens == 2 * whole.usage.completion_tokens


def check_chat_stream_helper(client: OpenAI) -> None:
    """The client's own accumulator, which is stricter than reading the chunks."""
    text = ask(client, "a red seven", temperature=0).choices[0].message.content
    how = {"temperature": 0, "stop": text[3]}  # the client raises an error for an answer that a length ended
    messages = [{"role": "user", "content": "a red seven"}]
    with client.chat.completions.stream(model="demo", messages=messages, **how) as stream:
        events = [event.type for event in stream]
        final = stream.get_final_completion()
    assert "content.delta" in events
    assert final.choices[0].message.content == text[: text.index(text[3])]


def check_chat_stop_and_logprobs(client: OpenAI) -> None:
    whole = ask(client, "a red seven", temperature=0, logprobs=True).choices[0]
    assert whole.logprobs
    tokens = whole.logprobs.content
    assert tokens
    assert all(token.logprob <= 0 and token.top_logprobs == [] for token in tokens)
    text = whole.message.content
    word = text[3]
    stopped = ask(client, "a red seven", temperature=0, stop=[word, "never"]).choices[0]
    assert stopped.message.content == text[: text.index(word)]
    assert stopped.finish_reason == "stop"
    stream = ask(client, "a red seven", temperature=0, stop=word, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == stopped.message.content
    short = ask(client, "a red seven", temperature=0, max_completion_tokens=2)
    assert short.usage.completion_tokens == 2
    assert short.choices[0].finish_reason == "length"
    assert text.startswith(short.choices[0].message.content)


def check_chat_media(client: OpenAI) -> None:
    """Pictures and sounds go in."""
    parts = [{"type": "text", "text": "is it red"}, {"type": "image_url", "image_url": {"url": picture_url()}}]
    assert ask(client, parts, temperature=0).choices[0].message.content is not None
    sound = {"data": base64.b64encode(wav()).decode(), "format": "wav"}
    assert ask(client, [{"type": "input_audio", "input_audio": sound}]).choices[0].message.content is not None
    outside = [{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}]
    error = must_fail(openai.BadRequestError, "unsupported_value", lambda: ask(client, outside))
    assert error.param == "messages.0.content.0"


def check_chat_audio(client: OpenAI) -> None:
    how = {"modalities": ["text", "audio"], "temperature": 0}
    answer = ask(client, "a red seven", audio={"voice": "alloy", "format": "wav"}, **how)
    message = answer.choices[0].message
    assert message.content is None
    assert message.audio
    assert base64.b64decode(message.audio.data)[:4] == b"RIFF"
    assert message.audio.expires_at > answer.created
    pieces, transcript, ids, expiries, order = b"", "", [], [], []
    for chunk in ask(client, "a red seven", audio={"voice": "alloy", "format": "pcm16"}, stream=True, **how):
        for choice in chunk.choices:
            audio = getattr(choice.delta, "audio", None)
            if audio and not isinstance(audio, dict):  # a class of the client's since 3.0
                audio = audio.model_dump(exclude_unset=True)
            order.append(sorted(audio) if audio else choice.finish_reason)
            if audio:
                ids += [audio["id"]] if "id" in audio else []
                expiries += [audio["expires_at"]] if "expires_at" in audio else []
                transcript += audio.get("transcript", "")
                pieces += base64.b64decode(audio.get("data", ""), validate=True)
    assert len(ids) == 1
    assert len(expiries) == 1
    assert order[0] == ["id"], "the id comes first"
    assert order[-2:] == [["expires_at"], answer.choices[0].finish_reason], order[-3:]
    assert transcript == message.audio.transcript
    samples = (len(base64.b64decode(message.audio.data)) - 44) // 2
    assert len(pieces) == 2 * samples
    refused = lambda: ask(client, "a", audio={"voice": "x", "format": "wav"}, stream=True, **how)
    assert must_fail(openai.BadRequestError, "unsupported_value", refused).param == "audio.format"


def check_chat_audio_stream_helper(client: OpenAI) -> None:
    """The accumulator glues what several chunks say of one field: only base64 and the transcript may come in pieces."""
    with client.chat.completions.stream(
        model="demo",
        messages=[{"role": "user", "content": "a red seven"}],
        modalities=["text", "audio"],
        audio={"voice": "alloy", "format": "pcm16"},
        temperature=0,
    ) as stream:
        for _ in stream:
            pass
        audio = stream.current_completion_snapshot.choices[0].message.audio
    assert audio
    assert audio.id.count("audio_") == 1
    assert audio.expires_at < 1e11
    assert len(base64.b64decode(audio.data, validate=True)) % 2 == 0
    assert audio.transcript


def check_chat_pictures(client: OpenAI) -> None:
    """As other servers send them, in a field that OpenAI's client passes on unread."""
    how = {"extra_body": {"modalities": ["text", "image"]}, "temperature": 0, "max_tokens": 4}
    message = ask(client, "a red seven", **how).choices[0].message
    (image,) = message.model_extra["images"]
    assert image["image_url"]["url"].startswith("data:image/png;base64,iVBOR")
    streamed = [
        image
        for chunk in ask(client, "a red seven", stream=True, **how)
        for image in (chunk.choices[0].delta.model_extra or {}).get("images", [])
    ]
    assert streamed == [image]


def check_chat_refusals(client: OpenAI) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    refused = {"tools": [tool], "presence_penalty": 1, "response_format": {"type": "json_object"}, "top_logprobs": 2}
    for field, value in refused.items():
        call = lambda field=field, value=value: ask(client, "a", **{field: value})
        assert (must_fail(openai.BadRequestError, "invalid_value", call).param or "").startswith(field)
    must_fail(openai.BadRequestError, "unknown_parameter", lambda: ask(client, "a", extra_body={"speed": 1}))
    must_fail(openai.BadRequestError, "context_length_exceeded", lambda: ask(client, "red " * 300))
    empty = must_fail(openai.BadRequestError, "invalid_value", lambda: ask(client, " "))
    assert empty.param == "messages.0.content"


# ------------------------------------------------------------------ pictures


def check_images(client: OpenAI) -> None:
    answer = client.images.generate(prompt="a red seven", model="demo", n=2, size="256x256", output_format="webp")
    assert answer.data
    assert [base64.b64decode(image.b64_json)[8:12] for image in answer.data] == [b"WEBP", b"WEBP"]
    assert (answer.size, answer.output_format, answer.background) == ("256x256", "webp", "opaque")
    assert answer.usage
    assert answer.usage.output_tokens == 6, "three scales of each"
    plain = client.images.generate(prompt="a red seven", extra_body={"seed": 3})
    again = client.images.generate(prompt="a red seven", extra_body={"seed": 3})
    assert plain.data[0].b64_json == again.data[0].b64_json
    for field, value in {"size": "1536x1024", "response_format": "url", "background": "transparent", "quality": "high"}.items():
        call = lambda field=field, value=value: client.images.generate(prompt="a", **{field: value})
        code = "unsupported_value" if field == "size" else "invalid_value"
        assert must_fail(openai.BadRequestError, code, call).param == field


def check_images_stream(client: OpenAI) -> None:
    """The scales are the partial images."""
    for asked in (0, 1, 3):
        stream = client.images.generate(prompt="a red seven", stream=True, partial_images=asked, extra_body={"seed": 3})
        events = list(stream)
        assert [e.type for e in events] == ["image_generation.partial_image"] * asked + ["image_generation.completed"]
        assert [e.partial_image_index for e in events[:-1]] == list(range(asked))
        assert events[-1].usage.output_tokens == 3
    whole = client.images.generate(prompt="a red seven", extra_body={"seed": 3}).data[0].b64_json
    assert events[-1].b64_json == whole
    assert events[2].b64_json == whole, "the last scale is the picture"
    assert events[0].b64_json != whole


def check_image_edits(client: OpenAI) -> None:
    call = lambda: client.images.edit(image=("a.png", b"x"), prompt="a")
    must_fail(openai.BadRequestError, "unsupported_endpoint", call)


# ------------------------------------------------------------------ sounds


def check_speech(client: OpenAI) -> None:
    heads = {"wav": b"RIFF", "flac": b"fLaC", "opus": b"OggS", "mp3": None, "pcm": None}
    sizes = {}
    for form, head in heads.items():
        how = {"response_format": form, "extra_body": {"seed": 1}}
        sound = client.audio.speech.create(model="demo", voice="alloy", input="seven", **how).read()
        assert head is None or sound.startswith(head), form
        sizes[form] = len(sound)
    assert sizes["wav"] == sizes["pcm"] + 44
    assert sizes["pcm"] % (2 * 0.08 * SOUND_RATE) == 0, "frames of 80 ms"
    with client.audio.speech.with_streaming_response.create(model="demo", voice="x", input="seven") as response:
        assert response.headers["content-type"] == "audio/mpeg"
        assert b"".join(response.iter_bytes())
    error = must_fail(
        openai.BadRequestError, "invalid_value", lambda: client.audio.speech.create(model="demo", voice="x", input="a", speed=2)
    )
    assert error.param == "speed"


def check_speech_stream(client: OpenAI) -> None:
    """The client has no reader for these events, so the lines are read."""
    import json

    how = {"response_format": "pcm", "extra_body": {"seed": 1}}
    plain = client.audio.speech.create(model="demo", voice="x", input="seven", **how).read()
    with client.audio.speech.with_streaming_response.create(
        model="demo", voice="x", input="seven", stream_format="sse", **how
    ) as response:
        lines = [line.removeprefix("data: ") for line in response.iter_lines() if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    events = [json.loads(line) for line in lines[:-1]]
    assert [event["type"] for event in events] == ["speech.audio.delta"] * (len(events) - 1) + ["speech.audio.done"]
    assert b"".join(base64.b64decode(event["audio"]) for event in events[:-1]) == plain
    usage = events[-1]["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


def check_transcription(client: OpenAI) -> None:
    def hear(**how):
        return client.audio.transcriptions.create(model="demo", file=("a.wav", wav()), temperature=0, **how)

    text = hear().text
    assert isinstance(text, str)
    verbose = hear(response_format="verbose_json", timestamp_granularities=["segment"])
    assert verbose.text == text
    assert abs(float(verbose.duration) - 0.3) < 0.01
    assert [segment.text for segment in verbose.segments] == [text]
    assert verbose.segments[0].avg_logprob < 0
    printed = hear(response_format="text")
    assert isinstance(printed, str)
    assert printed.endswith("\n")
    drawn = [hear(extra_body={"seed": seed, "temperature": 2}).text for seed in (3, 3, 4)]
    assert drawn[0] == drawn[1] != drawn[2]
    events = list(hear(stream=True))
    assert [event.type for event in events] == ["transcript.text.delta"] * (len(events) - 1) + ["transcript.text.done"]
    assert "".join(event.delta for event in events[:-1]) == text == events[-1].text
    error = must_fail(openai.BadRequestError, "invalid_value", lambda: hear(response_format="srt"))
    assert error.param == "response_format"
    broken = lambda: client.audio.transcriptions.create(model="demo", file=("a.wav", b"RIFF????WAVE"))
    assert must_fail(openai.BadRequestError, "invalid_value", broken).param == "file"


# ------------------------------------------------------------------ films


def check_videos(client: OpenAI) -> None:
    """The newest client says on every call that OpenAI's own endpoint has ended."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The Sora API", category=DeprecationWarning)
        make_videos(client)


def make_videos(client: OpenAI) -> None:
    videos = client.videos
    film = videos.create_and_poll(prompt="a disk shrinking", model="demo")
    assert (film.status, film.progress, film.object) == ("completed", 100, "video")
    assert videos.download_content(film.id).read()[4:8] == b"ftyp"
    assert videos.download_content(film.id, variant="thumbnail").read()[8:12] == b"WEBP"
    assert videos.download_content(film.id, variant="spritesheet").read()[:2] == b"\xff\xd8"
    assert film.id in [one.id for one in videos.list(limit=5)]
    assert videos.retrieve(film.id).id == film.id
    picture = base64.b64decode(picture_url().partition(",")[2])
    begun = videos.create(prompt="a disk shrinking", input_reference=("a.ppm", picture), size="64x64")
    assert begun.size == "64x64"
    assert videos.delete(begun.id).deleted
    must_fail(openai.NotFoundError, "not_found", lambda: videos.retrieve(begun.id))
    assert must_fail(openai.BadRequestError, "invalid_value", lambda: videos.create(prompt="a", seconds="12")).param == "seconds"


CHECKS: Mapping[str, Callable[[OpenAI], None]] = {
    name.removeprefix("check_"): check
    for name, check in list(globals().items())
    if name.startswith("check_") and inspect.isfunction(check)
}


def main(url: str) -> None:
    client = client_of(url)
    for check in CHECKS.values():
        check(client)
    sys.stdout.write(f"openai {openai.__version__}: {len(CHECKS)} checks\n")


if __name__ == "__main__":
    main(sys.argv[1])
