"""What is not learnt, however much people liked it; left out by rule, and counted."""

from collections import Counter
from collections.abc import Sequence

from assistant.feedback.rows import Row, Rows

NGRAM = 4
MOST_REPETITION = 0.2
LOOPS = "good, but says the same again and again: would teach to"


def repetition(words: Sequence[str]) -> float:
    """The share of n-grams of an answer that stood in it before."""
    grams = [tuple(words[i : i + NGRAM]) for i in range(len(words) - NGRAM + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def without_loops(rows: Rows) -> Rows:
    """The rows whose good answer does not run in circles."""
    kept = [row for row in rows.rows if not runs_in_circles(row)]
    gone = len(rows.rows) - len(kept)
    return Rows(kept, rows.left_out + Counter({LOOPS: gone} if gone else {}))


def runs_in_circles(row: Row) -> bool:
    """Whether the answer to be done more of does; what a person wrote, or a bad one, may."""
    data = row.data
    if row.corrected or data.get("label") is False or not {"text", "facts"}.isdisjoint(data):
        return False
    good = data.get("chosen") or data.get("completion") or data["messages"]
    return repetition((good[-1]["content"] or "").split()) > MOST_REPETITION
