"""Requests that are odd but valid are answered as their plain forms are, and what cannot be is refused by its name."""

import base64
import gzip
import json
import re
import shutil
import signal
import socket

import httpx2
import pytest

from ernest.generation.sampling import DEFAULTS
from ernest.serve import errors
from ernest.serve.api.videos import VideoBody
from ernest.serve.guard import Access
from ernest.serve.limits import Limits
from ernest.serve.metrics import Metrics
from ernest.serve.server import _end_by_signals, listen, read_keys
from ernest.serve.service import sampling
from tests.serve.openai_client import picture_url
from tests.serve.running import running, write_checkpoint

TURN = {"role": "user", "content": "a red seven"}


@pytest.fixture(scope="module")
def client(server):
    with httpx2.Client(base_url=server.url, timeout=60) as client:
        yield client


def ask(client, *turns, **how):
    return client.post("/v1/chat/completions", json={"messages": [*turns], "temperature": 0, "max_tokens": 4, **how})


def said(answer) -> str:
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["message"]["content"]


def refused(answer, status: int = 400) -> tuple[str, str | None]:
    assert answer.status_code == status, answer.text
    return answer.json()["error"]["message"], answer.json()["error"]["param"]


# ------------------------------------------------------------------ chats


def test_an_answer_may_come_back_as_a_turn_as_clients_keep_it(client):
    kept = {"role": "assistant", "content": "seven", "refusal": None, "annotations": [], "audio": None, "tool_calls": []}
    plain = said(ask(client, TURN, {"role": "assistant", "content": "seven"}, TURN))
    assert said(ask(client, TURN, kept | {"function_call": None}, TURN)) == plain


def test_empty_turns_say_nothing(client):
    """An answer may be empty, and so may what a form leaves out."""
    empty = [{"role": "system", "content": ""}, {"role": "assistant", "content": [{"type": "text", "text": " "}]}]
    assert said(ask(client, *empty, TURN)) == said(ask(client, TURN))
    assert refused(ask(client, *empty)) == ("messages.0.content: the text is empty", "messages.0.content")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages.0.content.0.text: Field required"),
        ({"messages": [{"role": "user", "content": [{"type": "file"}]}]}, "messages.0.content.0: Input tag 'file' found"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "data:,"}]}]},
            "messages.0.content.0.image_url: Input should be a valid dictionary",
        ),
        ({"messages": [{"role": "user", "content": 3}]}, "messages.0.content: Input should be a valid string"),
        ({"tools": [{"type": "function"}]}, "tools is not supported here"),
        ({"logit_bias": {"3": 1}}, "logit_bias is not supported here"),
        ({"stop": ""}, "stop: String should have at least 1 character"),
        ({"stop": list("abcde")}, "stop: List should have at most 4 items"),
        ({"list": 3}, "unrecognised request argument: 'list'"),
    ],
)
def test_a_complaint_names_the_field_that_is_wrong(client, how, message):
    assert refused(ask(client, **({"messages": [TURN]} | how)))[0].startswith(message)


def test_how_choices_are_drawn_is_said_of_each_kind():
    """A temperature takes nothing of what else suits a kind, such as the guidance of sounds."""
    assert sampling(VideoBody(prompt="a"), "text", "audio") is None
    asked = sampling(VideoBody(prompt="a", temperature=0.5), "text", "audio")
    assert asked is not None
    assert {kind: (one.temperature, one.guidance, one.top_p) for kind, one in asked.items()} == {
        kind: (0.5, DEFAULTS[kind].guidance, DEFAULTS[kind].top_p) for kind in ("text", "audio")
    }


def test_whoever_cuts_the_text_of_a_sound_is_told_so(client):
    answer = ask(client, TURN, modalities=["text", "audio"], max_tokens=1).json()
    assert answer["choices"][0]["finish_reason"] == "length"


# ------------------------------------------------------------------ pictures in base64


@pytest.mark.parametrize("form", ["lines", "unfilled", "for URLs", "in a URL"])
def test_base64_in_any_of_its_forms(client, form):
    head, _, code = picture_url().partition(",")
    code = base64.b64encode(base64.b64decode(code) + b"\xfb\xef\xbe\xff" * 3).decode()  # so that every sign is in it
    assert {"+", "/"} <= set(code)
    changed = {
        "lines": "\r\n".join(re.findall(".{1,7}", code)),
        "unfilled": code.rstrip("="),
        "for URLs": code.replace("+", "-").replace("/", "_"),
        "in a URL": code.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D"),
    }[form]
    show = lambda url: ask(client, {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]})
    assert said(show(f"{head.upper()},{changed}")) == said(show(f"{head},{code}"))


# ------------------------------------------------------------------ HTTP


