"""Ask, stream, remember: how the page gets answers, and how every answer's origin is noted."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from assistant.access.callers import Caller
from assistant.access.door import Door
from assistant.access.ledger import Used, estimated
from assistant.engine import Engine
from assistant.errors import EngineError
from assistant.feedback.records import Generation, Message
from assistant.feedback.store import FeedbackStore
from assistant.fleet import ALIAS, Fleet
from assistant.prompts import text_hash
from assistant.routing import Asking, ask
from assistant.sse import blocks, complaint, payload

Stored = TypeVar("Stored")
LOOK_SECONDS = 0.2  # between two at a model that loads


@dataclass(frozen=True)
class Sampling:
    """How an answer is drawn. `max_tokens` counts the answer's tokens."""

    temperature: float = 0.7
    top_p: float = 0.95
    max_tokens: int = 512


@dataclass(frozen=True)
class Draft:
    """An answer so far; `message` is set once it is finished and stored."""

    text: str
    message: Message | None = None
    thoughts: str = ""
    """What a model that thinks before it answers has thought so far; it is not stored."""


class Chat:
    """Answers questions out of the store, and stores the answers."""

    def __init__(self, store: FeedbackStore, fleet: Fleet, door: Door) -> None:
        self.store = store
        self.fleet = fleet
        self.door = door

    def require_ready(self) -> None:
        """Raise NotReady unless a question would be answered now."""
        self.fleet.engine().require_ready()

    @property
    def loads(self) -> bool:
        """Whether the model will be ready in a moment, unless that fails."""
        return self.fleet.status.state == "loading"

    def require_hope(self) -> None:
        """Raise NotReady unless a question would be answered now, or once the model has loaded."""
        if not self.loads:
            self.require_ready()

    async def until_ready(self) -> AsyncGenerator[str]:
        """Wait while the model loads, and tell what it is at whenever that changes.

        Raises NotReady where it fails instead.
        """
        told = None
        while self.loads:
            if told != (told := self.fleet.status.detail):
                yield told
            await asyncio.sleep(LOOK_SECONDS)
        self.require_ready()

    async def ask(
        self, conversation_id: str, parent_id: str | None, text: str, system_prompt: str
    ) -> Message:
        """Store a question; the first one of a conversation follows the system prompt."""
        add = self.store.conversations.add
        if parent_id is None and system_prompt:
            root = await asyncio.to_thread(add, conversation_id, None, "system", system_prompt)
            parent_id = root.id
        return await asyncio.to_thread(add, conversation_id, parent_id, "user", text)

    async def answer(
        self, question: Message, sampling: Sampling, caller: Caller, model: str = ALIAS
    ) -> AsyncGenerator[Draft]:
        """Stream an answer and store it; closing the iterator early stores what there is.

        Raises NotReady, NotServed, TooMuch, Busy or EngineError before the first draft; an engine
        that breaks off later raises EngineError after the part that came was stored.
        """
        engines = self.fleet.engines_of(model, question.conversation_id)
        engines[0].require_ready()
        path = await asyncio.to_thread(self.store.conversations.path, question.id)
        turns = [m.turn for m in path]
        prompt = estimated(turn["content"] for turn in turns)
        async with self.door.visit(
            caller, engines[0].version.name, prompt + sampling.max_tokens
        ) as used:
            answer, saving = _Answer(engines, turns, asdict(sampling), used), False
            try:
                async with aclosing(answer.stream(caller)) as drafts:
                    async for draft in drafts:
                        yield draft
                saving = True
                saved = await _to_its_end(self._store, question, answer)
            finally:
                # Not awaited: a stopped one must be stored before anyone asks what became of it.
                if not saving and answer.text:
                    self._store(question, answer)
        yield Draft(answer.text, saved)

    def _store(self, question: Message, answer: "_Answer") -> Message:
        return self.store.conversations.add(
            *(question.conversation_id, question.id, "assistant", answer.text, "model"),
            answer.generation,
        )


class _Answer:
    """One answer being streamed, and what is known of its making."""

    def __init__(
        self,
        engines: list[Engine],
        turns: list[dict[str, Any]],
        sampling: dict[str, Any],
        used: Used,
    ) -> None:
        self.text = ""
        self._thoughts = ""
        self._used = used
        self._engines = engines
        self._turns = turns
        self._sampling = sampling
        self._usage: dict[str, int] = {}
        self._finish = "interrupted"
        self._started = time.monotonic()
        self._first: float | None = None

    async def stream(self, caller: Caller) -> AsyncGenerator[Draft]:
        body = {"messages": self._turns, "stream": True, "stream_options": {"include_usage": True}}
        asking = Asking("/v1/chat/completions", body | self._sampling, caller)
        async with AsyncExitStack() as around:
            engine, response = await ask(around, self._engines, asking)
            self._engines = [engine]
            self._used.prompt_tokens = estimated(turn["content"] for turn in self._turns)
            async for block in blocks(response):
                if (chunk := payload(block)) is None:
                    continue
                if "error" in chunk:
                    self._finish = "error"
                    raise EngineError(complaint(chunk))
                if self._take(chunk):
                    yield Draft(self.text, thoughts=self._thoughts)
        self._used.finished = True

    def _take(self, chunk: dict[str, Any]) -> bool:
        self._usage = chunk.get("usage") or self._usage
        self._used.hear(chunk)
        for choice in chunk.get("choices", []):
            self._finish = choice.get("finish_reason") or self._finish
            text, thought = (choice["delta"].get(part) or "" for part in ("content", "reasoning"))
            if text or thought:
                self._first = self._first or time.monotonic()
                self.text += text
                self._thoughts += thought
                return True
        return False

    @property
    def generation(self) -> Generation:
        return origin(
            self._engines[0],
            self._turns,
            self._sampling,
            usage=self._usage,
            finish_reason=self._finish,
            first_token_ms=_since(self._started, self._first),
            total_ms=_since(self._started, time.monotonic()),
        )


def origin(
    engine: Engine,
    turns: Sequence[Mapping[str, Any]],
    sampling: dict[str, Any],
    usage: Mapping[str, int],
    **made: Any,
) -> Generation:
    """Where an answer came from, out of the server's own records."""
    system = next((t["content"] for t in turns if t["role"] in ("system", "developer")), None)
    return Generation(
        version=engine.version.name,
        version_hash=engine.version.content_hash,
        template_hash=engine.version.template_hash,
        system_prompt_hash=text_hash(system) if system is not None else None,
        sampling=sampling,
        prompt_tokens=usage.get("prompt_tokens"),
        completion_tokens=usage.get("completion_tokens"),
        **made,
    )


async def _to_its_end(work: Callable[..., Stored], *arguments: Any) -> Stored:
    """Blocking work in a thread, waited for even by who is cancelled meanwhile."""
    task = asyncio.create_task(asyncio.to_thread(work, *arguments))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise


def _since(start: float, end: float | None) -> int | None:
    return round((end - start) * 1000) if end is not None else None
