"""POST /v1/completions: plain continuation of a text, as a base model is used."""

import secrets

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from assistant.api import relay, requests
from assistant.api.openapi import gives, takes
from assistant.api.schemas.answers import TextCompletion
from assistant.api.schemas.text import TextRequest
from assistant.fleet import Fleet

PATH = "/v1/completions"


def router(fleet: Fleet) -> APIRouter:
    """Routes of plain completions."""
    routes = APIRouter()

    @routes.post(PATH, openapi_extra=takes(TextRequest), responses=gives(TextCompletion))
    async def create(request: Request) -> Response:
        asked = TextRequest.read(await requests.read_object(request))
        engine = fleet.engine(asked.model)
        request_id = secrets.token_hex(16)
        if asked.stream:
            return await relay.stream(request, engine, PATH, asked.upstream(), request_id)
        answer = await relay.whole(request, engine, PATH, asked.upstream(), request_id)
        return JSONResponse(answer)

    return routes
