"""Errors as OpenAI's API tells them: a status, and a body `{"error": {message, type, param, code}}`."""

import json
import re
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ernest.generation.answer import printable
from ernest.generation.known import PromptTooLong


class ApiError(HTTPException):
    """What a client is told. `param` is the field that is wrong."""

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        message = printable(_cut(message, 2_000))  # which may name a field that a client thought of
        super().__init__(status, message, dict(headers or {}))
        self.message, self.param, self.code = message, _cut(param, 200) if param else param, code

    @property
    def body(self) -> dict[str, Any]:
        """As JSON."""
        return {"error": {"message": self.message, "type": _type(self.status_code), "param": self.param, "code": self.code}}

    def response(self) -> Response:
        """As the whole response."""
        return Json(self.body, self.status_code, dict(self.headers or {}))


class Json(Response):
    """JSON in ASCII, so that whatever a text holds can be sent."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return json.dumps(content, separators=(",", ":")).encode()


_NAME = {"type": ["string", "null"]}
_SCHEMA = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {"message": {"type": "string"}, "type": {"type": "string"}, "param": _NAME, "code": _NAME},
        }
    },
}
RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"description": what, "content": {"application/json": {"schema": _SCHEMA}}}
    for status, what in (("4XX", "what is wrong with the request"), ("5XX", "why there is no answer"))
}
"""Of every endpoint, for the OpenAPI document: FastAPI's own status 422 is never sent."""


# ------------------------------------------------------------------ what goes wrong


def unsupported(param: str, value: object, right: str) -> ApiError:
    """A field that OpenAI knows, with a value that is not served here; `right` says what would be."""
    return ApiError(400, f"{param} = {_cut(repr(value), 60)} is not supported here: {right}", param, "unsupported_value")


def wrong(message: str, param: str | None = None) -> ApiError:
    """A request that cannot be."""
    return ApiError(400, message, param, "invalid_value")


def refused(reason: ValueError) -> ApiError:
    """What the model cannot do, or never learnt. Clients that shorten a conversation wait for OpenAI's code."""
    return ApiError(400, str(reason), None, "context_length_exceeded" if isinstance(reason, PromptTooLong) else "model_cannot")


def unknown(param: str) -> ApiError:
    """A field that nobody knows."""
    return ApiError(400, f"unrecognised request argument: {_cut(repr(param), 60)}", param, "unknown_parameter")


def busy(seconds: int) -> ApiError:
    """Too much is asked for at once."""
    message = f"the queue is full: try again in {seconds} s"
    return ApiError(429, message, None, "rate_limit_exceeded", {"Retry-After": str(seconds)})


def late(seconds: float) -> ApiError:
    """No answer in time; a client that asked again would only make the queue longer."""
    return ApiError(504, f"no answer within {seconds:g} s", None, "timeout", {"x-should-retry": "false"})


def loading() -> ApiError:
    """A checkpoint is read for some seconds, and the server can be asked meanwhile."""
    return ApiError(503, "the checkpoints are being loaded: try again in 2 s", None, "loading", {"Retry-After": "2"})


def failed() -> ApiError:
    """A step of the model raised something; the log says what."""
    return ApiError(500, "the model failed on this batch; the server goes on", None, "model_error")


def fault() -> ApiError:
    """A mistake of the server's own; it is logged."""
    return ApiError(500, "the server failed on this request; its log says why", None, "internal_error")


def ending() -> ApiError:
    """The server is told to end, and has waited long enough."""
    return ApiError(503, "the server is ending", None, "ending", {"Connection": "close"})


def gone() -> ApiError:
    """Nobody will read it."""
    return ApiError(499, "the client went away", None, "client_closed_request")


_BRANCH = re.compile(r"\w+\[.+\]|constrained-\w+|str|int|float|bool|dict|list")


def _type(status: int) -> str:
    if status == 429:
        return "rate_limit_error"
    return "server_error" if status >= 500 else "invalid_request_error"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}…"


# ------------------------------------------------------------------ whatever is raised, in one shape


def install(app: FastAPI) -> None:
    """Makes an app tell all of its errors so."""
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _validation)


async def _http(request: Request, error: Exception) -> Response:
    if isinstance(error, ApiError):
        return error.response()
    assert isinstance(error, HTTPException)
    known = {
        "Not Found": f"there is no {request.method} {_cut(repr(request.scope['path']), 60)}",
        "Method Not Allowed": f"{request.method} is not allowed here",
        "There was an error parsing the body": "the body cannot be read: expected JSON in UTF-8",
    }
    message, code = known.get(str(error.detail)), "invalid_json" if "parsing" in str(error.detail) else None
    return ApiError(error.status_code, message or str(error.detail), None, code, error.headers).response()


async def _validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return invalid(error.errors()).response()


def invalid(found: Any) -> ApiError:
    """The complaint of pydantic that lies deepest, rather not about a type: of a field that may be one thing or another, it is
    about the likelier one."""
    first = max(found, key=lambda one: (len(one["loc"]), not one["type"].endswith("_type")))
    param = _place(first) or None
    message = " ".join(str(first["msg"]).split())
    if first["type"] == "none_required":
        return ApiError(400, f"{param} is not supported here", param, "unsupported_parameter")
    if first["type"].endswith("too_long") and not first.get("ctx", {}).get("max_length"):
        return ApiError(400, f"{param} is not supported here", param, "invalid_value")
    if first["type"] == "extra_forbidden":
        return unknown(str(param))
    if "UploadFile" in message:
        return wrong(f"{param}: expected a file and its name, as `curl -F {param}=@NAME` sends them", param)
    if first["type"] == "json_invalid":
        return ApiError(400, "the body is not JSON", None, "invalid_json")
    if param is None:
        return ApiError(400, "expected a JSON object, announced by `Content-Type: application/json`", None, "invalid_json")
    code = "missing_required_parameter" if first["type"] == "missing" else "invalid_value"
    return ApiError(400, f"{param}: {message}", param, code)


def _place(complaint: Any) -> str:
    """The field, by its path, without the names that pydantic gives to the branches of a choice: types, as `list[…]`, and behind
    the number of a part its kind."""
    *path, last = [part for part in complaint["loc"] if part not in ("body", "query", "path", "header")] or [""]
    if not isinstance(last, str) or not _BRANCH.fullmatch(last) or complaint["type"] == "extra_forbidden":
        path.append(last)
    kept = []
    for number, part in enumerate(path):
        is_kind = number > 1 and isinstance(path[number - 1], int) and "tagged-union" in str(path[number - 2])
        if not is_kind and not (isinstance(part, str) and number and _BRANCH.fullmatch(part) and part != last):
            kept.append(str(part))
    return ".".join(kept)
