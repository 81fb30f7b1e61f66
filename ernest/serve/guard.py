"""What every request passes before anything is done for it: who may ask, from where, how much, how slowly, how many at once."""

import asyncio
import hmac
import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ernest.serve import errors
from ernest.serve.limits import Limits
from ernest.serve.metrics import Metrics

OPEN = ("/", "/healthz", "/favicon.ico")
"""Paths that need no key, and those of the page's files: whoever may not use the model sees a page that asks for the key."""
OPEN_FOLDER = "/static/"
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


@dataclass(frozen=True)
class Access:
    """Who may ask: with one of `keys`, if there are any; web pages of other `origins` as well; under the name of one of `hosts`,
    if there are any."""

    keys: tuple[str, ...] = field(default=(), repr=False)
    origins: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for origin in self.origins:
            if origin not in ("*", "null") and not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^\sA-Z/?#@]+", origin):
                example = "such as https://example.org, in small letters and without a path, or *"
                raise ValueError(f"allow_origin {origin!r}: expected what browsers send of a page, {example}")

    def check(self, path: str, headers: Headers) -> None:
        """Raises ApiError for a request that may not be made."""
        host = headers.get("host", "")
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        # A page elsewhere whose name suddenly means this machine would else be taken for ours. Browsers always name it; HTTP/1.0,
        # which watchers of servers speak, need not.
        if self.hosts and "host" in headers and name.lower().removesuffix(".") not in self.hosts:
            raise errors.ApiError(403, f"this server is called {', '.join(self.hosts)}", None, "wrong_host")
        origin = headers.get("origin")
        if origin is not None and not self._may_come_from(origin, host):
            raise errors.ApiError(403, "pages of other hosts may not ask: allow them with --allow-origin", None, "wrong_origin")
        if self.keys and path not in OPEN and not path.startswith(OPEN_FOLDER):
            self._check_key(headers.get("authorization", ""))

    def _may_come_from(self, origin: str, host: str) -> bool:
        url = _split(origin)
        return "*" in self.origins or origin in self.origins or (url is not None and url.netloc == host)

    def _check_key(self, authorization: str) -> None:
        scheme, _, rest = authorization.partition(" ")
        given = (rest if scheme.lower() == "bearer" else authorization).strip().encode("latin-1")  # the bytes of the header
        # All are compared, each in constant time: how long it takes says nothing.
        found = sum([hmac.compare_digest(given, key.encode()) for key in self.keys])
        if not found:
            message = "give an API key of this server as `Authorization: Bearer KEY`"
            raise errors.ApiError(401, message, None, "invalid_api_key", {"WWW-Authenticate": "Bearer"})


class Guard:
    """The outermost application: lets requests through to `app`, gives each an id, and counts it."""

    def __init__(self, app: ASGIApp, access: Access, limits: Limits, metrics: Metrics) -> None:
        self.app, self.access, self.limits, self.metrics = app, access, limits, metrics
        self.open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope = _as_routed(scope)
        start, answered = time.monotonic(), _Answered(send)
        self.open += 1
        try:
            self._check(scope)
            await self.app(scope, _Body(receive, self.limits, scope).receive, answered.send)
        except errors.ApiError as error:
            await answered.refuse(error, scope, receive)
        except asyncio.CancelledError:  # the server waits no longer
            await answered.refuse(errors.ending(), scope, receive)
        except Exception:
            await answered.refuse(errors.fault(), scope, receive)
            raise
        finally:
            self.open -= 1
            endpoint = getattr(scope.get("route"), "path", "other")
            self.metrics.count("ernest_requests_total", endpoint=endpoint, status=str(answered.status or 499))
            self.metrics.time("ernest_request_seconds", time.monotonic() - start, endpoint=endpoint)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        if scope["method"] != "OPTIONS":  # a browser asks without a key whether it may ask with one
            self.access.check(scope["path"], headers)
        if self.open > self.limits.connections:
            raise errors.ApiError(503, "too many requests are open", None, "overloaded", {"Retry-After": "5"})
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > self.limits.body:
            raise _too_large(self.limits)
        coding = headers.get("content-encoding", "identity").strip().lower()
        if coding not in ("identity", ""):
            message = f"Content-Encoding: {coding[:60]} is not read here: send the body as it is"
            raise errors.ApiError(415, message, None, "unsupported_encoding")


def _as_routed(scope: Scope) -> Scope:
    """A request by the name of its endpoint: of an absolute URL the path, without a slash behind it; HEAD is answered as GET,
    whose body the protocol leaves out."""
    path = scope["path"]
    if path.startswith(("http://", "https://")) and (url := _split(path)) is not None:
        path = url.path
    method = "GET" if scope["method"] == "HEAD" else scope["method"]
    return {**scope, "path": path.rstrip("/") or "/", "method": method}


def _split(url: str) -> SplitResult | None:
    """The parts of a URL; None for what is none."""
    try:
        return urlsplit(url)
    except ValueError:
        return None


class _Body:
    """Takes a request's body within the limits of size and time, and of values where it is JSON, which unfolds to a hundred times
    its size while everybody waits. Commas in strings count as well, of which a right text has fewer than the limit."""

    def __init__(self, receive: Receive, limits: Limits, scope: Scope) -> None:
        self._receive, self.limits = receive, limits
        self.bytes, self.values, self.is_whole = 0, 0, False
        self.is_json = not Headers(scope=scope).get("content-type", "").lower().startswith("multipart/")
        self.until = time.monotonic() + limits.body_seconds

    async def receive(self) -> Message:
        if self.is_whole:
            return await self._receive()
        try:
            async with asyncio.timeout(min(self.limits.head_seconds, self.until - time.monotonic())):
                message = await self._receive()
        except TimeoutError:
            raise errors.ApiError(408, "the body came too slowly", None, "timeout", {"Connection": "close"}) from None
        body = message.get("body", b"")
        self.bytes += len(body)
        self.values += sum(map(body.count, (b",", b"[", b"{"))) if self.is_json else 0
        self.is_whole = not message.get("more_body", False)
        if self.bytes > self.limits.body:
            raise _too_large(self.limits)
        if self.values > self.limits.values:
            raise _too_many(self.limits)
        return message


class _Answered:
    """Notes the status of a response, and gives it an id."""

    def __init__(self, send: Send) -> None:
        self._send, self.status = send, 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            MutableHeaders(scope=message)["x-request-id"] = f"req_{secrets.token_hex(12)}"
        await self._send(message)

    async def refuse(self, error: errors.ApiError, scope: Scope, receive: Receive) -> None:
        """Answers with an error, where no answer has begun."""
        if not self.status:
            await error.response()(scope, receive, self.send)


def _too_large(limits: Limits) -> errors.ApiError:
    """The connection stays until the rest has come and been thrown away, or for `head_seconds`: were it closed meanwhile, it
    would be reset, and the client would not see why."""
    return errors.ApiError(413, f"the body is larger than {limits.body:,} bytes", None, "request_too_large")


def _too_many(limits: Limits) -> errors.ApiError:
    return errors.ApiError(413, f"the body holds more than {limits.values:,} values", None, "request_too_large")


def hosts_of(host: str) -> Sequence[str]:
    """The names under which a server that listens on `host` may be asked; all, where other machines can reach it."""
    try:
        is_ours = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        is_ours = False
    return tuple(dict.fromkeys([*LOOPBACK, f"[{host}]" if ":" in host else host])) if is_ours else ()
