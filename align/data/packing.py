"""Documents side by side in blocks of one length; none of them sees another."""

import random
from collections.abc import Sequence
from statistics import mean
from typing import Any

DOCUMENT_END = "<|endoftext|>"


Piece = tuple[list[int], list[int]]  # ids and labels


def packed(rows: Sequence[dict[str, Any]], block: int, end: int, seed: int) -> list[dict[str, Any]]:
    """Documents (input_ids) in blocks of at most `block` tokens; see `side_by_side`.

    Each is ended by `end`; a longer one is cut into pieces, each of which fills a block.
    """
    pieces = [
        document[start : start + block]
        for row in rows
        for document in [[*row["input_ids"], end]]
        for start in range(0, len(document), block)
    ]
    whole = [piece for piece in pieces if len(piece) > 1]  # one token alone has no next one
    return _blocks([(piece, piece) for piece in whole], block, seed, 1.0)


def side_by_side(rows: Sequence[dict[str, Any]], block: int, seed: int) -> list[dict[str, Any]]:
    """Token rows (input_ids, labels) in blocks of at most `block` tokens, in random order.

    None is longer than a block. `seq_lengths` tells TRL's collator where rows begin, and that their
    positions start anew; they are put where they leave least room (best fit, longest first).
    """
    pieces = [(row["input_ids"], row["labels"]) for row in rows]
    return _blocks(pieces, block, seed, mean(row["temperature"] for row in rows))


def _blocks(
    pieces: Sequence[Piece], block: int, seed: int, temperature: float
) -> list[dict[str, Any]]:
    blocks: list[list[Piece]] = []
    room: dict[int, list[int]] = {}  # free tokens → blocks
    for piece in sorted(pieces, key=lambda piece: len(piece[0]), reverse=True):
        fitting = [free for free in room if free >= len(piece[0])]
        free = min(fitting) if fitting else block
        place = room[free].pop() if fitting else len(blocks)
        if fitting and not room[free]:
            del room[free]
        if not fitting:
            blocks.append([])
        blocks[place].append(piece)
        room.setdefault(free - len(piece[0]), []).append(place)
    random.Random(seed).shuffle(blocks)
    return [_row(pieces) | {"temperature": temperature} for pieces in blocks]


def cut_apart(documents: Sequence[str], held_out: float, seed: int) -> tuple[list[str], list[str]]:
    """Documents to learn from and some held out, about a share of the text.

    A document that is there several times is on one side alone. Where they are too few to hold
    whole ones out, the end of the longest is, from a paragraph on.
    """
    different = list(dict.fromkeys(documents))
    number = round(len(different) * held_out)
    if number or not documents or not held_out:
        apart = set(random.Random(seed).sample(different, number))
        return (
            [text for text in documents if text not in apart],
            [text for text in different if text in apart],
        )
    text = max(documents, key=len)
    at = text.find("\n\n", round(len(text) * (1 - held_out)))
    if at < 0:
        return list(documents), []
    kept = [text[:at] if document == text else document for document in documents]
    return kept, [text[at:].lstrip()]


def document_end(tokenizer: Any) -> int:
    """The token that ends a document: the usual one where there is one, else the end of a turn."""
    found = tokenizer.get_vocab().get(DOCUMENT_END)
    return int(tokenizer.eos_token_id if found is None else found)


def _row(pieces: Sequence[Piece]) -> dict[str, Any]:
    ids = [i for piece, _ in pieces for i in piece]
    return {
        "input_ids": ids,
        "labels": [label for _, labels in pieces for label in labels],
        "seq_lengths": [len(piece) for piece, _ in pieces],
        "length": len(ids),
    }
