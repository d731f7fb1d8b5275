"""Passing an engine's answer on: whole or streamed, and never for a client that has gone."""

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, aclosing
from typing import Any, TypeVar

import aiohttp
from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.types import Send

from assistant import sse
from assistant.access.ledger import Used
from assistant.api.calls import Call
from assistant.errors import AssistantError, EngineError

STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
ANSWER_FIELDS = ("id", "object", "created", "model", "choices", "usage", "system_fingerprint")
CHOICE_FIELDS = ("index", "message", "text", "logprobs", "finish_reason")
MESSAGE_FIELDS = ("role", "content", "refusal")

# What only vLLM's events have. Inside a JSON string quotes are escaped, so this matches no text.
ENGINE_FIELDS = re.compile(
    rb',"(?:token_ids|stop_reason|prompt_token_ids|prompt_text|routed_experts)":'
    rb'(?:null|-?\d+|"(?:[^"\\]|\\.)*")'
)
DATA = b"data:"
REASONING = b'"reasoning":'

Outcome = TypeVar("Outcome")
OnBlock = Callable[[bytes], bytes | None]
OnEnd = Callable[[], Awaitable[None]]


class EventStream(StreamingResponse):
    """Server-sent events; whatever ends it, its generator is closed then and there."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes]) -> None:
        super().__init__(events, headers=STREAM_HEADERS)
        self._events = events

    async def stream_response(self, send: Send) -> None:
        """Send the events; a client that does not read them is left."""
        try:
            await super().stream_response(send)
        except OSError as error:
            logging.getLogger(__name__).info("A stream was ended: %s", error)
        finally:
            await self._events.aclose()


async def whole(call: Call) -> dict[str, Any]:
    """The engine's full answer in OpenAI's fields; given up when the client disconnects."""

    async def fetch() -> dict[str, Any]:
        async with call.post() as response:
            answer: dict[str, Any] = await response.json()
            return answer

    answer = await while_connected(call.request, fetch())
    call.used.hear(answer)
    call.used.finished = True
    return answer if call.wants_everything else trimmed(answer)


async def stream(
    call: Call,
    around: AsyncExitStack,
    *,
    usage_wanted: bool,
    on_block: OnBlock | None = None,
    on_end: OnEnd | None = None,
) -> EventStream:
    """Relay the engine's events; refusals raise before the first byte is sent.

    What is `around` the call ends with the stream. `on_block` sees each event and returns what the
    client gets of it (None: nothing); `on_end` is awaited after the last answer token and before
    `[DONE]`.
    """
    response = await while_connected(call.request, around.enter_async_context(call.post()))
    seen = on_block or _unchanged
    shown = _unchanged if call.wants_everything else _pruned

    def passed(block: bytes) -> bytes | None:
        if b'"usage":{' not in block:
            call.used.completion_tokens += block.startswith(DATA) and block != sse.DONE
            return shown(seen(block))
        chunk = sse.payload(block) or {}
        call.used.hear(chunk)
        block_seen = seen(block)
        return None if chunk.get("choices") == [] and not usage_wanted else shown(block_seen)

    events = _events(around.pop_all(), response, passed, on_end, call.used)
    return EventStream(events)


def _unchanged(block: bytes | None) -> bytes | None:
    return block


def _pruned(block: bytes | None) -> bytes | None:
    if not block:
        return block
    block = ENGINE_FIELDS.sub(b"", block)
    if REASONING in block and (chunk := sse.payload(block)):
        for choice in chunk.get("choices", []):
            _name_reasoning_twice(choice["delta"])
        return sse.event(chunk)
    return block


def _name_reasoning_twice(message: dict[str, Any]) -> None:
    """Clients know what a model thought before it answered by one name or by the other."""
    if message.get("reasoning") is not None:
        message["reasoning_content"] = message["reasoning"]


def trimmed(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer without the engine's own extra fields."""
    kept = {field: answer[field] for field in ANSWER_FIELDS if field in answer}
    kept["choices"] = [_choice(choice) for choice in answer.get("choices", [])]
    if usage := answer.get("usage"):
        kept["usage"] = {k: v for k, v in usage.items() if v is not None}
    return kept


async def _events(
    stack: AsyncExitStack,
    response: aiohttp.ClientResponse,
    on_block: OnBlock,
    on_end: OnEnd | None,
    used: Used,
) -> AsyncGenerator[bytes]:
    async with stack:
        try:
            async with aclosing(sse.blocks(response)) as blocks:
                async for block in blocks:
                    if block == sse.DONE:
                        used.finished = True
                        if on_end:
                            await on_end()
                    if (passed := on_block(block)) is not None:
                        yield passed
        except AssistantError as error:
            yield sse.event(_stream_error(str(error)))
        except (aiohttp.ClientError, TimeoutError) as error:
            failure = EngineError(f"The engine broke off ({type(error).__name__}).")
            yield sse.event(_stream_error(str(failure)))


def _stream_error(message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "server_error", "param": None, "code": None}}


async def while_connected(request: Request, work: Coroutine[Any, Any, Outcome]) -> Outcome:
    """The outcome of some work, given up when the client disconnects."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise EngineError("The client closed the connection.", 499)
        return task.result()
    finally:
        for pending in (task, gone):
            pending.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _choice(choice: dict[str, Any]) -> dict[str, Any]:
    kept = {field: choice[field] for field in CHOICE_FIELDS if field in choice}
    if message := kept.get("message"):
        kept["message"] = _message(message)
    return kept


def _message(message: dict[str, Any]) -> dict[str, Any]:
    kept = {field: message[field] for field in MESSAGE_FIELDS if field in message}
    if calls := message.get("tool_calls"):
        kept |= {"content": message.get("content") or None, "tool_calls": calls}
    if (reasoning := message.get("reasoning")) is not None:
        kept["reasoning"] = reasoning
        _name_reasoning_twice(kept)
    return kept
