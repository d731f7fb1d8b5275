"""Products of rows with weights: right for any number of rows, and worth having."""

import time
from collections.abc import Callable

import pytest
import torch

from align.quick import products
from align.quick.head import PART, Head, _LogProbs
from align.quick.loading import OURS, load
from align.quick.products import Matrix, outer, product

AMX = pytest.mark.skipif(not torch.cpu._is_amx_tile_supported(), reason="this processor has no AMX")
ROWS = (1, 15, 16, 17, 70, 530)
NEAR = 0.006  # of the largest number: two roundings of bf16


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(shape).bfloat16()


def apart(found: torch.Tensor, exact: torch.Tensor) -> float:
    return float((found.double() - exact).abs().max() / exact.abs().max())


@AMX
def test_they_are_ours_where_there_is_amx():
    assert products.tiled()
    assert Matrix(drawn(48, 64)).packed is not None


@pytest.mark.parametrize(("outputs", "inputs"), [(16, 32), (48, 64), (576, 96), (40, 30)])
@pytest.mark.parametrize("rows", ROWS)
def test_products_and_what_is_added_to_them_are_right(rows: int, outputs: int, inputs: int):
    torch.manual_seed(0)
    x, low, onto = drawn(rows, inputs), drawn(rows, 32), drawn(rows, outputs)
    weights, up = drawn(outputs, inputs), drawn(outputs, 32)
    turned = drawn(inputs, outputs).T  # as on the way back
    exact = x.double() @ weights.double().T
    more = low.double() @ up.double().T
    assert apart(product(x, Matrix(weights)), exact) < NEAR
    assert apart(product(x, Matrix(turned)), x.double() @ turned.double().T) < NEAR
    assert apart(product(x, Matrix(weights), low, Matrix(up)), exact + more) < NEAR
    found = product(x, Matrix(weights), low, Matrix(up), onto)
    assert apart(found, exact + more + onto.double()) < NEAR


@pytest.mark.parametrize("rows", ROWS)
def test_what_adapters_learn_is_right(rows: int):
    torch.manual_seed(0)
    for width in (32, 96, 8):
        a, b = drawn(rows, width), drawn(rows, 576)
        assert apart(outer(a, b), a.double().T @ b.double()) < NEAR


def test_weights_that_changed_are_taken_over():
    matrix, x = Matrix(torch.zeros(16, 32).bfloat16()), drawn(3, 32)
    matrix.weights += 1
    matrix.refresh()
    assert apart(product(x, matrix), x.double().sum(1, keepdim=True).expand(3, 16)) < NEAR


@AMX
def test_sums_are_added_up_in_float():
    torch.manual_seed(0)
    x, weights = drawn(37, 64), drawn(48, 64)
    sums = torch.ones(37, 48)
    for _ in range(100):
        OURS.product_into(x, Matrix(weights).packed, sums)
    assert apart(sums, 1 + 100 * (x.double() @ weights.double().T)) < 1e-5


def test_a_head_in_bf16_is_as_near_to_float_as_that_of_torch(monkeypatch: pytest.MonkeyPatch):
    torch.manual_seed(0)
    weights, hidden = drawn(2 * PART, 64) / 4, drawn(70, 64)
    labels, pull = torch.randint(0, 2 * PART, (70,)), torch.randn(70)

    def through(weights: torch.Tensor, hidden: torch.Tensor) -> list[torch.Tensor]:
        given = hidden.clone().requires_grad_()
        found = _LogProbs.apply(given, weights, labels, Head(weights))
        (found * pull).sum().backward()
        return [found.detach(), given.grad]

    exact = through(weights.double().float(), hidden.float())
    ours = through(weights, hidden)
    assert (Head(weights).parts != []) == products.tiled()
    monkeypatch.setattr("align.quick.head.tiled", lambda: False)
    assert Head(weights).parts == []
    theirs = through(weights, hidden)
    for one, other, right in zip(ours, theirs, exact, strict=True):
        assert apart(one, right.double()) < 1.1 * apart(other, right.double()) + 1e-4


def test_without_kernels_torch_multiplies(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(products, "load", lambda: False)
    products.tiled.cache_clear()
    assert not products.tiled()
    assert Matrix(drawn(48, 64)).packed is None
    monkeypatch.undo()
    products.tiled.cache_clear()
    assert products.tiled() <= load()


@AMX
def test_they_are_faster_than_those_of_torch():
    """Where torch's are as fast, ours can go. With two threads they are twice as fast, not here."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        x, low = drawn(100, 576), drawn(100, 32)
        weights, up = [Matrix(drawn(3072, 576)) for _ in range(30)], Matrix(drawn(3072, 32))
        plain = [matrix.weights.T for matrix in weights]
        ours, theirs = fastest(
            lambda: [product(x, matrix, low, up) for matrix in weights],
            lambda: [(x @ w).addmm_(low, up.weights.T) for w in plain],
        )
    finally:
        torch.set_num_threads(threads)
    assert ours < 0.9 * theirs


def fastest(*works: Callable[[], object]) -> list[float]:
    """Seconds of this thread for each, by turns, whoever else wants its core."""
    times: list[list[float]] = [[] for _ in works]
    for _ in range(15):
        for work, found in zip(works, times, strict=True):
            began = time.thread_time()
            work()
            found.append(time.thread_time() - began)
    return [min(found) for found in times]
