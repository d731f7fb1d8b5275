"""POST /v1/chat/completions, streamed and not, and the ones a client asked to keep."""

import asyncio
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from assistant import sse
from assistant.api import relay, requests
from assistant.chat import origin
from assistant.engine import Engine
from assistant.feedback.completions import Choice, Completion
from assistant.feedback.store import FeedbackStore
from assistant.fleet import ALIAS, Fleet

PATH = "/v1/chat/completions"
NOT_SAMPLING = {"messages", "model", "stream", "stream_options", "store", "metadata", "user"}


def router(fleet: Fleet, store: FeedbackStore, owner: str) -> APIRouter:
    """Routes of chat completions; what is kept belongs to `owner`."""
    routes = APIRouter()

    @routes.post(PATH)
    async def create(request: Request) -> Response:
        body = requests.check_fields(await requests.read_object(request), requests.CHAT_FIELDS)
        body["messages"] = requests.turns(body.get("messages"))
        call = _Call(fleet.engine(body.get("model", ALIAS)), body, store, owner)
        if body.get("stream"):
            return await call.streamed()
        return JSONResponse(await call.whole(request))

    @routes.get(PATH + "/{completion_id}")
    async def kept(completion_id: str) -> dict[str, Any]:
        return _restored(await asyncio.to_thread(store.completions.get, completion_id, owner))

    return routes


class _Call:
    """One request to one engine, and what it takes to keep its outcome."""

    def __init__(
        self, engine: Engine, body: dict[str, Any], store: FeedbackStore, owner: str
    ) -> None:
        engine.require_ready()
        self._engine = engine
        self._body = body
        self._store = store
        self._owner = owner
        self._keep = body.get("store", False)
        self._metadata = requests.metadata(body.get("metadata"))
        self._request_id = secrets.token_hex(16)  # the engine's id is chatcmpl-<this>
        self._heard = _Heard()
        options = body.get("stream_options") or {}
        self._usage_wanted = bool(options.get("include_usage"))
        ours = ("store", "metadata", "user")
        self._upstream = {k: v for k, v in body.items() if k not in ours}

    async def whole(self, request: Request) -> dict[str, Any]:
        answer = await relay.whole(request, self._engine, PATH, self._upstream, self._request_id)
        if self._keep:
            self._heard.whole(answer)
            await self._remember()
        return answer

    async def streamed(self) -> Response:
        if not self._keep:
            return await relay.stream(self._engine, PATH, self._upstream, self._request_id)
        upstream = self._upstream | {"stream_options": {"include_usage": True}}
        return await relay.stream(
            *(self._engine, PATH, upstream, self._request_id), self._overhear, self._remember
        )

    def _overhear(self, block: bytes) -> bytes | None:
        chunk = sse.payload(block)
        if chunk is None:
            return block
        self._heard.chunk(chunk)
        only_usage = chunk.get("choices") == []
        return None if only_usage and not self._usage_wanted else block

    async def _remember(self) -> None:
        if not self._heard.failed:
            await asyncio.to_thread(self._remember_now)

    def _remember_now(self) -> None:
        turns, heard = self._body["messages"], self._heard
        sampling = {k: v for k, v in self._body.items() if k not in NOT_SAMPLING}
        choices = [
            Choice(
                heard.texts[index],
                origin(
                    *(self._engine, turns, sampling, heard.usage_of_one()),
                    finish_reason=heard.finishes.get(index),
                    first_token_ms=heard.first_token_ms,
                    total_ms=heard.elapsed_ms(),
                ),
            )
            for index in sorted(heard.texts)
        ]
        conversation = self._store.conversations.start(self._owner, "api")
        self._store.completions.keep(
            *(heard.id, conversation.id, self._owner, self._body.get("model", ALIAS)),
            *(turns, choices, self._metadata, heard.usage),
        )


@dataclass
class _Heard:
    """What an engine said, put together from a whole answer or from a stream's chunks."""

    id: str = ""
    texts: dict[int, str] = field(default_factory=dict)
    finishes: dict[int, str] = field(default_factory=dict)
    usage: dict[str, int] = field(default_factory=dict)
    first_token_ms: int | None = None
    failed: bool = False
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
        self.failed = self.failed or "error" in chunk
        self.usage = chunk.get("usage") or self.usage
        for choice in chunk.get("choices", []):
            self._add(choice, choice["delta"])
            if self.first_token_ms is None and choice["delta"].get("content"):
                self.first_token_ms = self.elapsed_ms()

    def _add(self, choice: dict[str, Any], said: dict[str, Any]) -> None:
        index = choice["index"]
        self.texts[index] = self.texts.get(index, "") + (said.get("content") or "")
        if choice.get("finish_reason"):
            self.finishes[index] = choice["finish_reason"]


def _restored(completion: Completion) -> dict[str, Any]:
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
                "message": {"role": "assistant", "content": choice.content, "refusal": None},
                "logprobs": None,
                "finish_reason": choice.generation.finish_reason,
            }
            for _, choice in completion.choices
        ],
        "usage": completion.usage,
    }
