"""POST /v1/comparisons: two answers drawn blind, as the Compare tab draws them."""

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from assistant.api import relay, requests
from assistant.chat import Sampling
from assistant.errors import EngineError, Invalid
from assistant.feedback.records import Message
from assistant.pairs import PAIR_SAMPLING, Pairs

PATH = "/v1/comparisons"
SURFACE = "api"
LENGTHS = ("max_completion_tokens", "max_tokens")  # the newer name of OpenAI's API goes first
LIMITS: Mapping[str, tuple[float, float]] = {
    "temperature": (0.0, 2.0),
    "top_p": (0.0, 1.0),
    **dict.fromkeys(LENGTHS, (1, 4096)),
}
FIELDS = {"messages", *LIMITS}


def router(pairs: Pairs, owner: str) -> APIRouter:
    """The route of comparisons; they belong to `owner`."""
    routes = APIRouter()

    @routes.post(PATH)
    async def create(request: Request) -> JSONResponse:
        body = requests.check_fields(await requests.read_object(request), FIELDS)
        turns = requests.turns(body.get("messages"))
        sampling = _sampling(body)
        pairs.chat.require_ready()
        return JSONResponse(
            await relay.while_connected(request, _compare(pairs, owner, turns, sampling)), 201
        )

    return routes


async def _compare(
    pairs: Pairs, owner: str, turns: list[dict[str, str]], sampling: Sampling
) -> dict[str, Any]:
    sides = pairs.draw_sides()
    question = await asyncio.to_thread(_ask, pairs, owner, turns)
    messages: tuple[Message | None, Message | None] = (None, None)
    async with aclosing(pairs.stream(question, sampling, sides)) as drafts:
        async for first, second in drafts:
            messages = first.message, second.message
    if not messages[0] or not messages[1]:
        raise EngineError("One of the two answers came back empty; please ask again.", 503)
    comparison = await pairs.note(messages[0], messages[1], sides)
    answers = [
        {"id": f"{comparison}#{position}", "content": message.content}
        for position, message in enumerate(messages)
        if message
    ]
    return {"id": comparison, "object": "comparison", "answers": answers}


def _ask(pairs: Pairs, owner: str, turns: list[dict[str, str]]) -> Message:
    """Store the prompt as a conversation of its own; returns its last message."""
    conversations = pairs.chat.store.conversations
    conversation = conversations.start(owner, SURFACE)
    parent: Message | None = None
    for turn in turns:
        author = "program" if turn["role"] == "assistant" else "person"
        before = parent.id if parent else None
        parent = conversations.add(conversation.id, before, turn["role"], turn["content"], author)
    assert parent is not None
    return parent


def _sampling(body: dict[str, Any]) -> Sampling:
    given = {name: body[name] for name in LIMITS if name in body}
    for name, value in given.items():
        low, high = LIMITS[name]
        whole = name not in LENGTHS or isinstance(value, int)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (is_number and whole and low <= value <= high):
            raise Invalid(f"{name!r} must be a number from {low} to {high}.", name)
    return Sampling(
        temperature=given.get("temperature", PAIR_SAMPLING.temperature),
        top_p=given.get("top_p", PAIR_SAMPLING.top_p),
        max_tokens=next((given[n] for n in LENGTHS if n in given), PAIR_SAMPLING.max_tokens),
    )
