"""/openapi.json: every endpoint with what it takes and what it gives back."""

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, TypeAdapter

from assistant.access.addresses import API
from assistant.api.schemas.answers import ErrorBody

REFERENCE = "#/components/schemas/{model}"
VALIDATION = "422"  # FastAPI's own; here it is a 400
KEY = "key"
SECURITY = {KEY: {"type": "http", "scheme": "bearer", "description": "Not needed on loopback."}}
GUARDED = ("/v1/", "/metrics")
LIMITS = [f"x-ratelimit-{f}-{of}" for of in ("requests", "tokens") for f in ("limit", "remaining")]
ALWAYS = ("x-request-id", "openai-processing-ms", "openai-version")
TEXT = {"schema": {"type": "string"}}
EVENT = {
    "type": "object",
    "properties": {"event": {"type": "string"}, "data": {"type": "string"}},
    "required": ["data"],
}
"""Of a stream, as server-sent events are read."""


def takes(*forms: type[BaseModel]) -> dict[str, Any]:
    """For a route: the body it reads itself, which has one of these forms."""
    refs = [{"$ref": REFERENCE.format(model=form.__name__)} for form in forms]
    schema = refs[0] if len(refs) == 1 else {"oneOf": refs}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def gives(
    answer: type[BaseModel], status: int = 200, *, streams: bool = False
) -> dict[int | str, dict[str, Any]]:
    """For a route: the body of a success, which may also come as events, and of failures."""
    success: dict[str, Any] = {"model": answer}
    if streams:
        success["content"] = {"text/event-stream": {"schema": EVENT}}
    return {status: success, **fails()}


def fails() -> dict[int | str, dict[str, Any]]:
    """For a route: the body of failures, which is the same everywhere."""
    failed = {"model": ErrorBody, "description": "What went wrong, and what to do."}
    return {"4XX": failed, "5XX": failed}


def describe(app: FastAPI, bodies: Sequence[type[BaseModel]]) -> None:
    """Let the application describe the bodies that its routes read themselves."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _described(app, bodies)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _described(app: FastAPI, bodies: Sequence[type[BaseModel]]) -> dict[str, Any]:
    made = get_openapi(
        title="assistant", version="1", routes=app.routes, description=app.description
    )
    schemas = made["components"]["schemas"]
    for body in bodies:
        schema = TypeAdapter(body).json_schema(ref_template=REFERENCE)
        schemas |= schema.pop("$defs", {}) | {body.__name__: schema}
    for path, operations in made["paths"].items():
        for operation in operations.values():
            operation["responses"].pop(VALIDATION, None)
            if path.startswith(GUARDED):
                operation["security"] = [{KEY: []}, {}]
            if path.startswith(API):
                _name_headers(operation["responses"])
    made["components"]["securitySchemes"] = SECURITY
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    return made


def _name_headers(responses: dict[str, dict[str, Any]]) -> None:
    """Say which headers an answer carries."""
    for status, response in responses.items():
        more = ("Retry-After",) if status in ("4XX", "5XX") else LIMITS
        response["headers"] = dict.fromkeys((*ALWAYS, *more), TEXT)
