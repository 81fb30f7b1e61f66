"""Requests that are odd but valid, and heads without an end, byte by byte: no model is asked."""

import asyncio
import logging
import socket
from contextlib import suppress

import pytest
import uvicorn
from uvicorn.server import ServerState

from ernest.serve.limits import Limits
from ernest.serve.protocol import with_limits
from ernest.serve.server import listen

OFFER = b"Host: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"


async def echo(scope, receive, send):
    """Says what was asked."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    body = f"{scope['method']} {scope['path']} {body.decode()};".encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


def answers(*pieces: bytes) -> str:
    """What is said to a client that sends those pieces, until nothing more comes; TimeoutError where something might."""

    async def ask() -> bytes:
        config = uvicorn.Config(echo, ws="none", log_config=None, timeout_keep_alive=1)
        config.load()
        make = lambda: with_limits(Limits())(config=config, server_state=ServerState(), app_state={})
        async with await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            try:
                for piece in pieces:
                    writer.write(piece)
                    await asyncio.sleep(0.02)
                return await asyncio.wait_for(reader.read(), 5)
            except ConnectionError:
                return b""
            finally:
                writer.close()
                with suppress(ConnectionError):
                    await writer.wait_closed()

    return asyncio.run(ask()).decode()


@pytest.mark.parametrize("split", [0, 5, 60, 90, 103])
def test_whoever_offers_another_protocol_is_answered(caplog, split):
    """With the whole body, wherever it is cut, and the request behind it."""
    asked = b"POST /one HTTP/1.1\r\n%sContent-Length: 5\r\n\r\nhello" % OFFER
    last = b"POST /two HTTP/1.1\r\n%sTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\nGET / HTTP/1.0\r\n\r\n" % OFFER
    said = answers(*filter(None, [asked[:split], asked[split:] + last]))
    assert said.count("200 OK") == 3
    assert "POST /one hello;" in said
    assert "POST /two a;" in said
    assert said.endswith("GET / ;")
    assert not caplog.records


def test_many_offers_at_once_are_no_trouble(caplog):
    said = answers((b"GET / HTTP/1.1\r\n%s\r\n" % OFFER) * 400 + b"GET /last HTTP/1.0\r\n\r\n")
    assert said.count("200 OK") == 401
    assert not caplog.records


@pytest.mark.parametrize(
    "begin",
    [
        b"GET /",
        b"GET / HTTP/1.1\r\nX: ",
        b"GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nX: ",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ",
    ],
)
def test_a_head_without_an_end_is_cut(begin):
    assert answers(begin, *[b"a" * 5_000] * 5).count("200 OK") <= 1  # else it would wait


def test_a_long_body_in_small_pieces_is_none(caplog):
    caplog.set_level(logging.WARNING)
    said = answers(b"POST / HTTP/1.0\r\nContent-Length: 9000\r\n\r\n", *[b"a" * 3_000] * 3)
    assert "a" * 9_000 in said


def test_small_pieces_of_a_stream_are_sent_at_once():
    """Nagle's algorithm would hold the second one back until the client has acknowledged the first."""
    with listen("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        connection, _ = listening.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
