#!/usr/bin/env bash
# uvicorn 0.54.0 on CPython 3.11's asyncio: over a socket that it is given, a stream's first line waits for the client.
#
# A server that must know its port before it serves binds a socket itself and hands it to uvicorn (`Server.run(sockets=…)`), whose
# own `Config.bind_socket`, for several workers and for reloading, does the same. asyncio switches Nagle's algorithm off on the
# connections of sockets that name their protocol (6, TCP), as those do that it opens by host and port; sockets by
# `socket.create_server` or `socket.socket(family)` name 0, and theirs keep it. The small write behind the head of an answer is then
# held back until the client has acknowledged the head, some 40 ms over the loopback of Linux. With TCP_NODELAY set on the
# listening socket, connections inherit it. Seen, as the connection's TCP_NODELAY:
#
#     host and port: on
#     given socket: off
#     socket of uvicorn's bind_socket: off
#     given socket with TCP_NODELAY: on
#
# Exit status: 0 where it is still so, 1 where it is not.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet uvicorn==0.54.0

cd "$folder"
cat > ask.py <<'PYTHON'
import asyncio
import socket
import sys

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

seen = []


class Looking(H11Protocol):
    def connection_made(self, transport):
        super().connection_made(transport)
        connection = transport.get_extra_info("socket")
        seen.append("on" if connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) else "off")


async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"here"})


async def ask(listening=None):
    """What a connection has, to a server that opens its socket itself or is given one."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, http=Looking, loop="asyncio", lifespan="off", log_level="error")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=listening and [listening(config)]))
    while not server.started:
        await asyncio.sleep(0.01)
    address = server.servers[0].sockets[0].getsockname()
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"GET / HTTP/1.0\r\n\r\n")
    await reader.read()
    writer.close()
    server.should_exit = True
    await serving
    return seen.pop()


def given(config):
    return socket.create_server(("127.0.0.1", 0))


def at_once(config):
    listening = given(config)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


ways = {
    "host and port": None,
    "given socket": given,
    "socket of uvicorn's bind_socket": lambda config: config.bind_socket(),
    "given socket with TCP_NODELAY": at_once,
}
found = {name: asyncio.run(ask(way)) for name, way in ways.items()}
for name, value in found.items():
    print(f"{name}: {value}")
sys.exit(0 if list(found.values()) == ["on", "off", "off", "on"] else 1)
PYTHON
"$folder/venv/bin/python" ask.py
