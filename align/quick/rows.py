"""Batches of rows without their padding, and without what two rows begin with alike twice."""

from dataclasses import dataclass

import torch

SHARED = 8  # tokens, the least worth being computed once


@dataclass(frozen=True)
class Laid:
    """Rows of token ids, one after the other; what they share lies there once.

    `tokens` (n,) are positions in the flattened batch; `segments` (s, 4) the group that tokens
    belong to, how much of its beginning they see, where they begin, and how many they are; `places`
    (rows, length) where each token of the batch is found, 0 where there is none.
    """

    tokens: torch.Tensor
    positions: torch.Tensor
    segments: torch.Tensor
    places: torch.Tensor


def laid(ids: torch.Tensor, mask: torch.Tensor | None) -> Laid:
    """Lay out a batch (rows, length) that is padded on the right.

    A row and the one half a batch later, as TRL arranges two answers, are compared.
    """
    rows, length = ids.shape
    lengths = [length] * rows if mask is None else mask.sum(-1).tolist()
    tokens, positions, segments = [], [], []
    places, laid_out = torch.zeros_like(ids), 0
    half = rows // 2 if rows % 2 == 0 else rows

    def lay(row: int, start: int, group: int, prefix: int) -> None:
        nonlocal laid_out
        count = lengths[row] - start
        at = torch.arange(start, lengths[row])
        tokens.append(row * length + at)
        positions.append(at)
        places[row, start : lengths[row]] = torch.arange(laid_out, laid_out + count)
        segments.append((group, prefix, laid_out, count))
        laid_out += count

    for row in range(half):
        group = laid_out
        other = row + half
        lay(row, 0, group, 0)
        if other >= rows:
            continue
        same = common(ids[row], ids[other], min(lengths[row], lengths[other]) - 1)
        if same < SHARED:
            lay(other, 0, laid_out, 0)
        else:
            places[other, :same] = places[row, :same]
            lay(other, same, group, same)
    return Laid(
        torch.cat(tokens), torch.cat(positions), torch.tensor(segments, dtype=torch.int32), places
    )


def common(one: torch.Tensor, other: torch.Tensor, most: int) -> int:
    """How many tokens two rows begin with alike, `most` at most."""
    differs = (one[:most] != other[:most]).nonzero()
    return int(differs[0]) if len(differs) else max(most, 0)


def padded_right(mask: torch.Tensor | None) -> bool:
    """Whether a mask (rows, length), if any, has its zeros at the ends of rows."""
    if mask is None:
        return True
    return mask.dim() == 2 and bool((mask[:, 1:] <= mask[:, :-1]).all() and mask[:, 0].all())
