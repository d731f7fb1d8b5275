"""Mixtures: an epoch holds what was asked for, exactly, and the same again for the same seed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from align.data.mixture import balanced, mixed
from assistant.errors import Invalid
from assistant.feedback.rows import Row


def answers(good: int, bad: int) -> list[Row]:
    labels = [True] * good + [False] * bad
    return [Row({"label": label, "place": i}, "", ()) for i, label in enumerate(labels)]


@pytest.mark.parametrize(
    ("good", "bad", "kept_good", "kept_bad"), [(5, 20, 5, 15), (20, 5, 15, 5), (5, 15, 5, 15)]
)
def test_the_commoner_verdict_is_thinned_and_counted(good, bad, kept_good, kept_bad):
    given = answers(good, bad)
    kept, surplus = balanced(given, 3, 99, seed=1)
    labels = [row.data["label"] for row in kept]
    assert (labels.count(True), labels.count(False)) == (kept_good, kept_bad)
    assert surplus.total() == len(given) - len(kept)
    assert kept == sorted(kept, key=lambda row: row.data["place"])
    assert balanced(given, 3, 99, seed=1)[0] == kept


@pytest.mark.parametrize(
    ("good", "bad", "kept_good", "kept_bad"),
    [(30, 60, 20, 20), (10, 60, 10, 30), (60, 15, 25, 15), (5, 60, 5, 15), (20, 20, 20, 20)],
)
def test_no_more_than_the_most_are_kept_and_the_rarer_verdict_first(good, bad, kept_good, kept_bad):
    labels = [r.data["label"] for r in balanced(answers(good, bad), 3, 40, seed=0)[0]]
    assert (labels.count(True), labels.count(False)) == (kept_good, kept_bad)


def test_which_answers_are_left_for_later_follows_from_the_seed():
    kept = [tuple(r.data["place"] for r in balanced(answers(5, 50), 3, 99, s)[0]) for s in (1, 2)]
    assert kept[0] != kept[1]


def test_answers_that_are_all_good_or_all_bad_are_refused():
    with pytest.raises(Invalid, match="All 4 answers are called bad; KTO compares good and bad"):
        balanced(answers(0, 4), 3, 99, seed=0)


def source(name: str, sizes: list[int]) -> list[Row]:
    return [Row({"from": name, "place": i, "size": size}, name, ()) for i, size in enumerate(sizes)]


def size(row: Row) -> int:
    return row.data["size"]


def from_each(rows: list[Row]) -> dict[str, int]:
    found: dict[str, int] = {}
    for row in rows:
        found[row.data["from"]] = found.get(row.data["from"], 0) + size(row)
    return found


def test_an_epoch_is_as_large_as_its_shares_allow_without_repeating():
    sources = {"a": source("a", [1] * 50), "b": source("b", [1] * 100)}
    rows, parts = mixed(sources, {"a": 0.5, "b": 0.5}, size, seed=0)
    assert from_each(rows) == {"a": 50, "b": 50}
    assert len({(row.data["from"], row.data["place"]) for row in rows}) == 100
    assert [(p.source, p.rows, p.share, p.seen) for p in parts] == [
        ("a", 50, 0.5, 1.0), ("b", 50, 0.5, 0.5),
    ]  # fmt: skip


@given(
    amounts=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    weights=st.lists(st.floats(0.01, 10), min_size=4, max_size=4),
    total=st.integers(1, 200),
)
def test_shares_in_rows_are_exact_and_every_row_is_seen_about_as_often(amounts, weights, total):
    sources = {str(i): source(str(i), [1] * n) for i, n in enumerate(amounts)}
    shares = dict(zip(sources, weights, strict=False))
    rows, parts = mixed(sources, shares, size, seed=1, total=total)
    assert len(rows) == total
    for part in parts:
        exact = total * shares[part.source] / sum(shares.values())
        assert abs(part.rows - exact) < 1
        places = [row.data["place"] for row in rows if row.data["from"] == part.source]
        times = [places.count(i) for i in range(len(sources[part.source]))]
        assert max(times) - min(times) <= 1


@given(st.lists(st.integers(1, 30), min_size=5, max_size=40), st.integers(0, 3))
def test_shares_in_tokens_are_exact_to_a_row(sizes, seed):
    sources = {"a": source("a", sizes), "b": source("b", sizes[::-1])}
    rows, parts = mixed(sources, {"a": 3, "b": 1}, size, seed)
    wanted = sum(sizes) * 4 / 3
    for part, share in zip(parts, (0.75, 0.25), strict=True):
        assert abs(part.size - share * wanted) <= max(sizes) + 1
    assert sum(part.size for part in parts) == sum(map(size, rows))


def test_the_seed_decides_what_is_drawn_and_in_which_order():
    sources = {"a": source("a", [1] * 50), "b": source("b", [1] * 9)}
    first, again, other = (mixed(sources, {"a": 1, "b": 1}, size, s)[0] for s in (1, 1, 2))
    assert first == again != other


def test_a_source_without_rows_is_said():
    with pytest.raises(Invalid, match="without a usable row: b"):
        mixed({"a": source("a", [1]), "b": []}, {"a": 1, "b": 1}, size, seed=0)
