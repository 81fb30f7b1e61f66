"""What `ernest serve` does: checks the checkpoints, listens, and ends when it is told to."""

import os
import signal
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ernest.serve.limits import Limits
from ernest.serve.models import Catalogue

if TYPE_CHECKING:  # an extra's, and importing them takes long
    import uvicorn

    from ernest.serve.scheduler import Scheduler


def serve(
    models: Sequence[str],
    host: str = "127.0.0.1",
    port: int = 8000,
    keys: Sequence[str] = (),
    origins: Sequence[str] = (),
    limits: Limits | None = None,
    on_listening: Callable[[str], None] = lambda address: None,
) -> None:
    """Serves checkpoints, and named sub-models of them, until SIGTERM or SIGINT: then what is under way is ended first.
    `on_listening` is told the address.

    Raises ValueError for a folder that is no checkpoint or a sub-model that one cannot be cut to, and OSError for a port that is
    taken.
    """
    catalogue = Catalogue.of(models)
    catalogue.check()
    server, scheduler = _make_server(catalogue, host, port, keys, origins, limits or Limits())
    with listen(host, port) as listening:
        _end_by_signals(lambda: _end(server))
        on_listening(f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}")
        server.run(sockets=[listening])
    if scheduler.failure is not None:
        raise scheduler.failure


def _make_server(
    catalogue: Catalogue, host: str, port: int, keys: Sequence[str], origins: Sequence[str], limits: Limits
) -> "tuple[uvicorn.Server, Scheduler]":
    """The server, which also ends where the checkpoints cannot be loaded, and who loads them. Raises ImportError where a package
    is missing."""
    try:
        import uvicorn

        from ernest.serve.app import make_app
        from ernest.serve.guard import Access, hosts_of
        from ernest.serve.protocol import with_limits
    except ModuleNotFoundError as error:
        raise ImportError(f"ernest serve needs the package {error.name}: pip install 'ernest-ai[serve]'") from error

    access = Access(tuple(keys), tuple(origins), tuple(hosts_of(host)))
    app = make_app(catalogue, access, limits, lambda: _end(server))
    config = uvicorn.Config(
        app,
        host,
        port,
        http=with_limits(limits),
        ws="none",
        proxy_headers=False,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=round(limits.drain_seconds),
    )
    server = uvicorn.Server(config)
    return server, app.state.service.scheduler


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises OSError, which names the address, where it cannot."""
    try:
        listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=1024)
    except (OSError, OverflowError) as error:
        number = getattr(error, "errno", None) or 0
        reason = os.strerror(number) if number > 0 else "there is no such host" if number else error
        raise OSError(f"{host}:{port}: cannot listen there: {reason}") from error
    # asyncio turns Nagle's algorithm off only for sockets that name their protocol, which these do not: the second of two small
    # writes, such as the first line of a stream behind its head, would wait for the client's acknowledgement, 40 ms or so.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def _end(server: "uvicorn.Server") -> None:
    server.should_exit = True


def _end_by_signals(end: Callable[[], None]) -> None:
    """From the first moment at which somebody may know that the server is there. It drains, and then raises the signal once more,
    which is to end the process with status 0. A terminal that is closed ends it too, unless it is told to outlive that."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: end())
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
        signal.signal(signal.SIGHUP, lambda *_: end())


def read_keys(file: Path) -> tuple[str, ...]:
    """API keys, one on each line that is not empty; a file, since other users of a machine see arguments."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{file}: expected a text in UTF-8, with a key on each line") from None
    keys = tuple(line.strip() for line in lines if line.strip())
    if not keys:
        raise ValueError(f"{file}: holds no key")
    return keys
