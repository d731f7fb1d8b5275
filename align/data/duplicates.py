"""Rows that say what another row says already, exactly or nearly (MinHash, Broder 1997)."""

from collections.abc import Iterator, Sequence

from align.data.texts import answers_of, calls_of, prompt_of, words
from assistant.feedback.rows import Row

SHINGLE = 5  # words
PERMUTATIONS = 128
BANDS = 16  # of 8 values: a pair 80 % alike is looked at with a chance of 95 %
LIKENESS = 0.8  # Jaccard
Sifted = tuple[list[Row], list[tuple[Row, str]]]


def first_of_each(rows: Sequence[Row]) -> Sifted:
    """The first of all rows with the same words, and the others with the reason."""
    seen: set[tuple[tuple[str, ...], ...]] = set()
    kept: list[Row] = []
    gone: list[tuple[Row, str]] = []
    for row in rows:
        said = tuple((mark, *words(text)) for mark, text in _marked(row))
        if said in seen:
            gone.append((row, "the same as an earlier row"))
        else:
            seen.add(said)
            kept.append(row)
    return kept, gone


def unlike_each_other(rows: Sequence[Row]) -> Sifted:
    """The first of all rows whose 5-word shingles overlap by 80 % or more, as estimated."""
    from rensa import RMinHash, RMinHashLSH  # noqa: PLC0415 - only needed here

    index = RMinHashLSH(threshold=LIKENESS, num_perm=PERMUTATIONS, num_bands=BANDS)
    hashes: list[RMinHash] = []
    kept: list[Row] = []
    gone: list[tuple[Row, str]] = []
    for row in rows:
        found = RMinHash(num_perm=PERMUTATIONS, seed=0)
        found.update(list(_shingles(row)))
        if any(hashes[i].jaccard(found) >= LIKENESS for i in index.query(found)):
            gone.append((row, "nearly the same as an earlier row"))
        else:
            index.insert(len(kept), found)
            hashes.append(found)
            kept.append(row)
    return kept, gone


def _shingles(row: Row) -> Iterator[str]:
    for mark, text in _marked(row):
        found = words(text)
        for start in range(max(1, len(found) - SHINGLE + 1)):
            yield " ".join((mark, *found[start : start + SHINGLE]))


def _marked(row: Row) -> list[tuple[str, str]]:
    """A row's texts, each with what is said of it: a vote that contradicts is no duplicate."""
    both = zip(answers_of(row), calls_of(row), strict=True)
    better, *worse = (f"{said} {calls}" for said, calls in both)
    mark = "bad" if row.data.get("label") is False else "good"
    return [("asked", prompt_of(row)), (mark, better), *(("bad", text) for text in worse)]
