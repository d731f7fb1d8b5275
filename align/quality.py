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
    """The rows whose good answer does not run in circles; what a person wrote may."""
    kept = [row for row in rows.rows if row.corrected or _repetition(row) <= MOST_REPETITION]
    gone = len(rows.rows) - len(kept)
    return Rows(kept, rows.left_out + Counter({LOOPS: gone} if gone else {}))


def _repetition(row: Row) -> float:
    """That of the answer to be done more of; a bad one may be as bad as it is."""
    data = row.data
    if data.get("label") is False:
        return 0.0
    good = data.get("chosen") or data.get("completion") or data["messages"]
    return repetition(good[-1]["content"].split())
