"""POST /v1/chat/completions, streamed and not, kept if the client asked for it."""

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response

from assistant import sse
from assistant.access.callers import Caller
from assistant.api import relay, requests
from assistant.api.authorization import Gate
from assistant.api.calls import Call, Calls
from assistant.api.openapi import gives, takes
from assistant.api.schemas.answers import ChatCompletion
from assistant.api.schemas.chat import ChatRequest
from assistant.chat import origin
from assistant.feedback.completions import Choice
from assistant.feedback.store import FeedbackStore

PATH = "/v1/chat/completions"


def router(calls: Calls, store: FeedbackStore, gate: Gate) -> APIRouter:
    """The route of chat completions; what is kept belongs to its caller."""
    routes = APIRouter()

    @routes.post(
        PATH, openapi_extra=takes(ChatRequest), responses=gives(ChatCompletion, streams=True)
    )
    async def create(
        request: Request, caller: Annotated[Caller, Depends(gate("chat"))]
    ) -> Response:
        asked = ChatRequest.read(await requests.read_object(request))
        async with AsyncExitStack() as around:
            call = await calls.begin(around, request, caller, PATH, asked)
            answer = _Answer(call, asked, store)
            if asked.stream:
                return await answer.streamed(around)
            return JSONResponse(await answer.whole())

    return routes


class _Answer:
    """The answer to one request, and what it takes to keep it."""

    def __init__(self, call: Call, asked: ChatRequest, store: FeedbackStore) -> None:
        self._call = call
        self._asked = asked
        self._store = store
        self._heard = _Heard()

    async def whole(self) -> dict[str, Any]:
        answer = await relay.whole(self._call)
        if self._asked.store:
            self._heard.whole(answer)
            await self._remember()
        return answer

    async def streamed(self, around: AsyncExitStack) -> Response:
        wanted = self._asked.usage_wanted
        if not self._asked.store:
            return await relay.stream(self._call, around, usage_wanted=wanted)
        return await relay.stream(
            *(self._call, around),
            usage_wanted=wanted,
            on_block=self._overhear,
            on_end=self._remember,
        )

    def _overhear(self, block: bytes) -> bytes | None:
        if chunk := sse.payload(block):
            self._heard.chunk(chunk)
        return block

    async def _remember(self) -> None:
        await asyncio.to_thread(self._remember_now)

    def _remember_now(self) -> None:
        turns, sampling, heard = self._asked.turns, self._asked.drawing(), self._heard
        choices = [
            Choice(
                heard.texts[index],
                origin(
                    *(self._call.engine, turns, sampling, heard.usage_of_one()),
                    finish_reason=heard.finishes.get(index),
                    first_token_ms=heard.first_token_ms,
                    total_ms=heard.elapsed_ms(),
                ),
                heard.calls_of(index),
            )
            for index in sorted(heard.texts)
        ]
        owner = self._call.caller.owner
        conversation = self._store.conversations.start(owner, "api")
        self._store.completions.keep(
            *(heard.id, conversation.id, owner, self._asked.model),
            *(turns, choices, self._asked.metadata, heard.usage),
        )


@dataclass
class _Heard:
    """What an engine said, put together from a whole answer or from a stream's chunks."""

    id: str = ""
    texts: dict[int, str] = field(default_factory=dict)
    calls: dict[int, dict[int, dict[str, Any]]] = field(default_factory=dict)
    """The tool calls of each choice, by their position."""
    finishes: dict[int, str] = field(default_factory=dict)
    usage: dict[str, int] = field(default_factory=dict)
    first_token_ms: int | None = None
    started: float = field(default_factory=time.monotonic)

    def elapsed_ms(self) -> int:
        return round((time.monotonic() - self.started) * 1000)

    def usage_of_one(self) -> dict[str, int]:
        """The usage, without the answers' tokens where several answers share the count."""
        alone = len(self.texts) == 1
        return {k: v for k, v in self.usage.items() if alone or k == "prompt_tokens"}

    def whole(self, answer: dict[str, Any]) -> None:
        self.id, self.usage = answer["id"], answer.get("usage") or {}
        for choice in answer["choices"]:
            self._add(choice, choice["message"])

    def chunk(self, chunk: dict[str, Any]) -> None:
        self.id = chunk.get("id") or self.id
        self.usage = chunk.get("usage") or self.usage
        for choice in chunk.get("choices", []):
            self._add(choice, choice["delta"])
            delta = choice["delta"]
            if self.first_token_ms is None and (delta.get("content") or delta.get("reasoning")):
                self.first_token_ms = self.elapsed_ms()

    def _add(self, choice: dict[str, Any], said: dict[str, Any]) -> None:
        index = choice["index"]
        self.texts[index] = self.texts.get(index, "") + (said.get("content") or "")
        for position, call in enumerate(said.get("tool_calls") or ()):
            self._call(index, call.get("index", position), call)
        if choice.get("finish_reason"):
            self.finishes[index] = choice["finish_reason"]

    def _call(self, index: int, position: int, piece: dict[str, Any]) -> None:
        function = piece.get("function") or {}
        new = {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
        call = self.calls.setdefault(index, {}).setdefault(position, new)
        call["id"] = call["id"] or piece.get("id") or ""
        for name in ("name", "arguments"):
            call["function"][name] += function.get(name) or ""

    def calls_of(self, index: int) -> list[dict[str, Any]] | None:
        """The tool calls of a choice, in order, if it made any."""
        calls = self.calls.get(index, {})
        return [calls[position] for position in sorted(calls)] or None
