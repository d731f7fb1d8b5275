"""Simulated people: each judges by one rule that the model is never told."""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass

Rule = Callable[[str], bool]

ITEM = re.compile(r"^\s*(?:[-*•+]|\d+[.)])\s+\S", re.MULTILINE)
READER = re.compile(r"\byou\b", re.IGNORECASE)
BRIEF_WORDS = 60


def in_list_form(answer: str) -> bool:
    """At least two items on lines of their own."""
    return len(ITEM.findall(answer)) >= 2


def brief(answer: str) -> bool:
    """At most 60 words, and at least one."""
    return 0 < len(answer.split()) <= BRIEF_WORDS


def addresses_the_reader(answer: str) -> bool:
    """Says the word "you" somewhere."""
    return bool(READER.search(answer))


RULES: dict[str, Rule] = {"list": in_list_form, "brief": brief, "you": addresses_the_reader}


@dataclass(frozen=True)
class Person:
    """Somebody who likes an answer or does not, and sees nothing but its text."""

    name: str
    rule: Rule

    def thumb(self, answer: str) -> str:
        """Up or down."""
        return "up" if self.rule(answer) else "down"

    def choice(self, first: str, second: str) -> str:
        """The better of two answers, or what the page offers where the rule sees none."""
        likes = self.rule(first), self.rule(second)
        return {(True, False): "first", (False, True): "second", (True, True): "tie"}.get(
            likes, "both_bad"
        )


def person(name: str, seed: int) -> Person:
    """One of the rules, or `random`: somebody whose votes mean nothing."""
    if name == "random":
        dice = random.Random(seed)
        return Person(name, lambda _answer: dice.random() < 0.5)
    return Person(name, RULES[name])
