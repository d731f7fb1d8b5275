"""Every error of the API in the shape the official clients parse."""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from assistant.errors import (
    AssistantError,
    EngineError,
    Invalid,
    NotFound,
    NotReady,
    NotServed,
)

TYPES = {400: "invalid_request_error", 401: "authentication_error", 429: "rate_limit_error"}


def error_body(
    message: str, status: int, code: str | None = None, param: str | None = None, kind: str = ""
) -> dict[str, Any]:
    """The JSON body of an error, `type` following the status unless given."""
    kind = kind or TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def respond(error: AssistantError) -> JSONResponse:
    """The response for one of our own errors."""
    text = str(error)
    match error:
        case Invalid():
            return _response(400, error_body(text, 400, param=error.param))
        case NotFound():
            return _response(404, error_body(text, 404, code="not_found"))
        case NotServed():
            body = error_body(text, 404, "model_not_found", "model", kind="model_not_found")
            return _response(404, body)
        case NotReady():
            body = error_body(text, 503, code="model_not_ready")
            return _response(503, body, {"Retry-After": str(error.retry_after)})
        case EngineError():
            return _engine_response(error)
    return _response(500, error_body(text, 500))


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
        return _response(error.status_code, error_body(message, error.status_code))

    @app.exception_handler(Exception)
    async def unexpected(_request: Request, _error: Exception) -> JSONResponse:
        return _response(500, error_body("The server failed; its log says why.", 500))


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
