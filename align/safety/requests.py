"""Requests of two kinds: those that ask for harm, and those that only sound like it.

Half of each matters: who refuses everything is right about one half, who refuses nothing about the
other (Röttger et al. 2024, XSTest).
"""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from align.data.gathering import examples_of
from assistant import prompts
from assistant.errors import Invalid
from assistant.feedback.reading import raw_rows

SHIPPED = "safety/requests.en.txt"
FAMILY, HARMFUL, HARMLESS = "# ", "- ", "+ "
MEASURED, AGAIN = "only measured on", "asked before"
BOTH = "asked as one of the other half, too"
SILENT = "begins with no question"
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
    if not 0 <= families < len(names):
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
        if (
            not isinstance(label, str)
            or label not in LABELS
            or not isinstance(text, str)
            or not text.strip()
        ):
            raise Invalid(
                f"{file.name}, line {line}: a request needs a prompt, and a label that is "
                f"{', '.join(list(LABELS)[:-1])} or {list(LABELS)[-1]}."
            )
        made.append(Request(text, LABELS[label], str(row.get("type", ""))))
    return made


def asked(
    harmful: Sequence[str], harmless: Sequence[str], measured: frozenset[str]
) -> tuple[list[Request], Counter[str]]:
    """What the conversations of files or hub names begin with, and how many were left out, and why.

    `measured` are texts that are not to be learnt from. Raises Invalid for a broken row, and for a
    source that asks nothing.
    """
    found: dict[str, bool] = {}
    as_both: set[str] = set()
    left_out: Counter[str] = Counter()
    for sources, harm in ((harmful, True), (harmless, False)):
        for source in sources:
            for text in _first_questions(source, left_out):
                if text in measured:
                    left_out[MEASURED] += 1
                elif text in found and found[text] is harm:
                    left_out[AGAIN] += 1
                elif text in found:
                    left_out[BOTH] += 1
                    as_both.add(text)
                else:
                    found[text] = harm
    left_out[BOTH] += len(as_both)
    plain = [Request(text, harm) for text, harm in found.items() if text not in as_both]
    return plain, +left_out


def _first_questions(source: str, left_out: Counter[str]) -> list[str]:
    found = []
    for place, example in examples_of(source):
        if isinstance(example, Invalid):
            raise Invalid(f"{source}, {place}: {example}; mend or drop it.")
        said = [turn["content"] for turn in example.prompt if turn["role"] == "user"]
        if said and said[0] and said[0].strip():
            found.append(said[0])
        else:
            left_out[SILENT] += 1
    if not found:
        raise Invalid(f"{source} asks nothing: none of its rows begins with a question.")
    return found
