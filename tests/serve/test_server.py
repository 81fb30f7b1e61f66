"""The server over a checkpoint of test size: who may ask, how much, how slowly; queues, failures, and clients that go away."""

import gc
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from ernest.data.examples import EncodedSegment
from ernest.generation.answer import load_engine
from ernest.generation.request import Request
from ernest.serve import scheduler
from ernest.serve.guard import Access, hosts_of
from ernest.serve.limits import Limits
from ernest.serve.loaded import Loaded
from tests.serve.running import Running, running, write_checkpoint

PROMPTS = ["a red seven", "seven", "three plus four is", "anna says seven", "a disk shrinking", "left"]


def chat(prompt: str, **how) -> dict:
    return {"messages": [{"role": "user", "content": prompt}], "temperature": 0, **how}


def connect(server: Running) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=10)


def write_until_cut(one: socket.socket, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        one.sendall(b" ")
        time.sleep(0.05)


def head(path: str, body: bytes, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json", f"Content-Length: {size}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


# ------------------------------------------------------------------ answers


def test_answers_are_those_of_the_engine_whatever_the_company(server, checkpoint):
    engine = load_engine(checkpoint)
    alone = [engine.generate([Request((EncodedSegment("text", prompt, False),), ("text",))])[0][0] for prompt in PROMPTS]
    texts = [engine.tokenizers.text.decode(answer.segments[0].value) for answer in alone]

    def ask(n: int) -> tuple[int, str]:
        with httpx2.Client(base_url=server.url, timeout=60) as client:
            if n % 3 == 2:  # other kinds between them
                client.post("/v1/images/generations", json={"prompt": PROMPTS[n % len(PROMPTS)]}).raise_for_status()
            answer = client.post("/v1/chat/completions", json=chat(PROMPTS[n % len(PROMPTS)]))
            return n, answer.json()["choices"][0]["message"]["content"]

    with ThreadPoolExecutor(12) as pool:
        for n, text in pool.map(ask, range(12)):
            assert text == texts[n % len(PROMPTS)]
    server.wait_until_idle()


def test_a_submodel_answers_as_the_engine_does_with_it(server, checkpoint):
    from ernest.config.submodel_size import SubModelSize

    engine = load_engine(checkpoint, SubModelSize(4, 4, 1))
    (text,) = engine.texts([(EncodedSegment("text", "a red seven", False),)])
    for model in ("demo:layers=4,experts=4,top_k=1", "demo:top_k=1,experts=4,layers=4"):
        answer = httpx2.post(f"{server.v1}/chat/completions", json=chat("a red seven", model=model), timeout=60).json()
        assert answer["choices"][0]["message"]["content"] == text
    whole = httpx2.post(f"{server.v1}/chat/completions", json=chat("a red seven"), timeout=60).json()
    assert whole["choices"][0]["message"]["content"] != text


@pytest.mark.parametrize(
    ("path", "how", "drawn"),
    [
        ("/v1/images/generations", {"stream": True, "partial_images": 1}, [1, 1]),
        ("/v1/images/generations", {"stream": True}, [1]),
        ("/v1/videos/generations", {}, [9]),
        ("/v1/videos", {}, [9]),
    ],
)
def test_nothing_is_drawn_that_nobody_sees(server, monkeypatch, path, how, drawn):
    engine = server.app.state.service.scheduler.models["demo"].engine
    found, draw = [], engine.draw
    monkeypatch.setattr(engine, "draw", lambda sums: found.extend(map(len, sums)) or draw(sums))
    assert httpx2.post(f"{server.url}{path}", json={"prompt": "a disk shrinking", "seed": 3} | how, timeout=60).status_code == 200
    server.wait_until_idle(10.0)
    assert found[:-1] == drawn[:-1]
    assert 1 <= found[-1] <= drawn[-1]


def test_the_end_of_a_stream_comes_in_one_piece(server):
    """Each piece costs as much as making ten lines; what is known at once is sent at once."""
    with connect(server) as one:
        one.sendall(head("/v1/chat/completions", json.dumps(chat("a red seven", stream=True)).encode()))
        said = b""
        while not said.endswith(b"\r\n0\r\n\r\n"):
            said += one.recv(4096)
    rest, pieces = said.partition(b"\r\n\r\n")[2], []
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        pieces.append(rest[: int(size, 16)])
        rest = rest[int(size, 16) + 2 :]
    assert b'"role":"assistant"' in pieces[0]
    assert pieces[-1] == b""
    assert pieces[-2].endswith(b"data: [DONE]\n\n")
    assert b'"finish_reason":"' in pieces[-2]


@pytest.mark.parametrize("told", [False, True])
def test_one_thread_computes_unless_the_user_says_how_many(checkpoint, monkeypatch, told):
    counts = []
    monkeypatch.setattr(scheduler, "set_threads", counts.append)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if told:
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
    with running(checkpoint) as server:
        (loaded,) = server.app.state.service.scheduler.models.values()
    assert counts == ([1] if loaded.has_kernels and not told else [])


def test_doubts_are_a_header(server):
    for stream in (False, True):
        answer = httpx2.post(f"{server.v1}/chat/completions", json=chat("a zebra", stream=stream), timeout=60)
        assert answer.headers["ernest-doubt"] == "the model never saw 'zebra' in its training"
    assert "ernest-doubt" not in httpx2.post(f"{server.v1}/chat/completions", json=chat("a seven"), timeout=60).headers


def test_what_was_never_learnt_is_refused(tmp_path):
    with running(write_checkpoint(tmp_path / "photos", ("text→image", "image→text"))) as server:
        answer = httpx2.post(f"{server.v1}/audio/speech", json={"input": "seven", "voice": "x"}, timeout=60)
        assert answer.status_code == 400
        assert answer.json()["error"]["message"].startswith(
            "the model never learnt to make a sound: it was trained on text→image"
        )


# ------------------------------------------------------------------ clients that go away


def test_broken_streams_leave_nothing_behind(server):
    """Without the garbage collector, which would close generators that were forgotten."""
    body = json.dumps(chat("a red seven", stream=True)).encode()
    collected = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for _ in range(4):
            sockets = [connect(server) for _ in range(25)]
            for one in sockets:
                one.sendall(head("/v1/chat/completions", body))
            for one in sockets:
                assert one.recv(64).startswith(b"HTTP/1.1 200")
                one.close()
        server.wait_until_idle(1.0)
    finally:
        if collected:
            gc.enable()


def test_whoever_does_not_wait_for_a_whole_answer_stops_it_too(server):
    before = server.metric("ernest_answers_total", kind="video", end="stop")
    sockets = [connect(server) for _ in range(20)]
    for one in sockets:
        one.sendall(head("/v1/videos/generations", b'{"prompt": "a disk shrinking", "n": 2}'))
    until = time.monotonic() + 10
    while server.metric("ernest_rows") < 10:
        assert time.monotonic() < until
        time.sleep(0.002)
    for one in sockets:
        one.close()
    server.wait_until_idle(1.0)
    assert server.metric("ernest_answers_total", kind="video", end="stop") - before < 20


# ------------------------------------------------------------------ too much


def test_no_more_films_are_kept_than_there_are_places_for(checkpoint):
    with running(checkpoint, limits=Limits(videos=4)) as server:
        create = lambda _: httpx2.post(f"{server.v1}/videos", json={"prompt": "a disk shrinking"}, timeout=60).status_code
        with ThreadPoolExecutor(24) as pool:
            assert set(pool.map(create, range(24))) <= {200, 429}
        assert len(httpx2.get(f"{server.v1}/videos?limit=100").json()["data"]) <= 4
        server.wait_until_idle(20)


def test_a_full_queue_says_when_to_come_again(checkpoint):
    with running(checkpoint, limits=Limits(queue=4, rows=2)) as server:
        ask = lambda _: httpx2.post(f"{server.v1}/images/generations", json={"prompt": "a seven", "n": 2}, timeout=60)
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(ask, range(8)))
        refused = [answer for answer in answers if answer.status_code == 429]
        assert {answer.status_code for answer in answers} == {200, 429}
        for answer in refused:
            assert 1 <= int(answer.headers["retry-after"]) <= 60
            assert answer.json()["error"]["code"] == "rate_limit_exceeded"
        server.wait_until_idle()
        assert ask(0).status_code == 200


def test_an_answer_that_takes_too_long_is_given_up(checkpoint):
    with running(checkpoint, limits=Limits(answer_seconds=0.02)) as server:
        answer = httpx2.post(f"{server.v1}/videos/generations", json={"prompt": "a disk", "n": 8}, timeout=60)
        assert answer.status_code == 504
        assert answer.headers["x-should-retry"] == "false"
        streamed = httpx2.post(f"{server.v1}/chat/completions", json=chat("a", stream=True, n=8), timeout=60)
        assert streamed.status_code == 200
        assert json.loads(streamed.text.strip().splitlines()[-1].removeprefix("data: "))["error"]["code"] == "timeout"
        server.wait_until_idle()


def test_a_silent_stream_says_that_it_waits(checkpoint, monkeypatch):
    step = Loaded.renew

    def slowly(self: Loaded) -> None:
        step(self)
        once = self.engine.step
        self.engine.step = lambda: time.sleep(0.1) or once()

    monkeypatch.setattr(Loaded, "renew", slowly)
    with running(checkpoint, limits=Limits(silence_seconds=0.03)) as server:
        text = httpx2.post(f"{server.v1}/chat/completions", json=chat("a", stream=True, max_tokens=2), timeout=60).text
        assert ": waiting\n\n" in text
        assert text.endswith("data: [DONE]\n\n")


def test_a_body_too_large_is_refused(checkpoint):
    with running(checkpoint, limits=Limits(body=1000)) as server:
        answer = httpx2.post(f"{server.v1}/chat/completions", json=chat("a" * 2000))
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")
        pieces = (b"a" * 300 for _ in range(10))  # without a length that could be read beforehand
        answer = httpx2.post(f"{server.v1}/chat/completions", content=pieces, headers={"Content-Type": "application/json"})
        assert answer.status_code == 413
        assert httpx2.post(f"{server.v1}/chat/completions", json=chat("a"), timeout=60).status_code == 200


@pytest.mark.parametrize(("coding", "status"), [(b"identity", 413), (b"gzip", 415)])
def test_whoever_is_refused_while_it_sends_learns_why(checkpoint, coding, status):
    """A connection that is closed while more comes is reset, and its client never sees the answer."""
    size = 30_000 if status == 415 else 60_000
    with running(checkpoint, limits=Limits(body=50_000)) as server, connect(server) as client:
        client.sendall(head("/v1/chat/completions", b"", size).replace(b"\r\n\r\n", b"\r\nContent-Encoding: %b\r\n\r\n" % coding))
        for _ in range(3):
            client.sendall(b" " * (size // 3))
            time.sleep(0.2)
        assert client.recv(1000).startswith(b"HTTP/1.1 %d" % status)
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "sent",
    [b"", b"POST /v1/chat", head("/v1/chat/completions", b"", 100), head("/v1/chat/completions", b'{"messages"', 100)],
    ids=["nothing", "half a line", "no body", "half a body"],
)
def test_half_open_connections_are_cut(checkpoint, sent):
    with running(checkpoint, limits=Limits(head_seconds=0.2)) as server, connect(server) as one:
        one.sendall(sent)
        start, answer = time.monotonic(), b""
        try:
            while part := one.recv(4096):
                answer += part
        except ConnectionResetError:
            pass
        assert time.monotonic() - start < 5
        assert not answer or answer.startswith((b"HTTP/1.1 408", b"HTTP/1.1 400"))


def test_a_client_that_never_reads_is_cut(checkpoint):
    limits = Limits(read_seconds=0.3, head_seconds=60.0)  # so that nothing else cuts it
    with running(checkpoint, limits=limits) as server, socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.connect(("127.0.0.1", server.port))
        # Ten pictures of a megabyte: more than the system keeps for a connection.
        body = json.dumps({"prompt": "a seven", "n": 10, "size": "1024x1024", "output_format": "jpeg"})
        one.sendall(head("/v1/images/generations", body.encode()))
        with pytest.raises(OSError, match=r"reset|Broken pipe"):
            write_until_cut(one, 15)


# ------------------------------------------------------------------ who may ask


@pytest.fixture(scope="module")
def guarded(checkpoint):
    access = Access(("first-key", "second-kéy"), ("https://friend.example",), ("127.0.0.1", "localhost", "[::1]"))
    with running(checkpoint, access=access) as server:
        yield server


@pytest.mark.parametrize("key", ["first-key", "second-kéy"])
def test_each_key_opens(guarded, key):
    assert httpx2.get(f"{guarded.v1}/models", headers={"Authorization": f"Bearer {key}".encode()}).status_code == 200


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer first-ke", "Bearer first-keyy", "Basic first-key", "first-ke\u00e9"]
)
def test_without_a_key_nothing_opens(guarded, header):
    headers = {} if header is None else {"Authorization": header.encode()}
    for path in ("/v1/models", "/metrics", "/playground/models", "/nothing", "/openapi.json"):
        answer = httpx2.get(f"{guarded.url}{path}", headers=headers)
        assert answer.status_code == 401, path
        assert answer.json()["error"]["code"] == "invalid_api_key"
    assert httpx2.get(f"{guarded.url}/").status_code == 200
    assert httpx2.get(f"{guarded.url}/healthz").status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "127.0.0.1:1:2", ""])
