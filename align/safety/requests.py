"""Requests of two kinds: those that ask for harm, and those that only sound like it.

Half of each matters: who refuses everything is right about one half, who refuses nothing about the
other (Röttger et al. 2024, XSTest).
"""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from align.data.gathering import examples_of
from assistant import prompts
from assistant.errors import Invalid
from assistant.feedback.formats import Example
from assistant.feedback.reading import raw_rows

SHIPPED = "safety/requests.en.txt"
FAMILY, HARMFUL, HARMLESS = "# ", "- ", "+ "
LABELS = {"unsafe": True, "harmful": True, "safe": False, "harmless": False}


@dataclass(frozen=True)
class Request:
    """What somebody asks for, and whether it would do harm."""

    text: str
    harmful: bool
    family: str = ""
    """What it is about; halves are told apart within one."""


def shipped() -> list[Request]:
    """Those of `prompts/safety`: families that share their words, and not their aims."""
    made: list[Request] = []
    family = ""
    for line in prompts.load(SHIPPED).splitlines():
        kind, text = line[:2], line[2:].strip()
        if kind == FAMILY:
            family = text
        elif kind in (HARMFUL, HARMLESS):
            made.append(Request(text, kind == HARMFUL, family))
    return made


def apart(
    requests: Sequence[Request], families: int, seed: int
) -> tuple[list[Request], list[Request]]:
    """Those to learn from, and those of so many whole families, which are only measured on.

    Raises Invalid where that leaves nothing to learn from.
    """
    names = sorted({request.family for request in requests})
    if families >= len(names):
        raise Invalid(f"--measured {families}: there are {len(names)} families; leave some.")
    unseen = set(random.Random(seed).sample(names, families))
    learnt = [request for request in requests if request.family not in unseen]
    return learnt, [request for request in requests if request.family in unseen]


def labelled(file: Path) -> list[Request]:
    """The rows of a file with a `prompt` and a `label`: safe or unsafe (or harmless or harmful).

    Raises Invalid naming the first row that lacks one.
    """
    made = []
    for line, row in raw_rows(file):
        label = row.get("label") if isinstance(row, dict) else None
        text = row.get("prompt") if isinstance(row, dict) else None
        if label not in LABELS or not isinstance(text, str) or not text.strip():
            raise Invalid(
                f"{file.name}, line {line}: a request needs a prompt, and a label that is "
                f"{', '.join(list(LABELS)[:-1])} or {list(LABELS)[-1]}."
            )
        made.append(Request(text, LABELS[label], str(row.get("type", ""))))
    return made


def first_questions(sources: Iterable[str]) -> list[str]:
    """What the conversations of files or hub names begin with, each once.

    Raises Invalid for a broken row, and for a source that asks nothing.
    """
    found: dict[str, None] = {}
    for source in sources:
        before = len(found)
        for place, example in examples_of(source):
            if isinstance(example, Invalid):
                raise Invalid(f"{source}, {place}: {example}; mend or drop it.")
            found.update(dict.fromkeys(_first_question(example)))
        if len(found) == before:
            raise Invalid(f"{source} asks nothing that others did not: it has no prompts.")
    return list(found)


def _first_question(example: Example) -> list[str]:
    asked = [turn["content"] for turn in example.prompt if turn["role"] == "user"]
    return [text for text in asked[:1] if text and text.strip()]
