"""Rows that hold what versions are measured on: learning them would be learning the answers."""

import json
from collections.abc import Iterable, Sequence

from align.data.texts import whole_text, words
from assistant import prompts
from assistant.feedback.rows import Row

NGRAM = 8  # words
MOST = 0.5  # of a question's n-grams
FEWEST_WORDS = 4  # shorter questions stand in every other text
QUESTIONS = ("harm/questions.txt", "safety/requests.en.txt")
IN_FAMILIES = "questions.jsonl"  # of which some are only for measuring
LEARNT = "collect"
TEXTS = ("harm/plain.txt", "steady.txt")  # whose likelihood tells what a version forgot


class Evaluation:
    """The questions that versions are measured on, whatever words stand around them.

    A row is contaminated if it holds at least half of the 8-grams of one question (as Tülu 3
    counts, Lambert et al. 2024), or a shorter question whole.
    """

    def __init__(self, questions: Iterable[str]) -> None:
        said = {tuple(words(question)): question for question in questions}
        self._questions = {q: text for q, text in said.items() if len(q) >= FEWEST_WORDS}
        self._holding: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
        for question in self._questions:
            for gram in set(_grams(question, min(NGRAM, len(question)))):
                self._holding.setdefault(gram, set()).add(question)
        self._lengths = {len(gram) for gram in self._holding}

    def found_in(self, row: Row) -> str | None:
        """A question that the row holds, if any."""
        said = words(whole_text(row))
        met: dict[tuple[str, ...], int] = {}
        for gram in {gram for length in self._lengths for gram in _grams(said, length)}:
            for question in self._holding.get(gram, ()):
                met[question] = met.get(question, 0) + 1
        for question, count in met.items():
            grams = len(set(_grams(question, min(NGRAM, len(question)))))
            if count >= MOST * grams:
                return self._questions[question]
        return None

    def without(self, rows: Sequence[Row]) -> tuple[list[Row], list[tuple[Row, str]]]:
        """The rows that hold none of the questions, and the others with the reason."""
        met = [(row, self.found_in(row)) for row in rows]
        why = "holds a question that versions are measured on"
        return [row for row, found in met if not found], [(r, why) for r, found in met if found]


def shipped_questions() -> list[str]:
    """What the harm check, safety and trials ask, and the paragraphs that every stage reads."""
    paragraphs = [text for name in TEXTS for text in prompts.load(name).split("\n\n")]
    lines = [line for name in QUESTIONS for line in prompts.load(name).splitlines()]
    rows = map(json.loads, prompts.load(IN_FAMILIES).splitlines())
    return [*lines, *(row["text"] for row in rows if row["set"] != LEARNT), *paragraphs]


def _grams(said: Sequence[str], length: int) -> Iterable[tuple[str, ...]]:
    return (tuple(said[i : i + length]) for i in range(len(said) - length + 1))
