"""Packing: every token is there once, in order, and no document sees another."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from align.data.packing import cut_apart, document_end, packed, side_by_side
from align.loading import load
from align.quick import documents
from align.rendering import tokenizer_of
from assistant.version import Version

END = 9
texts_of_ids = st.lists(st.lists(st.integers(10, 99), min_size=1, max_size=50), max_size=20)


def pieces(block: dict) -> list[list[int]]:
    ids, found = block["input_ids"], []
    for length in block["seq_lengths"]:
        found.append(ids[:length])
        ids = ids[length:]
    assert ids == []
    return found


@given(texts_of_ids, st.integers(2, 30), st.integers(0, 3))
def test_every_document_is_there_with_its_end(texts, block, seed):
    made = packed([{"input_ids": text} for text in texts], block, END, seed)
    assert all(len(row["input_ids"]) == row["length"] <= block for row in made)
    found = sorted(piece for row in made for piece in pieces(row))
    expected = [
        whole[i : i + block]
        for whole in ([*text, END] for text in texts)
        for i in range(0, len(whole), block)
    ]
    assert found == sorted(piece for piece in expected if len(piece) > 1)
    halves = [row["length"] * 2 <= block for row in made]
    assert sum(halves) <= 1  # two such blocks would have been one


@given(texts_of_ids, st.integers(0, 3))
def test_rows_keep_their_labels_and_none_is_cut(texts, seed):
    rows = [
        {"input_ids": t, "labels": [-100, *t[1:]], "temperature": 0.5 + n % 2}
        for n, t in enumerate(texts)
    ]
    if not rows:
        return
    made = side_by_side(rows, 50, seed)
    found = []
    for block in made:
        assert block["temperature"] == pytest.approx(
            sum(r["temperature"] for r in rows) / len(rows)
        )
        labels = block["labels"]
        for piece in pieces(block):
            found.append((piece, labels[: len(piece)]))
            labels = labels[len(piece) :]
    assert sorted(found) == sorted((row["input_ids"], row["labels"]) for row in rows)


def test_the_seed_decides_the_order_of_blocks():
    rows = [{"input_ids": [n] * 5} for n in range(20)]
    first, again, other = (packed(rows, 6, END, seed) for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize("each", [False, True])
def test_no_document_of_a_block_sees_another(tiny: Version, each: bool):
    model, reader = (load(tiny.path, torch.float32).eval() for _ in range(2))
    if each:
        documents.apart(reader)
        assert reader.config._attn_implementation == documents.BY_DOCUMENT
    texts = [list(range(100, 120)), list(range(300, 335)), list(range(500, 507))]
    rows = packed([{"input_ids": text} for text in texts], 64, END, 0)
    collator = DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True)
    batch = collator(rows)
    labels = batch.pop("labels")
    with torch.inference_mode():
        together = reader(**batch, use_cache=False).logits[0]
        start = 0
        for row in rows:
            for piece in pieces(row):
                alone = model(torch.tensor([piece])).logits[0]
                torch.testing.assert_close(
                    together[start : start + len(piece)], alone, rtol=1e-4, atol=1e-4
                )
                assert labels[0, start] == -100  # nothing says what a document begins with
                start += len(piece)
    assert start == batch["input_ids"].shape[1]


def test_a_document_ends_with_the_usual_token(tiny: Version):
    tokenizer = tokenizer_of(tiny.path)
    assert tokenizer.decode([document_end(tokenizer)]) == "<|endoftext|>"


@given(
    st.lists(st.text("ab\n", min_size=1), max_size=40, unique=True),
    st.sampled_from([0.0, 0.05, 0.3]),
)
def test_held_out_texts_are_not_learnt(texts, held_out):
    learn, apart = cut_apart(texts, held_out, seed=0)
    if not apart:
        assert learn == texts
    elif len(learn) < len(texts):
        assert sorted([*learn, *apart]) == sorted(texts)
        assert len(apart) == round(len(texts) * held_out)


def test_a_document_that_is_there_twice_is_on_one_side():
    kept, apart = cut_apart([f"text {n % 5}" for n in range(20)], 0.2, 0)
    assert len(apart) == 1
    assert len(kept) == 16
    assert apart[0] not in kept


@pytest.mark.parametrize("held_out", [0.1, 0.5])
def test_of_a_single_document_the_end_is_held_out(held_out: float):
    text = "\n\n".join(f"Paragraph {n}." for n in range(40))
    [learn], [apart] = cut_apart([text], held_out, seed=0)
    assert f"{learn}\n\n{apart}" == text
    assert len(apart) / len(text) == pytest.approx(held_out, abs=0.05)
