"""Of what was learnt before so much is gone over again as was asked for, if there is so much."""

from assistant.feedback.rows import Row
from tests.numbers.replay import mixed


def test_old_rows_are_a_share_of_all_and_drawn_by_the_seed():
    new, old = (
        [Row({"prompt": word}, f"{word}-{n}", ()) for n in range(40)] for word in ("new", "old")
    )
    assert mixed(new, old, 0.0, 0) == new
    rows = mixed(new, old, 0.2, 0)
    assert rows[:40] == new
    assert len(rows) == 50
    assert all(row in old for row in rows[40:])
    assert mixed(new, old, 0.2, 0) == rows != mixed(new, old, 0.2, 1)
    assert len(mixed(new, old[:10], 0.5, 0)) == 50
