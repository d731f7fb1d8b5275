"""POST /v1/completions: plain continuation of a text, as a base model is used."""

import secrets
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from assistant.api import relay, requests
from assistant.errors import Invalid
from assistant.fleet import ALIAS, Fleet

PATH = "/v1/completions"


def router(fleet: Fleet) -> APIRouter:
    """Routes of plain completions."""
    routes = APIRouter()

    @routes.post(PATH)
    async def create(request: Request) -> Response:
        body = requests.check_fields(
            await requests.read_object(request), requests.COMPLETION_FIELDS
        )
        _check_prompt(body.get("prompt"))
        engine = fleet.engine(body.get("model", ALIAS))
        upstream = {k: v for k, v in body.items() if k != "user"}
        request_id = secrets.token_hex(16)
        if body.get("stream"):
            return await relay.stream(engine, PATH, upstream, request_id)
        return JSONResponse(await relay.whole(request, engine, PATH, upstream, request_id))

    return routes


def _check_prompt(prompt: Any) -> None:
    texts = prompt if isinstance(prompt, list) else [prompt]
    if not texts or not all(isinstance(text, str) and text for text in texts):
        raise Invalid("'prompt' must be a text, or a list of texts.", "prompt")
