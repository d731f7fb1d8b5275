"""Chat completions that a client asked to keep: listed, read, labelled, deleted."""

import asyncio
import re
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from assistant.access.callers import Caller
from assistant.api import requests
from assistant.api.authorization import Gate
from assistant.api.chat_completions import PATH
from assistant.api.openapi import gives, takes
from assistant.api.pages import After, Limit, Order, page
from assistant.api.schemas.answers import AskedTurns, ChatCompletion, ChatCompletions, Deleted
from assistant.api.schemas.chat import Labels
from assistant.errors import Invalid
from assistant.feedback.completions import Choice, Completion, Wanted
from assistant.feedback.records import Message
from assistant.feedback.store import FeedbackStore

ONE = PATH + "/{completion_id}"
UNSEARCHABLE = set('"\\\0')  # what a path into JSON cannot name in every database
METADATA = re.compile(r"metadata\[(.*)\]")


def router(store: FeedbackStore, gate: Gate) -> APIRouter:
    """Routes of kept completions; only its own exist for a caller."""
    Asking = Annotated[Caller, Depends(gate("chat"))]  # noqa: N806 - a type
    Writing = Annotated[Caller, Depends(gate.writing("chat"))]  # noqa: N806 - a type
    routes = APIRouter()
    kept = store.completions

    @routes.get(PATH, response_model=None, responses=gives(ChatCompletions))
    async def listed(
        request: Request,
        caller: Asking,
        model: str | None = None,
        after: After = None,
        limit: Limit = 20,
        order: Order = "asc",
    ) -> dict[str, Any]:
        wanted = Wanted(model, _filters(request), after, limit, order == "desc")
        found, more = await asyncio.to_thread(kept.page, caller.owner, wanted)
        return page([_shown(completion) for completion in found], more)

    @routes.get(ONE, response_model=None, responses=gives(ChatCompletion))
    async def read(completion_id: str, caller: Asking) -> dict[str, Any]:
        return _shown(await asyncio.to_thread(kept.get, completion_id, caller.owner))

    @routes.get(ONE + "/messages", response_model=None, responses=gives(AskedTurns))
    async def messages(
        completion_id: str,
        caller: Asking,
        after: After = None,
        limit: Limit = 20,
        order: Order = "asc",
    ) -> dict[str, Any]:
        completion = await asyncio.to_thread(kept.get, completion_id, caller.owner)
        path = await asyncio.to_thread(store.conversations.path, completion.prompt_id)
        turns = [_turn(message) for message in path][:: -1 if order == "desc" else 1]
        rest = _after(turns, after)
        return page(rest[:limit], len(rest) > limit)

    @routes.post(
        ONE, response_model=None, openapi_extra=takes(Labels), responses=gives(ChatCompletion)
    )
    async def label(completion_id: str, request: Request, caller: Writing) -> dict[str, Any]:
        body = await requests.read_object(request)
        if "metadata" not in body:
            raise Invalid("'metadata' is required; null removes it.", "metadata")
        labels = Labels.read(body).metadata
        labelled = await asyncio.to_thread(kept.label, completion_id, caller.owner, labels)
        return _shown(labelled)

    @routes.delete(ONE, response_model=None, responses=gives(Deleted))
    async def delete(completion_id: str, caller: Writing) -> dict[str, Any]:
        completion = await asyncio.to_thread(kept.get, completion_id, caller.owner)
        await asyncio.to_thread(store.conversations.erase, completion.conversation_id, caller.owner)
        return {"object": "chat.completion.deleted", "id": completion_id, "deleted": True}

    return routes


def _filters(request: Request) -> dict[str, str]:
    """`metadata[key]=value` of a query, as OpenAI's clients write it."""
    named = ((METADATA.fullmatch(name), value) for name, value in request.query_params.items())
    filters = {match.group(1): value for match, value in named if match}
    if any(UNSEARCHABLE & set(key) or "\0" in value for key, value in filters.items()):
        raise Invalid("Keys with quotes or backslashes cannot be searched for.", "metadata")
    return filters


def _after(turns: list[dict[str, Any]], known: str | None) -> list[dict[str, Any]]:
    ids = [turn["id"] for turn in turns]
    if known is not None and known not in ids:
        raise Invalid(f"There is no message {known!r} in this completion.", "after")
    return turns[ids.index(known) + 1 :] if known else turns


def _turn(message: Message) -> dict[str, Any]:
    return {"id": message.id, "name": None, **message.turn}


def _answer(choice: Choice) -> dict[str, Any]:
    said: dict[str, Any] = {"role": "assistant", "content": choice.content, "refusal": None}
    if choice.tool_calls:
        said |= {"content": choice.content or None, "tool_calls": choice.tool_calls}
    return said


def _shown(completion: Completion) -> dict[str, Any]:
    """A kept completion as it was answered."""
    return {
        "id": completion.id,
        "object": "chat.completion",
        "created": completion.created_at // 1000,
        "model": completion.choices[0][1].generation.version,
        "metadata": completion.metadata or {},
        "choices": [
            {
                "index": choice.generation.choice_index,
                "message": _answer(choice),
                "logprobs": None,
                "finish_reason": choice.generation.finish_reason,
            }
            for _, choice in completion.choices
        ],
        "usage": completion.usage,
    }
