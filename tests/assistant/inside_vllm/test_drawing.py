"""Tokens drawn by sums: as likely as they should be, and only from the nucleus."""

import pytest
import torch

from assistant.inside_vllm.drawing import BLOCK, draw
from tests.assistant.inside_vllm.conftest import InVllm

pytestmark = pytest.mark.long

ROWS = 20_000


@pytest.fixture(autouse=True)
def fixed() -> None:
    torch.manual_seed(3)


def spiked(tokens: int) -> torch.Tensor:
    """Logits of a few likely tokens among many, in both halves of the vocabulary."""
    logits = torch.randn(tokens)
    logits[::37] += 3
    return logits


def nucleus(logits: torch.Tensor, p: float) -> torch.Tensor:
    """The probabilities of its tokens, told by sorting."""
    probabilities = logits.double().softmax(-1)
    ordered, places = probabilities.sort(descending=True)
    inside = ordered.cumsum(-1) - ordered < p
    kept = torch.zeros_like(probabilities)
    kept[places[inside]] = ordered[inside]
    return kept / kept.sum()


@pytest.mark.parametrize("tokens", [5, BLOCK, 3 * BLOCK, 3 * BLOCK + 1, 1000])
@pytest.mark.parametrize("p", [None, 0.95, 0.5, 0.05])
def test_every_token_is_drawn_as_often_as_it_is_likely(tokens: int, p: float | None):
    logits = spiked(tokens)
    many = logits.repeat(ROWS, 1)
    drawn = draw(many, None if p is None else torch.full((ROWS,), p), {})
    wanted = nucleus(logits, p or 2)
    seen = torch.bincount(drawn, minlength=tokens).double()
    assert seen[wanted == 0].sum() == 0
    likely = wanted * ROWS >= 5
    expected = torch.cat([wanted[likely], wanted[~likely].sum()[None]]) * ROWS
    counted = torch.cat([seen[likely], seen[~likely].sum()[None]])
    some = expected > 0
    squares = ((counted - expected)[some] ** 2 / expected[some]).sum()
    freedom = max(1, int(some.sum()) - 1)
    assert squares < freedom + 5 * (2 * freedom) ** 0.5  # five standard deviations of chi-square


def test_what_is_masked_is_never_drawn():
    logits = torch.full((ROWS, 700), -torch.inf)
    logits[:, [1, BLOCK - 1, BLOCK, 699]] = 0.0
    assert set(draw(logits, None, {}).tolist()) == {1, BLOCK - 1, BLOCK, 699}


def test_rows_with_and_without_a_nucleus_share_a_batch():
    logits = spiked(1000).repeat(200, 1)
    p = torch.ones(200)
    p[::2] = 1e-6  # the likeliest token alone
    drawn = draw(logits, p, {})
    assert set(drawn[::2].tolist()) == {int(logits[0].argmax())}
    assert len(set(drawn[1::2].tolist())) > 50


def test_a_seeded_row_draws_alike_whatever_else_is_in_its_batch():
    logits = spiked(1000)

    def seeded(row: int, rows: int) -> list[int]:
        generator = torch.Generator().manual_seed(7)
        batch, p = logits.repeat(rows, 1), torch.full((rows,), 0.3)
        return [int(draw(batch, p, {row: generator})[row]) for _ in range(20)]

    assert seeded(0, 1) == seeded(4, 9)
    assert len(set(seeded(0, 1))) > 1


def test_vllm_still_draws_by_noise_and_sorting(in_vllm: InVllm):
    found = in_vllm("patched_vllm", "draws")
    assert found["noise"], "vLLM draws in another way now: is our patch still faster?"
    assert found["sorts"]
    assert found["ours"]
    assert found["top k"] == [2, 3]
    assert found["top p"] == [3]