def test_a_name_that_is_not_ours_is_refused(guarded, host):
    answer = httpx2.get(f"{guarded.url}/healthz", headers={"Host": host})
    assert answer.status_code in (400, 403)


@pytest.mark.parametrize(
    ("host", "ours"), [("127.0.0.1", True), ("127.0.0.9", True), ("::1", True), ("0.0.0.0", False), ("a", False)]
)
def test_only_a_server_for_this_machine_insists_on_its_name(host, ours):
    names = hosts_of(host)
    assert bool(names) == ours
    assert not ours or {"localhost", f"[{host}]" if ":" in host else host} <= set(names)


def test_pages_of_other_hosts_must_be_allowed(guarded):
    key = {"Authorization": "Bearer first-key"}
    origins = {"https://friend.example": 200, guarded.url: 200}
    origins |= dict.fromkeys(["https://evil.example", "null", "http://127.0.0.1:1"], 403)
    for origin, status in origins.items():
        answer = httpx2.get(f"{guarded.v1}/models", headers={**key, "Origin": origin})
        assert answer.status_code == status, origin
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    answer, refused = (
        httpx2.request("OPTIONS", f"{guarded.v1}/models", headers=asked | {"Origin": f"https://{name}.example"})
        for name in ("friend", "evil")
    )
    assert answer.headers["access-control-allow-origin"] == "https://friend.example"
    assert refused.status_code == 400


