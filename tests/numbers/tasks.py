"""Tasks that a rule can check, of two families; what is learnt and what is unseen share none."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

LARGEST = 12  # of two numbers that are added or taken away
TOPICS = (
    *("a lighthouse", "a train at night", "bread", "the first snow", "a broken clock", "rivers"),
    *("an old map", "a market", "honey bees", "a bicycle", "the moon", "a library", "salt"),
    *("a rainy day", "a harbour", "chess", "a garden wall", "tea", "a letter", "wool", "a bridge"),
    *("a kite", "the desert", "an orchard", "a violin", "mountains", "a lost dog", "a candle"),
    *("the post office", "a swing", "apples", "a museum"),
)
KINDS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("punctuation:no_comma", "Do not use any commas.", {}),
    ("change_case:english_lowercase", "Write everything in lowercase letters.", {}),
    (
        "length_constraints:number_words",
        "Use fewer than 30 words.",
        {"num_words": 30, "relation": "less than"},
    ),
    (
        "length_constraints:number_sentences",
        "Use fewer than 3 sentences.",
        {"num_sentences": 3, "relation": "less than"},
    ),
    ("startend:quotation", "Put your whole answer in double quotation marks.", {}),
)
BEGINNINGS = ("Write a few words about", "Tell me something about", "Describe")


@dataclass(frozen=True)
class Family:
    """Rows of a kind, each a prompt with what its check looks at."""

    name: str
    reward: str
    every: Callable[[], list[dict[str, Any]]]

    def split(self, learnt: int, unseen: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Tasks to learn from and tasks that tell, which share neither numbers nor topics."""
        parts: tuple[list[dict[str, Any]], list[dict[str, Any]]] = ([], [])
        for row in random.Random(0).sample(self.every(), len(self.every())):
            parts[row["unseen"]].append({k: v for k, v in row.items() if k != "unseen"})
        return parts[0][:learnt], parts[1][:unseen]


def sums() -> list[dict[str, Any]]:
    """What is a + b, a - b?; a pair of numbers is either learnt, whatever is asked, or unseen."""
    rows = []
    for one in range(1, LARGEST + 1):
        for other in range(1, LARGEST + 1):
            unseen = (min(one, other) * 5 + max(one, other) * 3) % 3 == 0
            for asked, answer in (
                (f"What is {one} + {other}?", one + other),
                (f"What is {one} - {other}?", one - other),
            ):
                rows.append({"prompt": asked, "answer": answer, "unseen": unseen})
    return rows


def instructions() -> list[dict[str, Any]]:
    """A topic and one thing to keep to; a topic is either learnt or unseen."""
    return [
        {
            "prompt": f"{beginning} {topic}. {said}",
            "instruction_id_list": [kind],
            "kwargs": [arguments],
            "unseen": number % 3 == 0,
        }
        for number, topic in enumerate(TOPICS)
        for beginning in BEGINNINGS
        for kind, said, arguments in KINDS
    ]


FAMILIES = (
    Family("sums", "verifier:numeric", sums),
    Family("instructions", "verifier:instructions", instructions),
)
