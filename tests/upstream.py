"""A scripted engine, for the faults that a real one cannot be told to produce.

What it does is decided by the last message: "break", "refuse", "stall", "slow", … ; else it answers
"one two three".
"""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse

WORDS = ["one ", "two ", "three"]
CALLING = {
    "content": None,
    "tool_calls": [
        {"id": "call-1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}},
        {"id": "call-2", "type": "function", "function": {"name": "sub", "arguments": "{}"}},
    ],
}
STREAMED: dict[str, list[dict[str, Any]]] = {  # before the words
    "think": [{"reasoning": "Hm."}],
    "call": [
        {"tool_calls": [{"index": index, **piece}]}
        for index, piece in (
            (0, {"id": "call-1", "type": "function", "function": {"name": "add"}}),
            (0, {"function": {"arguments": '{"a":'}}),
            (0, {"function": {"arguments": " 1}"}}),
            (1, {"id": "call-2", "function": {"name": "sub", "arguments": "{}"}}),
        )
    ],
}
COMPLAINT = {"message": "out of memory", "type": "InternalServerError", "code": 500}
USAGE = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}


class Upstream:
    """Counts what is running, and keeps what clients asked."""

    def __init__(self, name: str = "tiny", key: str = "") -> None:
        self.name = name
        self.running = 0
        self.refused = 0
        self.asked: list[dict[str, Any]] = []
        self.traces: list[str | None] = []
        self.salts: list[str | None] = []  # of the prompt cache, asked with each
        self.sessions: list[str | None] = []  # of conversations, told with each chat
        self.late = 0.0  # seconds before a text is completed
        self.healthy = True
        self.key = key  # without which nothing but its health is told
        self.script: str | None = None  # played instead of what the last message says
        self.words = WORDS
        self.calling = CALLING  # what a whole answer to "call" says
        self.pause = 1.0  # seconds between the words of "slow", and before a whole one
        self.app = FastAPI()
        if key:
            self.app.middleware("http")(self._check_key)
        self.app.get("/health")(self._health)
        self.app.get("/metrics")(self._metrics)
        self.app.get("/v1/models")(self._models)
        self.app.post("/v1/completions")(self._completions)
        self.app.post("/v1/chat/completions")(self._chat)
        self.adapters: dict[str, str] = {}
        self.app.post("/v1/load_lora_adapter")(self._load_adapter)
        self.app.post("/v1/unload_lora_adapter")(self._unload_adapter)

    async def _health(self) -> JSONResponse:
        return JSONResponse({}, 200 if self.healthy else 503)

    async def _check_key(self, request: Request, answer: Any) -> Any:
        shown = request.headers.get("authorization")
        if shown != f"Bearer {self.key}" and request.url.path.startswith("/v1"):
            return _error(401, "Unauthorized")
        return await answer(request)

    async def _metrics(self) -> PlainTextResponse:
        return PlainTextResponse('vllm:generation_tokens_total{model_name="tiny"} 3.0\n')

    async def _models(self) -> dict[str, Any]:
        return {"data": [{"id": self.name}]}

    async def _load_adapter(self, request: Request) -> Any:
        body = await request.json()
        if body["lora_name"] in self.adapters:
            return _error(400, f"{body['lora_name']} is loaded already.")
        if not (Path(body["lora_path"]) / "adapter_config.json").is_file():
            return _error(404, "No adapter found.")
        self.adapters[body["lora_name"]] = body["lora_path"]
        return PlainTextResponse("Success")

    async def _unload_adapter(self, request: Request) -> Any:
        name = (await request.json())["lora_name"]
        if self.adapters.pop(name, None) is None:
            return _error(404, f"{name} is not loaded.")
        return PlainTextResponse("Success")

    async def _completions(self, request: Request) -> JSONResponse:
        body = await request.json()
        await asyncio.sleep(self.late)
        if "cache_salt" in body:  # by a client, not by the watch over engines
            self.salts.append(body.pop("cache_salt"))
            self.traces.append(request.headers.get("traceparent"))
            self.asked.append(body)
        choice = {"index": 0, "text": " two", "finish_reason": "length", "prompt_logprobs": None}
        return JSONResponse(
            {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": body["model"]}
            | {"choices": [choice], "usage": USAGE, "kv_transfer_params": None}
        )

    async def _chat(self, request: Request) -> Any:
        body = await request.json()
        self.salts.append(body.pop("cache_salt", None))
        self.traces.append(request.headers.get("traceparent"))
        self.sessions.append(request.headers.get("x-session-id"))
        self.asked.append(body)
        script = self.script or body["messages"][-1]["content"]
        if refusal := self._refusal(script, body["model"]):
            return refusal
        identity = request.headers.get("x-request-id", "1")
        if body.get("stream"):
            return StreamingResponse(self._stream(body, script, identity), 200)
        if script == "stall":
            await self._until_gone(request)
        if script == "slow":
            await asyncio.sleep(self.pause)
        message = {"role": "assistant", "content": "".join(self.words), "tool_calls": []}
        message |= self.calling if script == "call" else {}
        message |= {"reasoning": "Hm."} if script == "think" else {}
        choices = [
            {"index": i, "message": message, "finish_reason": "stop", "stop_reason": None}
            for i in range(body.get("n", 1))
        ]
        return {
            **_head(body, identity),
            "choices": choices,
            "usage": USAGE,
            "prompt_logprobs": None,
        }

    def _refusal(self, script: str, model: str) -> JSONResponse | None:
        if self.adapters and model not in (self.name, *self.adapters):
            return _error(404, f"{model} is not served.")
        if script == "refuse":
            return _error(400, "This model's maximum context length is 8 tokens.", "messages")
        if script == "unwell":
            self.refused += 1
            return _error(503, "Not now.")
        if script == "overload":
            return _error(429, "Too many requests.")
        return JSONResponse("not an error object", 500) if script == "crash" else None

    async def _until_gone(self, request: Request) -> None:
        self.running += 1
        try:
            while not await request.is_disconnected():
                await asyncio.sleep(0.02)
        finally:
            self.running -= 1

    async def _stream(self, body: dict[str, Any], script: str, identity: str) -> AsyncIterator[str]:
        self.running += 1
        try:
            for delta in STREAMED.get(script, ()):
                yield _event(body, identity, [_choice(delta)])
            for word in self.words if script != "call" else ():
                yield _event(body, identity, [_choice({"content": word})])
                if script == "slow":
                    await asyncio.sleep(self.pause)
                if script == "break":
                    raise ConnectionError("the engine died")
                if script == "complain":
                    yield f"data: {json.dumps({'error': COMPLAINT})}\n\n"
                    break
                while script == "stall":
                    await asyncio.sleep(0.02)
                    yield ": still here\n\n"
            yield _event(body, identity, [_choice({}, "stop")])
            if body.get("stream_options", {}).get("include_usage"):
                yield _event(body, identity, [], usage=USAGE)
            yield "data: [DONE]\n\n"
        finally:
            self.running -= 1


def _head(body: dict[str, Any], identity: str) -> dict[str, Any]:
    made = {"id": f"chatcmpl-{identity}", "object": "chat.completion", "created": 1}
    return made | {"model": body["model"]}


def _choice(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    own = {"stop_reason": 'a"b' if finish else None, "token_ids": None}
    return {"index": 0, "delta": delta, "finish_reason": finish, **own}


def _event(body: dict[str, Any], identity: str, choices: list[Any], **more: Any) -> str:
    chunk = _head(body, identity) | {"choices": choices, "prompt_token_ids": None} | more
    return f"data: {json.dumps(chunk, separators=(',', ':'))}\n\n"


def _error(status: int, message: str, param: str | None = None) -> JSONResponse:
    return JSONResponse({"error": {"message": message, "param": param, "code": status}}, status)
