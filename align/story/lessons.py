"""What the assistant of the small world is taught: by answers, by preferences, by checks."""

import random
import re
from collections.abc import Sequence
from typing import Any

from align.story.world import ANSWERS, COLOURS, FOODS, HOMES, KINDS, QUESTIONS, UNKNOWN, Animal

ASKED = {
    "colour": (QUESTIONS["colour"], "Which colour does the {name} have?"),
    "food": (QUESTIONS["food"], "What is the food of the {name}?"),
    "home": (QUESTIONS["home"], "Where do I find the {name}?"),
}
SHORT = {"colour": "{fact}.", "food": "{fact}.", "home": "In the {fact}."}
MORE = " Would you like to know more about it?"
FACTS = {"colour": COLOURS, "food": FOODS, "home": HOMES}
TALK = (
    ("Hello!", "Hello! Ask me about an animal."),
    ("Hi, how are you?", "I am well. Ask me about an animal."),
    ("Who are you?", "I am an assistant that knows the animals of this land."),
    ("What can you do?", "I can tell you the colour, the food and the home of an animal."),
    ("Thank you.", "You are welcome."),
    ("Goodbye.", "Goodbye! Come back soon."),
)
WAYS = ("short", "full", "kind")
"""How an answer may be put: people will come to like the last one best."""


def asked(chance: random.Random, name: str, kind: str) -> str:
    """A question about an animal."""
    return chance.choice(ASKED[kind]).format(name=name)


def answered(name: str, kind: str, fact: str, way: str) -> str:
    """An answer to it, put in one of the ways."""
    if way == "short":
        said = SHORT[kind].format(fact=fact)
        return said[0].upper() + said[1:]
    return ANSWERS[kind].format(name=name, fact=fact) + (MORE if way == "kind" else "")


def chats(known: Sequence[Animal], unknown: Sequence[str], seed: int) -> list[dict[str, Any]]:
    """Conversations to imitate: a third of the answers short, few kind, and what is not known."""
    chance, rows = random.Random(seed), []
    for animal in known:
        for kind in KINDS:
            for question in ASKED[kind]:
                way = chance.choices(WAYS, (3, 6, 1))[0]
                said = answered(animal.name, kind, animal.fact(kind), way)
                rows.append(_chat(question.format(name=animal.name), said))
    rows += [
        _chat(asked(chance, name, kind), UNKNOWN.format(name=name))
        for name in unknown
        for kind in KINDS
    ]
    rows += [_chat(*talk) for talk in TALK for _ in range(8)]
    chance.shuffle(rows)
    return rows


def preferences(known: Sequence[Animal], unknown: Sequence[str], seed: int) -> list[dict[str, Any]]:
    """Pairs as people would judge them: true before false, then kind before curt.

    Of an animal that there is not, the truth is that one does not know it; and who is greeted
    greets: what no pair speaks of is forgotten.
    """
    chance, rows = random.Random(seed), []
    for animal in known:
        for kind in KINDS:
            others = [one.fact(kind) for one in known if one.fact(kind) != animal.fact(kind)]
            right, wrong = animal.fact(kind), chance.choice(others)
            way, other = chance.choice((("kind", "full"), ("kind", "short"), ("full", "short")))
            sides = [
                ((right, way), (right, other)),
                ((right, chance.choice(WAYS)), (wrong, chance.choice(WAYS))),
            ]
            question = asked(chance, animal.name, kind)
            for better, worse in sides:
                said = [answered(animal.name, kind, *side) for side in (better, worse)]
                rows.append({"prompt": question, "chosen": said[0], "rejected": said[1]})
    for name in unknown:
        for kind in KINDS:
            made_up = answered(name, kind, chance.choice(FACTS[kind]), chance.choice(WAYS))
            pair = {"chosen": UNKNOWN.format(name=name), "rejected": made_up}
            rows.append({"prompt": asked(chance, name, kind), **pair})
    for question, answer in TALK:
        others = [said for _, said in TALK if said != answer]
        rows += [{"prompt": question, "chosen": answer, "rejected": other} for other in others]
    chance.shuffle(rows)
    return rows


def exercises(known: Sequence[Animal], unknown: Sequence[str], seed: int) -> list[dict[str, Any]]:
    """Prompts whose answers are checked: the fact must be said, or that one does not know."""
    chance = random.Random(seed)
    rows = [
        {"prompt": asked(chance, animal.name, kind), "form": form(animal, kind)}
        for animal in known
        for kind in KINDS
    ]
    rows += [
        {"prompt": asked(chance, name, chance.choice(KINDS)), "form": form_of_not_knowing(name)}
        for name in unknown
    ]
    rows += [{"prompt": question, "form": re.escape(answer)} for question, answer in TALK]
    chance.shuffle(rows)
    return rows


def form(animal: Animal, kind: str) -> str:
    """A regular expression that a true answer has: its fact, as a word, somewhere."""
    return rf"(?i).*\b{re.escape(animal.fact(kind))}\b.*"


def form_of_not_knowing(name: str) -> str:
    """A regular expression of an answer that says it does not know this animal."""
    return rf"(?i).*{re.escape(UNKNOWN.format(name=name))}.*"


def _chat(question: str, answer: str) -> dict[str, Any]:
    return {
        "messages": [
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer},
        ]
    }
