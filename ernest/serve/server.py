"""What `ernest serve` does: checks the checkpoints, listens, and ends when it is told to."""

import os
import signal
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from ernest.serve.limits import Limits
from ernest.serve.models import Catalogue


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
    try:
        import uvicorn

        from ernest.serve.app import make_app
        from ernest.serve.guard import Access, hosts_of
        from ernest.serve.protocol import with_limits
    except ModuleNotFoundError as error:
        raise ImportError(f"ernest serve needs the package {error.name}: pip install 'ernest-ai[serve]'") from error

    limits = limits or Limits()
    server: list[uvicorn.Server] = []

    def end() -> None:
        server[0].should_exit = True

    app = make_app(catalogue, Access(tuple(keys), tuple(origins), tuple(hosts_of(host))), limits, end)
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
    server.append(uvicorn.Server(config))
    with listen(host, port) as listening:
        _end_by_signals(end)
        on_listening(f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}")
        server[0].run(sockets=[listening])
    failure = app.state.service.scheduler.failure
    if failure is not None:
        raise failure


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
