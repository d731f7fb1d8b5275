"""Answers of a version, drawn from an engine of its own: what is measured is what is served."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from align.progress import Progress
from assistant.engine import PLACES
from assistant.errors import EngineError
from assistant.local_engine import LocalEngine
from assistant.machine import Machine, plan_engine
from assistant.version import Version

CONTEXT = 1024
FAILURES = 2  # engine ends before the first token, after which it is given up
GPU_PLACES = 512  # answers at once


@dataclass(frozen=True)
class Sampled:
    """One answer: its text, its length in tokens, and whether it ended by itself."""

    text: str
    tokens: int
    stopped: bool


def sample(
    version: Version, questions: Sequence[str], sampling: dict[str, Any], home: Path, scratch: Path
) -> list[Sampled]:
    """One answer to each question; raises EngineError if the version cannot be served."""
    return asyncio.run(_sample(version, questions, sampling, home, Progress(scratch)))


async def _sample(
    version: Version,
    questions: Sequence[str],
    sampling: dict[str, Any],
    home: Path,
    progress: Progress,
) -> list[Sampled]:
    async with engine_of(version, home) as engine:
        progress.update(0, len(questions), "answers")
        answers: list[Sampled] = [Sampled("", 0, False)] * len(questions)
        places = asyncio.Semaphore(places_of(Machine.this()))

        async def answer(place: int, question: str) -> None:
            async with places:
                answers[place] = await _answer(engine, question, sampling)
            progress.update(sum(a.tokens > 0 for a in answers), len(questions), "answers")

        await asyncio.gather(*(answer(i, question) for i, question in enumerate(questions)))
        return answers


def places_of(machine: Machine) -> int:
    """How many answers to ask an engine for at once: each has a time in which it must end.

    An engine takes all that is asked at once, and more would wait for each other there.
    """
    return GPU_PLACES if machine.gpu else PLACES


@asynccontextmanager
async def engine_of(
    version: Version, home: Path, environment: Mapping[str, str] | None = None
) -> AsyncIterator[LocalEngine]:
    """A ready engine for a version alone; raises EngineError if it cannot be served.

    `environment` is added to what engines run with.
    """
    cache = home / "engine" / "cache"
    cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    plan = plan_engine(Machine.this(), "off", cache)  # compiling takes longer than it would save
    plan = replace(plan, environment={**plan.environment, **(environment or {})})
    engine = LocalEngine(version, plan, home / "engine" / "measuring", CONTEXT)
    await engine.start()
    try:
        await _ready(engine)
        yield engine
    finally:
        await engine.stop()


async def _ready(engine: LocalEngine) -> None:
    while engine.status.state != "ready":
        if engine.failures >= FAILURES:
            raise EngineError(
                f"{engine.version.name} could not be measured: {engine.status.detail}"
            )
        await asyncio.sleep(0.2)


async def _answer(engine: LocalEngine, question: str, sampling: dict[str, Any]) -> Sampled:
    body = {"messages": [{"role": "user", "content": question}], **sampling}
    async with engine.post("/v1/chat/completions", body, None) as response:
        made = await response.json()
    choice = made["choices"][0]
    tokens = int(made["usage"]["completion_tokens"])
    said = choice["message"].get("content") or choice["message"].get("reasoning") or ""
    return Sampled(said, tokens, choice["finish_reason"] == "stop")
