"""A response being made: from the engine's chunks to typed events and the object they build."""

import secrets
import time
from collections.abc import Iterator
from typing import Any

from assistant.api.schemas.responses import ResponseRequest

Event = dict[str, Any]
ENDS = {"completed": "response.completed", "incomplete": "response.incomplete"}


def begun(asked: ResponseRequest, version: str) -> dict[str, Any]:
    """The response object before anything was answered."""
    shown = asked.model_dump(mode="json", by_alias=True)
    form = {name: value for name, value in shown["text"]["format"].items() if value is not None}
    return {
        "id": f"resp_{secrets.token_hex(24)}",
        "object": "response",
        "created_at": int(time.time()),
        "status": "queued" if asked.background else "in_progress",
        "background": asked.background,
        "error": None,
        "incomplete_details": None,
        "instructions": asked.instructions,
        "max_output_tokens": asked.max_output_tokens,
        "metadata": asked.metadata or {},
        "model": version,
        "output": [],
        "parallel_tool_calls": asked.parallel_tool_calls,
        "previous_response_id": asked.previous_response_id,
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "default",
        "store": asked.store,
        "temperature": 1.0 if asked.temperature is None else asked.temperature,
        "text": {"format": form},
        "tool_choice": shown["tool_choice"],
        "tools": [{"description": None, "parameters": None, **tool} for tool in shown["tools"]],
        "top_logprobs": asked.top_logprobs or 0,
        "top_p": 1.0 if asked.top_p is None else asked.top_p,
        "truncation": asked.truncation,
        "usage": None,
        "user": asked.user,
    }


class Making:
    """Grows a response; every step gives the events that tell of it."""

    def __init__(self, response: dict[str, Any]) -> None:
        self.response = response
        self.text = ""
        self.calls: list[dict[str, Any]] = []
        """The calls made, as chat completions show them."""
        self.finish: str | None = None
        self._number = 0
        self._open: dict[str, Any] | None = None
        self._calling: int | None = None  # the position of the open call, as the engine counts

    def begin(self) -> Iterator[Event]:
        """It is being made."""
        self.response["status"] = "in_progress"
        yield self._event("response.created", response=dict(self.response))
        yield self._event("response.in_progress", response=dict(self.response))

    def hear(self, chunk: dict[str, Any]) -> Iterator[Event]:
        """A piece of the engine's answer."""
        if counted := chunk.get("usage"):
            self.response["usage"] = _usage(counted)
        for choice in chunk.get("choices", ()):
            self.finish = choice.get("finish_reason") or self.finish
            delta = choice["delta"]
            if text := delta.get("content"):
                yield from self._say(text, _logprobs(choice.get("logprobs")))
            for call in delta.get("tool_calls") or ():
                yield from self._call(call)

    def end(self) -> Iterator[Event]:
        """The engine has said everything."""
        if self._open is None and not self.response["output"]:
            yield from self._open_message()  # an answer without a word is a message, too
        yield from self._close()
        status = "completed"
        if self.finish == "length":
            status = "incomplete"
            self.response["incomplete_details"] = {"reason": "max_output_tokens"}
            self.response["output"][-1]["status"] = status
        self.response["status"] = status
        yield self._event(ENDS[status], response=self.response)

    def fail(self, sentence: str) -> Iterator[Event]:
        """It cannot be made to its end."""
        self.response |= {
            "status": "failed",
            "error": {"code": "server_error", "message": sentence},
        }
        yield self._event("response.failed", response=self.response)

    def _say(self, text: str, logprobs: list[dict[str, Any]]) -> Iterator[Event]:
        if self._open is None or self._open["type"] != "message":
            yield from self._close()
            yield from self._open_message()
        assert self._open is not None
        self.text += text
        part = self._open["content"][0]
        part["text"] += text
        part["logprobs"] += logprobs
        yield self._in_text("response.output_text.delta", delta=text, logprobs=logprobs)

    def _open_message(self) -> Iterator[Event]:
        part: dict[str, Any] = {
            "type": "output_text",
            "text": "",
            "annotations": [],
            "logprobs": [],
        }
        item: dict[str, Any] = {
            "id": f"msg_{secrets.token_hex(24)}",
            "type": "message",
            "status": "in_progress",
            "role": "assistant",
            "content": [],
        }
        yield from self._add(item)
        yield self._in_text("response.content_part.added", part=dict(part, logprobs=[]))
        item["content"] = [part]

    def _call(self, piece: dict[str, Any]) -> Iterator[Event]:
        function, place = piece.get("function") or {}, piece.get("index", 0)
        if self._open is None or self._open["type"] != "function_call" or place != self._calling:
            yield from self._close()
            self._calling = place
            yield from self._add(
                {
                    "id": f"fc_{secrets.token_hex(24)}",
                    "type": "function_call",
                    "status": "in_progress",
                    "call_id": piece.get("id") or f"call_{secrets.token_hex(12)}",
                    "name": function.get("name") or "",
                    "arguments": "",
                }
            )
        assert self._open is not None
        if delta := function.get("arguments"):
            self._open["arguments"] += delta
            yield self._in_item("response.function_call_arguments.delta", delta=delta)

    def _add(self, item: dict[str, Any]) -> Iterator[Event]:
        self._open = item
        self.response["output"].append(item)
        yield self._event("response.output_item.added", output_index=self._place, item=dict(item))

    def _close(self) -> Iterator[Event]:
        item = self._open
        if item is None:
            return
        if item["type"] == "message":
            part = item["content"][0]
            told = {"text": part["text"], "logprobs": part["logprobs"]}
            yield self._in_text("response.output_text.done", **told)
            yield self._in_text("response.content_part.done", part=part)
        else:
            told = {"arguments": item["arguments"], "name": item["name"]}
            yield self._in_item("response.function_call_arguments.done", **told)
            called = {"name": item["name"], "arguments": item["arguments"]}
            self.calls.append({"id": item["call_id"], "type": "function", "function": called})
        item["status"] = "completed"
        yield self._event("response.output_item.done", output_index=self._place, item=item)
        self._open = None

    @property
    def _place(self) -> int:
        return len(self.response["output"]) - 1

    def _in_item(self, kind: str, **more: Any) -> Event:
        assert self._open is not None
        return self._event(kind, item_id=self._open["id"], output_index=self._place, **more)

    def _in_text(self, kind: str, **more: Any) -> Event:
        return self._in_item(kind, content_index=0, **more)

    def _event(self, kind: str, **more: Any) -> Event:
        event = {"type": kind, "sequence_number": self._number, **more}
        self._number += 1
        return event


def _usage(counted: dict[str, Any]) -> dict[str, Any]:
    cached = (counted.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    thought = (counted.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    return {
        "input_tokens": counted["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": cached},
        "output_tokens": counted["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": thought},
        "total_tokens": counted["total_tokens"],
    }


def _logprobs(given: dict[str, Any] | None) -> list[dict[str, Any]]:
    return [
        {name: token.get(name) for name in ("token", "logprob", "bytes")}
        | {"top_logprobs": token.get("top_logprobs") or []}
        for token in (given or {}).get("content") or ()
    ]