# ------------------------------------------------------------------ loading, failing, ending


def test_while_it_loads_it_says_so(checkpoint, monkeypatch):
    go = threading.Event()
    load = Loaded.__init__

    def wait(self: Loaded, *arguments) -> None:
        go.wait(20)
        load(self, *arguments)

    monkeypatch.setattr(Loaded, "__init__", wait)
    with running(checkpoint, wait=False) as server:
        answer = httpx2.post(f"{server.v1}/chat/completions", json=chat("a"))
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        assert answer.json()["error"]["code"] == "loading"
        health = httpx2.get(f"{server.url}/healthz")
        assert (health.status_code, health.json()) == (503, {"status": "loading"})
        assert httpx2.get(f"{server.url}/playground/models").status_code == 503
        assert httpx2.get(f"{server.v1}/models").status_code == 200
        go.set()
        until = time.monotonic() + 20
        while httpx2.get(f"{server.url}/healthz").status_code != 200:
            assert time.monotonic() < until


def test_a_step_that_fails_fails_its_answers_and_no_others(checkpoint, monkeypatch):
    with running(checkpoint) as server:
        loaded = server.app.state.service.scheduler.models["demo"]
        monkeypatch.setattr(loaded.engine, "step", lambda: 1 / 0)
        whole = httpx2.post(f"{server.v1}/chat/completions", json=chat("a"), timeout=60)
        assert (whole.status_code, whole.json()["error"]["code"]) == (500, "model_error")
        assert whole.json()["error"]["type"] == "server_error"
        fine = httpx2.post(f"{server.v1}/chat/completions", json=chat("a"), timeout=60)
        assert fine.status_code == 200
        monkeypatch.setattr(loaded.engine, "step", lambda: 1 / 0)
        streamed = httpx2.post(f"{server.v1}/chat/completions", json=chat("a", stream=True), timeout=60)
        assert '"code":"model_error"' in streamed.text
        assert server.metric("ernest_faults_total") == 2
        server.wait_until_idle()


def test_metrics_are_prometheus_text(server):
    httpx2.post(f"{server.v1}/chat/completions", json=chat("a"), timeout=60)
    text = httpx2.get(f"{server.url}/metrics").text
    names = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    assert {"ernest_rows", "ernest_queue", "ernest_cache_bytes", "ernest_groups_total", "ernest_answer_seconds"} <= names
    for line in text.splitlines():
        name, _, value = line.rpartition(" ")
        assert line.startswith("# ") or (name and float(value) >= 0)
    assert 'ernest_answers_total{end="length",kind="text"}' in text
    buckets = [line for line in text.splitlines() if line.startswith('ernest_answer_seconds_bucket{kind="text",le=')]
    counts = [int(line.rpartition(" ")[2]) for line in buckets]
    assert counts == sorted(counts)
    assert f'ernest_answer_seconds_count{{kind="text"}} {counts[-1]}' in text
