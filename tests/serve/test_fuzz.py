"""Requests made at random from the server's own schema, right and wrong: each is answered, and nothing is left behind.

What a field may hold comes from the OpenAPI document that the server gives; pictures and sounds among the files are real ones,
broken ones and none.
"""

import base64
import io
import json
from functools import partial
from typing import Any, Self

import httpx2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from ernest.generation.engine import Engine
from ernest.generation.request import MaxLengths
from ernest.serve.limits import Limits
from tests.serve.openai_client import wav
from tests.serve.running import running

JSON = "application/json"
PATHS = ("/v1/chat/completions", "/v1/images/generations", "/v1/audio/speech", "/v1/videos/generations", "/v1/videos")
FORMS = ("/v1/audio/transcriptions", "/playground/answer", "/v1/videos")


def png(width: int = 9, height: int = 5) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


REAL = (png(), wav(0.2))
FILES = st.one_of(
    st.sampled_from(REAL),
    st.sampled_from(REAL).flatmap(lambda file: st.integers(0, len(file)).map(lambda end: file[:end])),
    st.tuples(st.sampled_from(REAL), st.integers(0, 200), st.binary(min_size=1, max_size=8)).map(
        lambda cut: cut[0][: cut[1]] + cut[2] + cut[0][cut[1] + len(cut[2]) :]
    ),
    st.binary(max_size=40),
)
URLS = st.one_of(
    FILES.map(lambda file: f"data:image/png;base64,{base64.b64encode(file).decode()}"),
    st.sampled_from(["http://127.0.0.1:1/a.png", "file:///etc/passwd", "data:,x", "data:;base64,*", "data:" + ";a=b" * 60, ""]),
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
WORDS = st.sampled_from(["a red seven", "seven", "", " ", "\0", "\x1b[31m", "é七\U0001f600", "red " * 80, "x" * 20_000])


def values(schema: dict[str, Any], schemas: dict[str, Any], name: str = "") -> st.SearchStrategy[Any]:
    """What a field of a schema may hold, or what it may not, one time in eight."""
    return st.integers(0, 7).flatmap(lambda draw: ANYTHING if draw == 0 else right_values(schema, schemas, name))


def right_values(schema: dict[str, Any], schemas: dict[str, Any], name: str) -> st.SearchStrategy[Any]:
    if "$ref" in schema:
        return right_values(schemas[schema["$ref"].rpartition("/")[2]], schemas, name)
    for choice in ("anyOf", "oneOf", "allOf"):
        if choice in schema:
            return st.sampled_from(schema[choice]).flatmap(lambda one: right_values(one, schemas, name))
    if "const" in schema or "enum" in schema:
        return st.sampled_from(schema.get("enum", [schema.get("const")]))
    if name == "url" or name == "input_reference":
        return URLS
    if name == "data":
        return FILES.map(lambda file: base64.b64encode(file).decode())
    if name in ("n", "model"):
        return st.sampled_from([None, 1, 2, 11] if name == "n" else [None, "demo", "demo:layers=4", "demo:layers=0", "nobody"])
    match schema.get("type"):
        case "object" if "properties" in schema:
            needed = schema.get("required", [])
            fields = {key: values(value, schemas, key) for key, value in schema["properties"].items()}
            return st.fixed_dictionaries(
                {key: fields[key] for key in needed}, optional={key: one for key, one in fields.items() if key not in needed}
            ).flatmap(lambda body: st.sampled_from([*needed]).map(lambda _: body) if needed else st.just(body))
        case "array":
            return st.lists(values(schema.get("items", {}), schemas, name), max_size=3)
        case "string":
            return WORDS if name not in ("size",) else st.sampled_from(["auto", "32x32", "64x64", "1024x1024", "1x1", "x", "٣x٣"])
        case "integer":
            return st.integers(schema.get("minimum", -2), min(schema.get("maximum", 9), 2**62))
        case "number":
            return st.floats(0, 2)
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
    return ANYTHING


def bodies(document: dict[str, Any], path: str, kind: str) -> st.SearchStrategy[Any]:
    content = document["paths"][path]["post"]["requestBody"]["content"]
    schemas = document.get("components", {}).get("schemas", {})
    return right_values(content[kind]["schema"], schemas, "")


class Client:
    """Sends what is made, and holds every answer to the rules."""

    def __init__(self, url: str) -> None:
        self.http = httpx2.Client(base_url=url, timeout=60)
        self.sent = self.right = self.decoded = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def check(self, answer: httpx2.Response) -> None:
        self.sent += 1
        self.right += answer.status_code == 200
        assert answer.status_code in (200, 400, 404, 413, 422, 429), answer.text
        assert answer.headers["x-request-id"]
        if answer.status_code != 200:
            error = json.loads(answer.content)["error"]
            assert error.keys() == {"message", "type", "param", "code"}
            assert error["message"]
            assert len(error["message"].splitlines()) == 1
        elif answer.headers["content-type"].startswith("text/event-stream"):
            assert answer.text.endswith("data: [DONE]\n\n"), answer.text[-300:]

    def post(self, path: str, body: Any) -> None:
        self.check(self.http.post(path, content=spelled(body), headers={"Content-Type": JSON}))

    def post_form(self, path: str, fields: dict[str, Any], files: list[bytes]) -> None:
        name = {"/v1/audio/transcriptions": "file", "/v1/videos": "input_reference"}.get(path, "files")
        parts = [(name, ("a", file)) for file in files]
        answer = self.http.post(path, data={key: str(value) for key, value in fields.items()}, files=parts)
        self.check(answer)
        self.decoded += answer.status_code == 200 and any(file in REAL for file in files)


def spelled(body: Any) -> bytes:
    """As JSON, with what JSON has no word for as other libraries spell it."""
    return json.dumps(body).encode()


def form_requests(path: str) -> st.SearchStrategy[tuple[str, dict[str, Any], list[bytes]]]:
    """Mostly right, so that some of the files are read."""
    odd = st.sampled_from(["", "nan", "-1", "9" * 30, "nobody", "\0"])
    right = {
        "/v1/audio/transcriptions": {"response_format": ["json", "text", "verbose_json", "srt"], "stream": ["true", "0"]},
        "/playground/answer": {"to": ["text", "image", "video", "audio", "any"], "text": ["a red seven"]},
        "/v1/videos": {"prompt": ["a disk"], "seconds": ["1", "4"], "size": ["64x64"]},
    }[path] | {"model": ["demo", "demo:layers=4"], "temperature": ["0.5"], "seed": ["3"]}
    fields = {
        name: st.integers(0, 9).flatmap(lambda n, some=some: odd if n == 0 else st.sampled_from(some))
        for name, some in right.items()
    }
    needed = {"/playground/answer": "to", "/v1/videos": "prompt"}.get(path)
    all_fields = st.fixed_dictionaries(
        {needed: fields[needed]} if needed else {}, optional={name: one for name, one in fields.items() if name != needed}
    )
    return st.tuples(st.just(path), all_fields, st.lists(FILES, min_size=1, max_size=2))


def run(url: str, examples: int) -> "Client":
    """So many requests, two thirds of them as JSON."""
    with Client(url) as client:
        document = client.http.get("/openapi.json").json()
        made = st.sampled_from(PATHS).flatmap(lambda path: st.tuples(st.just(path), bodies(document, path, JSON)))

        @settings(max_examples=2 * examples // 3, suppress_health_check=list(HealthCheck), database=None)
        @given(made)
        def post(request: tuple[str, Any]) -> None:
            client.post(*request)

        @settings(max_examples=examples - 2 * examples // 3, suppress_health_check=list(HealthCheck), database=None)
        @given(st.sampled_from(FORMS).flatmap(form_requests))
        def post_form(request: tuple[str, dict[str, Any], list[bytes]]) -> None:
            client.post_form(*request)

        post()
        post_form()
    return client


@pytest.fixture(scope="module")
def server(checkpoint):
    """Whose answers are short, so that many requests take little time."""
    with pytest.MonkeyPatch.context() as patch:
        lengths = MaxLengths(tokens=4, frames=2, codec_frames=2)
        patch.setattr("ernest.serve.loaded.Engine", partial(Engine, max_lengths=lengths))
        with running(checkpoint, limits=Limits(queue=64)) as served:
            yield served


def test_requests_at_random_are_all_answered(server):
    client = run(server.url, 240)
    assert client.sent >= 240
    assert client.right >= 15, "too few of the requests were right to test anything"
    assert client.decoded >= 3, "too few of the files were decoded"
    server.wait_until_idle(5)
    assert server.metric("ernest_faults_total") == 0


BODIES = [
    b"", b"{", b"null", b"[]", b'"a"', b"\xff", b"[" * 100_000, b'{"prompt": ' + b"9" * 10_000 + b"}", b'{"prompt": "\\ud800"}',
    b'{"prompt": NaN}', b'{"prompt": "a", "messages": [], "metadata": {"\\u001e\\u2028": 1}}',
]  # fmt: skip


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_bodies_that_are_no_request(server, body):
    with Client(server.url) as client:
        for path in (*PATHS, *FORMS):
            for kind in (JSON, "multipart/form-data; boundary=a", "multipart/form-data", "text/plain", ""):
                client.check(client.http.post(path, content=body, headers={"Content-Type": kind}))
    assert client.right == 0


def bomb(width: int, height: int) -> bytes:
    """A picture of a few kilobytes that unfolds to `width` x `height` pixels."""
    file = io.BytesIO()
    Image.new("1", (width, height)).save(file, "png")
    return file.getvalue()


def endless(seconds: int) -> bytes:
    """A minute of silence, in some kilobytes."""
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, np.zeros(8000 * seconds, np.float32), 8000, format="OGG", subtype="VORBIS")
    return file.getvalue()


def animation(frames: int, side: int) -> bytes:
    file = io.BytesIO()
    pages = [Image.new("P", (side, side), number % 2) for number in range(frames)]
    pages[0].save(file, "gif", save_all=True, append_images=pages[1:])
    return file.getvalue()


@pytest.mark.parametrize(
    ("path", "make", "message"),
    [
        ("image", lambda: bomb(12_000, 12_000), "more than 64,000,000 pixels"),
        ("image", lambda: bomb(9_000, 9_000), "more than 64,000,000 pixels"),
        ("image", lambda: animation(70, 1000), "more than 64,000,000 pixels"),
        ("audio", lambda: endless(60), "the longest allowed is 8 s"),
        ("audio", png, "it holds a picture"),
        ("image", wav, "expected image or video, and it holds audio"),
        ("image", lambda: b"", "the file is empty"),
    ],
    ids=["bomb", "large", "long animation", "endless sound", "picture as sound", "sound as picture", "nothing"],
)
def test_media_that_are_too_much_or_wrong(server, path, make, message):
    data = base64.b64encode(make()).decode()
    part = (
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
        if path == "image"
        else {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
    )
    answer = httpx2.post(f"{server.v1}/chat/completions", json={"messages": [{"role": "user", "content": [part]}]}, timeout=60)
    assert answer.status_code == 400
    assert message in answer.json()["error"]["message"]
    assert answer.json()["error"]["param"] == "messages.0.content.0"
