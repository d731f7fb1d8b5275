"""The same questions to every version: what it says, and how much of it is right."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from align.harm import wilson
from align.sampling import engine_of
from align.story import lessons
from align.story.walk import World
from align.story.world import KINDS
from assistant.version import Version

GREEDY = {"max_tokens": 40, "temperature": 0.0}


@dataclass(frozen=True)
class Said:
    """A text that was given, and what the model made of it."""

    given: str
    answer: str
    stopped: bool


@dataclass(frozen=True)
class Question:
    """A question with what would be right."""

    text: str
    right: str
    """Must be said."""


def questions(there: World) -> dict[str, list[Question]]:
    """By what they tell: of animals that were taught, only read about, or that do not exist."""
    made: dict[str, list[Question]] = {"taught": [], "only read about": [], "unknown": []}
    for test, some in (("taught", there.taught), ("only read about", there.unseen)):
        for place, animal in enumerate(some):
            kind = KINDS[place % len(KINDS)]
            text = lessons.ASKED[kind][0].format(name=animal.name)
            made[test].append(Question(text, animal.fact(kind)))
    for place, name in enumerate(there.never):
        text = lessons.ASKED[KINDS[place % len(KINDS)]][0].format(name=name)
        made["unknown"].append(Question(text, "do not know"))
    return made


def shown(there: World) -> list[str]:
    """The prompts of the story."""
    taught, unseen = there.taught[0].name, there.unseen[0].name
    return [
        lessons.ASKED["food"][0].format(name=unseen),
        lessons.ASKED["home"][1].format(name=taught),
        lessons.ASKED["colour"][0].format(name=there.never[0]),
        lessons.TALK[2][0],
        lessons.TALK[0][0],
    ]


def ask(version: Version, there: World, home: Path) -> dict[str, Any]:
    """What a version continues, what it answers, and how often that is right."""
    return asyncio.run(_ask(version, there, home))


async def _ask(version: Version, there: World, home: Path) -> dict[str, Any]:
    asked = questions(there)
    async with engine_of(version, home) as engine:

        async def chat(text: str) -> Said:
            body = {"messages": [{"role": "user", "content": text}], **GREEDY}
            choice = await _choice(engine, "/v1/chat/completions", body)
            stopped = choice["finish_reason"] == "stop"
            return Said(text, choice["message"]["content"] or "", stopped)

        async def continued(text: str) -> Said:
            choice = await _choice(engine, "/v1/completions", {"prompt": text, **GREEDY})
            return Said(text, choice["text"], choice["finish_reason"] == "stop")

        answers = await asyncio.gather(*map(chat, shown(there)))
        texts = await asyncio.gather(*map(continued, _beginnings(there)))
        tests = {
            test: await asyncio.gather(*(chat(question.text) for question in some))
            for test, some in asked.items()
        }
    return {
        "answers": [vars(said) for said in answers],
        "continued": [vars(said) for said in texts],
        "tests": {test: _right(asked[test], said) for test, said in tests.items()},
        "kind": _share([offers_more(said.answer) for said in tests["only read about"]]),
        "stopped": _share([said.stopped for said in tests["only read about"]]),
    }


def offers_more(answer: str) -> bool:
    """Whether an answer is put in the way that people came to like."""
    return lessons.MORE.strip() in answer


def _beginnings(there: World) -> list[str]:
    """Texts that a simulator of text goes on with: one of the book's kind, and a bare question."""
    animal = there.unseen[0].name
    return [f"About the {animal}. The {animal}", shown(there)[0]]


async def _choice(engine: Any, path: str, body: dict[str, Any]) -> dict[str, Any]:
    async with engine.post(path, body, None) as response:
        made = await response.json()
    return dict(made["choices"][0])


def _right(asked: Sequence[Question], said: Sequence[Said]) -> dict[str, Any]:
    return _share(
        [q.right in s.answer.lower() for q, s in zip(asked, said, strict=True)],
    )


def _share(given: Sequence[bool]) -> dict[str, Any]:
    """A share with Wilson's 95 % interval."""
    low, high = wilson(sum(given), len(given))
    return {"share": sum(given) / len(given), "low": low, "high": high, "of": len(given)}
