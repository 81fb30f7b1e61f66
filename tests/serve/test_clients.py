"""What clients of other people send and take for granted: fields that change nothing, odd heads, and an end in the middle."""

import json
import logging
import time
from threading import Thread

import httpx2
import pytest

from ernest.serve.limits import Limits
from tests.serve.openai_client import picture_url, wav
from tests.serve.running import running

TURN = {"role": "user", "content": "a red seven"}
SOUND = ("a.wav", wav())


@pytest.fixture(scope="module")
def client(server):
    with httpx2.Client(base_url=server.url, timeout=60) as client:
        yield client


def ask(client, *turns, **how):
    return client.post("/v1/chat/completions", json={"messages": [*turns], "temperature": 0, "max_tokens": 4, **how})


def hear(client, file=SOUND, **fields):
    return client.post("/v1/audio/transcriptions", data=fields, files={"file": file})


def refused(answer, status: int = 400) -> tuple[str | None, str | None]:
    assert answer.status_code == status, answer.text
    assert answer.headers["x-request-id"]
    return answer.json()["error"]["param"], answer.json()["error"]["code"]


# ------------------------------------------------------------------ fields


def test_what_is_said_of_a_cache_and_of_details_changes_nothing(client):
    def said(how: dict, detail: str):
        picture = {"type": "image_url", "image_url": {"url": picture_url(), "detail": detail}} | how
        return ask(client, {"role": "user", "content": [{"type": "text", "text": "is it red"} | how, picture]}).json()["choices"]

    assert said({"prompt_cache_breakpoint": {"mode": "explicit"}}, "original") == said({}, "auto")
    assert ask(client, TURN, prompt_cache_options={"mode": "explicit"}).status_code == 200


def test_a_conversation_has_as_many_turns_as_the_model_has_positions_for(client):
    turns = [{"role": "user", "content": "red"}, {"role": "assistant", "content": "a"}] * 15
    assert ask(client, *turns).status_code == 200
    assert refused(ask(client, *turns * 20)) == (None, "context_length_exceeded")
    pictures = [{"type": "image_url", "image_url": {"url": picture_url()}}] * 17
    assert refused(ask(client, {"role": "user", "content": pictures})) == ("messages", "invalid_value")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"keywords[]": "seven"}, "unknown_parameter"),
        ({"known_speaker_names[]": "anna"}, "unknown_parameter"),
        ({"include": "logprobs"}, "unknown_parameter"),
        ({"include[]": "logprobs"}, "invalid_value"),
        ({"timestamp_granularities": "word"}, "unknown_parameter"),
        ({"seed": "x"}, "invalid_value"),
        ({"top_p": "0"}, "invalid_value"),
    ],
)
def test_no_field_of_a_form_is_left_unread(client, fields, code):
    assert refused(hear(client, **fields)) == (*fields, code)


def test_fields_of_a_form_that_change_nothing(client):
    free = {"chunking_strategy[type]": "server_vad", "languages[]": "en", "language": "en", "user": "me"}
    assert hear(client, temperature="0", **free).json() == hear(client, temperature="0").json()


def test_a_name_in_place_of_a_file(client):
    """`curl -F file=said.wav` lacks an @."""
    assert refused(hear(client, (None, "said.wav"))) == ("file", "invalid_value")
    assert "`curl -F file=@NAME`" in hear(client, (None, "said.wav")).text


# ------------------------------------------------------------------ heads, bodies and faults


def test_urls_that_are_none_are_the_client_s_mistake(client):
    for origin in ("http://[", "http://[::1", "//["):
        assert refused(client.get("/v1/models", headers={"Origin": origin}), 403) == (None, "wrong_origin")
    for path in ("http://[/healthz", "http://a%E2%84%80b/healthz"):
        answer = client.send(client.build_request("GET", "/", extensions={"target": path.encode()}))
        assert refused(answer, 404) == (None, None)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/videos"])
def test_a_body_of_very_many_values_is_not_taken_apart(client, path):
    body = b'{"messages": [' + b"{}," * 20_000 + b"{}]}"
    answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert refused(answer, 413) == (None, "request_too_large")


def test_a_file_and_a_text_may_hold_commas(client):
    assert hear(client, ("a.wav", wav() + b"," * 40_000), temperature="0").status_code == 200
    assert Limits().prompt < Limits().values


def test_what_is_too_long_is_not_sent_back(client):
    name = "x" * 100_000
    assert len(ask(client, TURN, model=name).content) < 3_000
    assert len(ask(client, TURN, **{name: 1}).content) < 3_000


def test_a_fault_is_told_with_the_number_of_its_request(server, client, monkeypatch):
    def fail(samples: int = 1) -> None:
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(server.app.state.service.scheduler, "check_room", fail)
    logging.getLogger("uvicorn.error").addFilter(unheard := lambda record: False)
    try:
        assert refused(ask(client, TURN), 500) == (None, "internal_error")
    finally:
        logging.getLogger("uvicorn.error").removeFilter(unheard)


# ------------------------------------------------------------------ the end


def test_who_waits_when_a_second_ctrl_c_comes_is_told_so(checkpoint, monkeypatch):
    """Without a line in the log: a stream ends with an error, and whoever has no answer yet gets one."""
    logged, waiting = [], {}
    with running(checkpoint, limits=Limits(rows=1)) as server:
        engine = server.app.state.service.scheduler.models["demo"].engine
        monkeypatch.setattr(engine, "step", lambda: time.sleep(0.01) or [])
        logging.getLogger("uvicorn.error").addFilter(logged.append)

        def wait() -> None:
            waiting["answer"] = httpx2.post(f"{server.v1}/chat/completions", json={"messages": [TURN]}, timeout=60)

        thread = Thread(target=wait)
        thread.start()
        while server.app.state.service.scheduler.waited_for < 1:
            time.sleep(0.01)
        with httpx2.stream("POST", f"{server.v1}/chat/completions", json={"messages": [TURN], "stream": True}) as answer:
            lines = answer.iter_lines()
            next(lines)
            server.server.should_exit = server.server.force_exit = True
            last = [line for line in lines if line][-1]
        thread.join()
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "ending"
    assert refused(waiting["answer"], 503) == (None, "ending")
    assert not [record.getMessage() for record in logged if record.levelno >= logging.WARNING]