def test_head_and_slashes(client):
    for path in ("/healthz", "/v1/models", "/"):
        plain, head = client.get(path), client.head(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == plain.headers["content-length"]
    assert client.get("/v1/models/").json()["object"] == "list"
    assert said(client.post("/v1/chat/completions/", json={"messages": [TURN], "temperature": 0})) is not None
    assert refused(client.get("/nothing/"), 404)[0] == "there is no GET '/nothing'"


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET /healthz HTTP/1.0\r\n", 200),
        (b"GET http://localhost/healthz HTTP/1.1\r\nHost: localhost.\r\nConnection: close\r\n", 200),
        (b"GET /healthz HTTP/1.0\r\nHost: evil.example\r\n", 403),
        (b"GET /healthz\r\n", 400),
    ],
)
def test_old_and_absolute_requests(server, line, status):
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as one:
        one.sendall(line + b"\r\n")
        answer = b"".join(iter(lambda: one.recv(4096), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert (json.loads(body)["error"]["type"] if status > 200 else "invalid_request_error") == "invalid_request_error"


def test_bodies_that_cannot_be_read_are_told_apart(client):
    body = json.dumps({"messages": [TURN]}).encode()
    send = lambda content, **headers: client.post(
        "/v1/chat/completions", content=content, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )
    announced = {"content_type": "application/json"}
    assert refused(send(gzip.compress(body), content_encoding="gzip", **announced), 415)[0].startswith("Content-Encoding: gzip")
    assert refused(send(body))[0] == "expected a JSON object, announced by `Content-Type: application/json`"
    assert refused(send(b"[]", **announced))[0] == "expected a JSON object, announced by `Content-Type: application/json`"
    assert refused(send('{"é"}'.encode("latin-1"), **announced))[0] == "the body cannot be read: expected JSON in UTF-8"
    assert send(b"\xef\xbb\xbf" + body, content_encoding="identity", **announced).status_code == 200


def test_the_name_of_the_scheme_is_read_in_any_case():
    for header in ("Bearer key", "bearer  key", "BEARER key"):
        Access(("key",)).check("/v1/models", errors_headers(header))
    with pytest.raises(errors.ApiError):
        Access(("key",)).check("/v1/models", errors_headers("bearer keys"))


def test_origins_that_no_browser_sends_are_refused():
    assert Access(origins=("https://example.org:8443", "http://[::1]", "*", "null")).origins
    for origin in ("example.org", "https://example.org/", "https://Example.org", "nonsense", ""):
        with pytest.raises(
            ValueError, match=f"allow_origin '{origin}': expected what browsers send of a page, such as https://exam"
        ):
            Access(origins=(origin,))


def errors_headers(authorization: str):
    from starlette.datastructures import Headers

    return Headers({"authorization": authorization})


# ------------------------------------------------------------------ models


def test_a_part_that_cannot_be_is_no_model(client):
    assert client.get("/v1/models/demo%3Alayers%3D4").json()["id"] == "demo:layers=4"
    assert "this network can run 4 to 6" in refused(client.get("/v1/models/demo:layers=999"))[0]


def test_a_checkpoint_that_is_gone_is_served_as_it_was_loaded(tmp_path):
    folder = write_checkpoint(tmp_path / "gone" / "model")
    with running(folder, limits=Limits(queue=3)) as server, httpx2.Client(base_url=server.url, timeout=60) as client:
        shutil.rmtree(folder)
        pictures = {"prompt": "a seven", "seed": 3, "temperature": 0}
        assert client.post("/v1/images/generations", json=pictures).json()["size"] == "32x32"
        assert refused(client.post("/v1/images/generations", json=pictures | {"n": 4}))[0] == "n: at most 3"


# ------------------------------------------------------------------ the server


def test_the_document_tells_errors_as_they_are(client):
    paths = client.get("/openapi.json").json()["paths"]
    found = {status: one for path in paths.values() for way in path.values() for status, one in way["responses"].items()}
    assert set(found) == {"200", "4XX", "5XX"}
    error = client.get("/v1/models/nobody").json()["error"]
    schema = found["4XX"]["content"]["application/json"]["schema"]["properties"]["error"]
    assert set(schema["properties"]) == set(schema["required"]) == set(error)


def test_signals_are_heeded_from_the_first_moment():
    """Before the server itself listens to them."""
    names = [name for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)]
    before = {name: signal.getsignal(getattr(signal, name)) for name in names}
    ended = []
    try:
        _end_by_signals(lambda: ended.append(1))
        for name in names:
            signal.raise_signal(getattr(signal, name))
        assert len(ended) == len(names)
        if "SIGHUP" in names:  # as under nohup
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            _end_by_signals(lambda: ended.append(1))
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


def test_counters_are_told_to_the_last_digit():
    metrics = Metrics()
    metrics.count("ernest_groups_total", 123_456_789)
    metrics.count("ernest_step_seconds_total", 1234567.0625)
    assert "ernest_groups_total 123456789\n" in metrics.text()
    assert "ernest_step_seconds_total 1234567.0625\n" in metrics.text()


@pytest.mark.parametrize("name", ["rows", "queue"])
def test_a_server_without_room_is_none(name):
    with pytest.raises(ValueError, match=f"{name} = 0 must be at least 1"):
        Limits(**{name: 0})


def test_a_host_that_is_not_there_is_told_in_words():
    with pytest.raises(OSError, match=r"\[::1\]:0: cannot listen there: there is no such host"):
        listen("[::1]", 0)


def test_keys_as_editors_write_them(tmp_path):
    (tmp_path / "keys").write_bytes("\ufefffirst\r\n\r\n second \r\n".encode())
    assert read_keys(tmp_path / "keys") == ("first", "second")
    (tmp_path / "latin").write_bytes(b"k\xe9y")
    with pytest.raises(ValueError, match="latin: expected a text in UTF-8, with a key on each line"):
        read_keys(tmp_path / "latin")
