"""POST /v1/comparisons: two answers drawn blind, as the Compare tab draws them."""

import asyncio
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from assistant.access.callers import Caller
from assistant.api import requests
from assistant.api.authorization import Gate
from assistant.api.connected import while_connected
from assistant.api.openapi import gives, takes
from assistant.api.schemas.answers import Comparison
from assistant.api.schemas.comparisons import ComparisonRequest
from assistant.feedback.completions import BY_PEOPLE
from assistant.feedback.records import Message
from assistant.pairs import Pairs

PATH = "/v1/comparisons"
SURFACE = "api"


def router(pairs: Pairs, gate: Gate) -> APIRouter:
    """The route of comparisons; they belong to their caller."""
    routes = APIRouter()

    @routes.post(
        PATH,
        status_code=201,
        openapi_extra=takes(ComparisonRequest),
        responses=gives(Comparison, 201),
    )
    async def create(
        request: Request, caller: Annotated[Caller, Depends(gate("chat"))]
    ) -> JSONResponse:
        caller.require_version(*pairs.chat.fleet.names_of_current())
        asked = ComparisonRequest.read(await requests.read_object(request))
        pairs.chat.require_ready()
        async with while_connected(request.receive):
            return JSONResponse(await _compare(pairs, caller, asked), 201)

    return routes


async def _compare(pairs: Pairs, caller: Caller, asked: ComparisonRequest) -> dict[str, Any]:
    sides = pairs.draw_sides()
    question = await asyncio.to_thread(_ask, pairs, caller.owner, asked.turns)
    made: tuple[Message | None, Message | None] = (None, None)
    async with aclosing(pairs.stream(question, asked.sampling, sides, caller)) as drafts:
        async for first, second in drafts:
            made = first.message, second.message
    comparison, messages = await pairs.note(*made, sides)
    answers = [
        {"id": f"{comparison}#{position}", "content": message.content}
        for position, message in enumerate(messages)
    ]
    return {"id": comparison, "object": "comparison", "answers": answers}


def _ask(pairs: Pairs, owner: str, turns: list[dict[str, Any]]) -> Message:
    """Store the prompt as a conversation of its own; returns its last message."""
    conversations = pairs.chat.store.conversations
    conversation = conversations.start(owner, SURFACE)
    parent: Message | None = None
    for turn in turns:
        said = dict(turn)
        role, content = said.pop("role"), said.pop("content")
        author = "person" if role in BY_PEOPLE else "program"
        before = parent.id if parent else None
        parent = conversations.add(conversation.id, before, role, content, author, **said)
    assert parent is not None
    return parent
