"""Rows made by models: new questions from seeds, several answers to each, and the best of them."""

import asyncio
import json
import random
import re
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import openai

from align.data.scorers import Scoring
from align.data.texts import words
from assistant import prompts
from assistant.errors import AssistantError

AT_ONCE = 8
EXAMPLES, ASKED_FOR = 6, 8  # tasks shown, and new ones asked for, at a time
FEWEST_WORDS, MOST_WORDS = 3, 80
LIKENESS = 0.7  # of a new task's words in an old one, or the other way round
BARREN = 10  # replies in a row without anything new, after which it is given up
MARKER = re.compile(r"^\s*(?:[-*•]|\d+[.)]|task\s*\d*:)\s*", re.IGNORECASE)
SURE_MARGIN = 1e-9


class EndpointFailed(AssistantError):
    """An endpoint that cannot be asked; the sentence says which, and why."""


@dataclass(frozen=True)
class Endpoint:
    """Where answers come from: any OpenAI-compatible API."""

    url: str
    model: str = "assistant"
    key: str = "none"
    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 512

    def client(self) -> openai.AsyncOpenAI:
        """A client that tries again by itself."""
        return openai.AsyncOpenAI(base_url=self.url, api_key=self.key, max_retries=4)

    @property
    def made_by(self) -> dict[str, Any]:
        """What a row keeps of who made it; never the key."""
        return {name: value for name, value in asdict(self).items() if name != "key"}


@dataclass(frozen=True)
class Answer:
    """One answer that was drawn."""

    text: str
    whole: bool
    """Whether it ended by itself."""
    score: float | None = None
    model: str = ""
    """Which version answered, as the endpoint says: an alias means another one every week."""


async def new_questions(
    seeds: Sequence[str], number: int, endpoint: Endpoint, seed: int, report: Callable[[int], None]
) -> list[str]:
    """Ask for tasks like the seeds, and keep those unlike all before (Wang et al. 2023).

    Stops early, with what there is, where an endpoint says nothing new ten times in a row.
    """
    dice = random.Random(seed)
    known = [words(text) for text in seeds]
    made: list[str] = []
    barren = 0
    async with endpoint.client() as client:
        while len(made) < number and barren < BARREN:
            shown = dice.sample([*seeds, *made], min(EXAMPLES, len(seeds) + len(made)))
            asked = prompts.load(
                "generate/instruct.en.txt", examples="\n".join(shown), number=str(ASKED_FOR)
            )
            replies = await _ask(client, endpoint, [{"role": "user", "content": asked}], 1)
            before = len(made)
            for line in _tasks(replies[0].text):
                if _is_new(words(line), known):
                    known.append(words(line))
                    made.append(line)
            barren = 0 if len(made) > before else barren + 1
            report(min(len(made), number))
    return made[:number]


def _tasks(reply: str) -> list[str]:
    lines = (MARKER.sub("", line).strip() for line in reply.splitlines())
    return [line for line in lines if FEWEST_WORDS <= len(words(line)) <= MOST_WORDS]


def _is_new(said: list[str], known: Sequence[list[str]]) -> bool:
    mine = set(said)
    return all(len(mine & set(old)) < LIKENESS * max(len(mine), len(set(old))) for old in known)


async def answers_to(
    talks: Sequence[list[dict[str, Any]]],
    number: int,
    endpoint: Endpoint,
    scoring: Scoring | None,
    kept: Path,
    report: Callable[[int], None],
) -> list[list[Answer]]:
    """Several answers to each conversation, scored; those already in the file `kept` are reused."""
    found = _read(kept)
    gate = asyncio.Semaphore(AT_ONCE)

    async def answer(client: openai.AsyncOpenAI, talk: list[dict[str, Any]]) -> None:
        name = json.dumps([talk, number, endpoint.made_by], sort_keys=True)
        if name not in found:
            async with gate:
                drawn = await _ask(client, endpoint, talk, number)
            found[name] = drawn
            _append(kept, {"asked": name, "answers": [asdict(one) for one in drawn]})
        report(len(found))

    async with endpoint.client() as client:
        await _all(answer(client, talk) for talk in talks)
    names = [json.dumps([talk, number, endpoint.made_by], sort_keys=True) for talk in talks]
    drawn = [found[name] for name in names]
    return [scored(talk, some, scoring) for talk, some in zip(talks, drawn, strict=True)]


def scored(
    talk: list[dict[str, Any]], answers: Sequence[Answer], scoring: Scoring | None
) -> list[Answer]:
    """The answers with their scores; one that the scorer says nothing of has none."""
    if scoring is None:
        return list(answers)
    whole = [[*talk, {"role": "assistant", "content": answer.text}] for answer in answers]
    scores = scoring(whole)
    return [replace(a, score=s) for a, s in zip(answers, scores, strict=True)]


def best(answers: Sequence[Answer], least: float | None) -> Answer | None:
    """The best whole answer, if it has at least the score asked for (rejection sampling)."""
    fit = [a for a in answers if a.whole and a.text.strip() and a.score is not None]
    found = max(fit, key=lambda a: a.score or 0.0, default=None)
    if found is None or (least is not None and (found.score or 0.0) < least):
        return None
    return found


def best_and_worst(answers: Sequence[Answer], margin: float) -> tuple[Answer, Answer] | None:
    """The best whole answer and the worst one, if their scores are far enough apart."""
    better = best(answers, None)
    fit = [a for a in answers if a.score is not None and a.text.strip()]
    worse = min(fit, key=lambda a: a.score or 0.0, default=None)
    if better is None or worse is None or better.text == worse.text:
        return None
    apart = (better.score or 0.0) - (worse.score or 0.0)
    return (better, worse) if apart >= max(margin, SURE_MARGIN) else None


async def _ask(
    client: openai.AsyncOpenAI, endpoint: Endpoint, talk: Sequence[dict[str, Any]], number: int
) -> list[Answer]:
    try:
        made: Any = await client.chat.completions.create(
            model=endpoint.model,
            messages=list(talk),  # type: ignore[arg-type]
            n=number,
            temperature=endpoint.temperature,
            top_p=endpoint.top_p,
            max_tokens=endpoint.max_tokens,
        )
    except openai.OpenAIError as error:
        raise EndpointFailed(
            f"{endpoint.url} did not answer ({error}); what it answered before is kept, so run the "
            "same command again once it does."
        ) from error
    return [
        Answer(c.message.content or "", c.finish_reason == "stop", model=made.model)
        for c in made.choices
    ]


async def _all(jobs: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run them all; the first failure ends the others and is raised."""
    failures: list[EndpointFailed] = []
    try:
        async with asyncio.TaskGroup() as group:
            for job in jobs:
                group.create_task(job)
    except* EndpointFailed as failed:
        failures = [one for one in failed.exceptions if isinstance(one, EndpointFailed)]
    if failures:
        raise failures[0]


def _read(kept: Path) -> dict[str, list[Answer]]:
    """What was answered before; a line that a kill cut off is asked again."""
    found: dict[str, list[Answer]] = {}
    if kept.is_file():
        for line in kept.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            found[entry["asked"]] = [Answer(**answer) for answer in entry["answers"]]
    return found


def _append(kept: Path, entry: dict[str, Any]) -> None:
    with kept.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(entry, ensure_ascii=False) + "\n")
