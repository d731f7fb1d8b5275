"""Epochs: sources are read, cleaned of loops, and mixed as asked."""

from pathlib import Path

import pytest

from align.data.epoch import assembled
from align.data.tokens import length
from align.quality import LOOPS
from align.rendering import tokenizer_of
from assistant.errors import Invalid
from assistant.settings import Settings
from assistant.version import Version
from tests.align.lessons import judge, rows, write


@pytest.fixture(scope="module")
def tokenizer(tiny: Version):
    return tokenizer_of(tiny.path)


def test_sources_without_weights_are_learnt_whole(settings: Settings, tmp_path: Path):
    judge(settings, pairs=2)
    file = write(tmp_path / "more.jsonl", rows("dpo", 5))
    epoch = assembled("preference", ["feedback", str(file)], settings.database, None, 0)
    assert (len(epoch.rows), epoch.parts) == (7, [])
    assert len(assembled("preference", [], settings.database, None, 0).rows) == 2


def test_weights_are_shares_of_rows_or_tokens(settings: Settings, tmp_path: Path, tokenizer):
    judge(settings, pairs=3)
    file = write(tmp_path / "more.jsonl", rows("dpo", 20))
    asked = ("preference", ["feedback:1", f"{file}:3"], settings.database, tokenizer, 0)
    by_rows = assembled(*asked)
    assert [part.rows for part in by_rows.parts] == [3, 9]
    by_tokens = assembled(*asked, measure="tokens", total=600)
    sizes = [sum(length(tokenizer, r) for r in by_tokens.rows if bool(r.judgement_ids) is voted)
             for voted in (True, False)]  # fmt: skip
    assert sizes == [part.size for part in by_tokens.parts]
    assert sizes == pytest.approx([150, 450], abs=20)
    assert by_tokens.parts[0].seen > 1


def test_what_runs_in_circles_is_left_out_and_counted(tmp_path: Path):
    loop = {"prompt": "Q?", "chosen": "on and " * 20, "rejected": "No."}
    file = write(tmp_path / "rows.jsonl", [loop, *rows("dpo", 2)])
    epoch = assembled("preference", [str(file)], "sqlite://", None, 0)
    assert (len(epoch.rows), epoch.left_out) == (2, {LOOPS: 1})


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (["a.jsonl", "b.jsonl:2"], "--data a.jsonl has no weight but others have"),
        (["a.jsonl:1", "a.jsonl:2"], "--data names a.jsonl twice"),
    ],
)
def test_unclear_mixtures_are_refused(asked: list[str], words: str):
    with pytest.raises(Invalid, match=words):
        assembled("preference", asked, "sqlite://", None, 0)


def test_totals_and_measures_are_of_shares(tmp_path: Path):
    file = write(tmp_path / "a.jsonl", rows("dpo", 4))
    for more in ({"total": 3}, {"measure": "tokens"}):
        with pytest.raises(Invalid, match="give every --data its own"):
            assembled("preference", [str(file)], "sqlite://", None, 0, **more)


def test_shares_are_of_what_can_be_learnt(tmp_path: Path, tokenizer):
    said = [" ".join(map(str, range(100 * n, 100 * n + 60))) for n in range(6)]
    long = [{"prompt": "Count.", "chosen": text, "rejected": "no"} for text in said]
    mixed = write(tmp_path / "mixed.jsonl", [*rows("dpo", 4), *long])
    other = write(tmp_path / "other.jsonl", rows("dpo", 9))
    given = [f"{mixed}:1", f"{other}:1"]
    epoch = assembled("preference", given, "sqlite://", tokenizer, 0, longest=100)
    assert [part.rows for part in epoch.parts] == [4, 4]
    assert epoch.left_out["longer than 100 tokens"] == 6
