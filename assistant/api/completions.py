"""POST /v1/completions: plain continuation of a text, as a base model is used."""

from contextlib import AsyncExitStack
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response

from assistant.access.callers import Caller
from assistant.api import relay, requests
from assistant.api.authorization import Gate
from assistant.api.calls import Calls
from assistant.api.openapi import gives, takes
from assistant.api.schemas.answers import TextCompletion
from assistant.api.schemas.text import TextRequest

PATH = "/v1/completions"


def router(calls: Calls, gate: Gate) -> APIRouter:
    """Routes of plain completions."""
    routes = APIRouter()

    @routes.post(
        PATH, openapi_extra=takes(TextRequest), responses=gives(TextCompletion, streams=True)
    )
    async def create(
        request: Request, caller: Annotated[Caller, Depends(gate("chat"))]
    ) -> Response:
        asked = TextRequest.read(await requests.read_object(request))
        async with AsyncExitStack() as around:
            call = await calls.begin(around, request, caller, PATH, asked)
            if asked.stream:
                return await relay.stream(call, around, usage_wanted=asked.usage_wanted)
            return JSONResponse(await relay.whole(call))

    return routes
