"""Every error of the API in the shape the official clients parse."""

import math
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route

from assistant.errors import (
    AssistantError,
    Busy,
    EngineError,
    Forbidden,
    Invalid,
    NotFound,
    NotReady,
    NotServed,
    StoreError,
    TooLarge,
    TooMuch,
    TooSlow,
    Unknown,
    told,
)

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}

REFUSALS: tuple[tuple[type[AssistantError], int, str | None], ...] = (
    (TooLarge, 413, "request_too_large"),
    (TooSlow, 408, "request_timeout"),
    (Invalid, 400, None),
    (Unknown, 401, "invalid_api_key"),
    (Forbidden, 403, "insufficient_permissions"),
    (NotFound, 404, "not_found"),
    (NotServed, 404, "model_not_found"),
)


def error_body(
    message: str, status: int, code: str | None = None, param: str | None = None, kind: str = ""
) -> dict[str, Any]:
    """The JSON body of an error, `type` following the status unless given."""
    kind = kind or TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def respond(error: AssistantError) -> JSONResponse:
    """The response for one of our own errors."""
    if isinstance(error, NotReady | Busy | TooMuch):
        return _later(error)
    if isinstance(error, EngineError):
        return _engine_response(error)
    if isinstance(error, StoreError):
        body = error_body(told(error), 503, "store_unavailable")
        return _response(503, body, {"Retry-After": "5"})
    known = ((status, code) for kind, status, code in REFUSALS if isinstance(error, kind))
    status, code = next(known, (500, None))
    param = error.param if isinstance(error, Invalid) else None
    kind = ""
    if isinstance(error, NotServed):
        param, kind = "model", "model_not_found"
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    if isinstance(error, TooLarge | TooSlow):
        headers = {"Connection": "close"}  # what is still being sent is not read
    return _response(status, error_body(str(error), status, code, param, kind), headers)


def install(app: FastAPI) -> None:
    """Answer every failure under /v1 with an OpenAI-shaped body."""

    @app.exception_handler(AssistantError)
    async def ours(_request: Request, error: AssistantError) -> JSONResponse:
        return respond(error)

    @app.exception_handler(RequestValidationError)
    async def query(_request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        param = str(first["loc"][-1])
        text = f"{param!r}: {first['msg'][:1].lower()}{first['msg'][1:]}."
        return _response(400, error_body(text, 400, param=param))

    @app.exception_handler(HTTPException)
    async def framework(request: Request, error: HTTPException) -> JSONResponse:
        message = str(error.detail)
        if error.status_code == 404:
            message = f"Unknown endpoint: {request.method} {request.url.path}."
        if error.status_code == 405:
            message = f"{request.method} is not allowed on {request.url.path}."
        headers = dict(error.headers or {})
        if error.status_code == 405:
            headers["Allow"] = _allowed(request)
        return _response(error.status_code, error_body(message, error.status_code), headers)

    @app.exception_handler(Exception)
    async def unexpected(_request: Request, _error: Exception) -> JSONResponse:
        return _response(500, error_body("The server failed; its log says why.", 500))


def _allowed(request: Request) -> str:
    """The methods of all routes of an address; Starlette names those of the first one only."""
    routes = [route for route in request.app.routes if isinstance(route, Route)]
    fitting = [r for r in routes if r.matches(request.scope)[0] is Match.PARTIAL]
    return ", ".join(sorted({method for route in fitting for method in route.methods or ()}))


def _later(error: NotReady | Busy | TooMuch) -> JSONResponse:
    """Come again: in so many seconds, and the official clients do so by themselves."""
    headers = {
        "Retry-After": str(math.ceil(error.retry_after)),
        "retry-after-ms": str(math.ceil(error.retry_after * 1000)),
    }
    if isinstance(error, TooMuch):
        body = error_body(str(error), 429, "rate_limit_exceeded")
        return _response(429, body, headers | error.limits)
    code = "server_overloaded" if isinstance(error, Busy) else "model_not_ready"
    return _response(503, error_body(str(error), 503, code), headers)


def _engine_response(error: EngineError) -> JSONResponse:
    """An engine's own refusal in OpenAI's words; its failures keep their status."""
    inner = error.body.get("error")
    param = inner.get("param") if isinstance(inner, dict) else None
    code = "context_length_exceeded" if "maximum context length" in str(error) else None
    status = 400 if error.status == 422 else error.status
    headers = {"Retry-After": "5"} if status in (429, 503) else {}
    return _response(status, error_body(str(error), status, code, param), headers)


def _response(
    status: int, body: dict[str, Any], headers: dict[str, str] | None = None
) -> JSONResponse:
    return JSONResponse(body, status, headers)
