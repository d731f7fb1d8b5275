"""Passing an engine's answer on: whole or streamed, and never for a client that has gone."""

import contextlib
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing
from typing import Any

import aiohttp
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from assistant import sse
from assistant.access.ledger import Used
from assistant.api.calls import Call
from assistant.api.connected import ClientLeft, while_connected
from assistant.errors import AssistantError, EngineError, told

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
ERROR = b'data: {"error"'  # vLLM's own, after which it says that it is done
REASONING = b'"reasoning":'

OnBlock = Callable[[bytes], bytes | None]
OnEnd = Callable[[], Awaitable[None]]


class EventStream(StreamingResponse):
    """Server-sent events; whatever ends it, its generator is closed then and there."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes]) -> None:
        super().__init__(events, headers=STREAM_HEADERS)
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events; without the two tasks of Starlette's way to hear of a client leaving."""
        with contextlib.suppress(ClientLeft):  # whom nothing can be told
            async with while_connected(receive), aclosing(self._events):
                await self.stream_response(send)


async def whole(call: Call) -> dict[str, Any]:
    """The engine's full answer in OpenAI's fields; given up when the client disconnects."""
    async with while_connected(call.request.receive), call.post() as response:
        answer: dict[str, Any] = await response.json()
    call.used.hear(answer)
    call.used.finished = True
    answer["model"] = call.engine.version.name
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
    async with while_connected(call.request.receive):
        response = await around.enter_async_context(call.post())
    seen = on_block or _unchanged
    shown = _unchanged if call.wants_everything else _pruned
    engines_name, name = _named(call.engine.served_as), _named(call.engine.version.name)

    def passed(block: bytes) -> bytes | None:
        if engines_name != name:
            block = block.replace(engines_name, name, 1)
        if b'"usage":{' not in block:
            call.used.completion_tokens += block.startswith(DATA) and block != sse.DONE
            return shown(seen(block))
        chunk = sse.payload(block) or {}
        call.used.hear(chunk)
        block_seen = seen(block)
        return None if chunk.get("choices") == [] and not usage_wanted else shown(block_seen)

    events = _events(around.pop_all(), response, passed, on_end, call.used)
    return EventStream(events)


def _named(model: str) -> bytes:
    return f'"model":"{model}"'.encode()


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
            async with aclosing(_shown(response, on_block, on_end, used)) as pieces:
                async for piece in pieces:
                    if piece:
                        yield piece
        except AssistantError as error:
            yield sse.event(_stream_error(told(error)))
        except (aiohttp.ClientError, TimeoutError) as error:
            failure = EngineError(f"The engine broke off ({type(error).__name__}).")
            yield sse.event(_stream_error(str(failure)))


async def _shown(
    response: aiohttp.ClientResponse, on_block: OnBlock, on_end: OnEnd | None, used: Used
) -> AsyncGenerator[bytes]:
    """What the client gets of the engine's events, those together that came together."""
    async with aclosing(sse.pieces(response)) as pieces:
        async for blocks in pieces:
            shown = b""
            for block in blocks:
                if block.startswith(ERROR):
                    yield shown
                    raise EngineError(sse.complaint(sse.payload(block) or {}))
                if block == sse.DONE:
                    used.finished = True
                    if on_end:
                        yield shown
                        shown = b""
                        await on_end()
                shown += on_block(block) or b""
            yield shown


def _stream_error(message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "server_error", "param": None, "code": None}}


def _choice(choice: dict[str, Any]) -> dict[str, Any]:
    kept = {field: choice[field] for field in CHOICE_FIELDS if field in choice}
    if message := kept.get("message"):
        kept["message"] = _message(message, choice.get("finish_reason") == "stop")
    return kept


def _message(message: dict[str, Any], finished: bool) -> dict[str, Any]:
    """A thought that never ended, though the model was done, was no thought but the answer."""
    thought = message.get("reasoning")
    if finished and thought and not message.get("content") and not message.get("tool_calls"):
        message = {**message, "content": thought, "reasoning": None}
    kept = {field: message[field] for field in MESSAGE_FIELDS if field in message}
    if calls := message.get("tool_calls"):
        kept |= {"content": message.get("content") or None, "tool_calls": calls}
    if (reasoning := message.get("reasoning")) is not None:
        kept["reasoning"] = reasoning
        _name_reasoning_twice(kept)
    return kept
