"""Rows times matrices of weights: by kernels of our own in bf16 where there is AMX, or by torch."""

import functools

import torch

from align.quick.loading import OURS, load

PRODUCT = "assistant_align::product"
DEPTH = 32  # inputs of a tile of packed weights; its outputs are half as many


class Matrix:
    """Weights (outputs, inputs), and the same again in the order of reading, where that is ours.

    Weights that change are followed by `refresh`.
    """

    def __init__(self, weights: torch.Tensor) -> None:
        self.weights = weights
        self.packed = None
        if fits(weights) and tiled():
            self.packed = weights.new_empty(weights.shape)
            self.refresh()

    def refresh(self) -> None:
        """Take over what the weights are now."""
        if self.packed is not None:
            OURS.pack(self.weights, self.packed)


def product(
    x: torch.Tensor,
    matrix: Matrix,
    low: torch.Tensor | None = None,
    up: Matrix | None = None,
    onto: torch.Tensor | None = None,
) -> torch.Tensor:
    """X matrixᵀ (rows, outputs), and low upᵀ and `onto` added to it, where given."""
    if matrix.packed is not None and (up is None or up.packed is not None):
        found = x.new_empty(len(x), len(matrix.weights))
        OURS.product(x, matrix.packed, low, up.packed if up else None, onto, found)
        return found
    weights = matrix.weights.T
    found = x @ weights if onto is None else torch.addmm(onto, x, weights)
    return found if low is None or up is None else found.addmm_(low, up.weights.T)


def outer(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """aᵀ b (width of a, width of b), the sum over rows of their products; in float32 where ours."""
    if a.dtype == torch.bfloat16 and not (a.shape[1] % DEPTH or b.shape[1] % DEPTH) and tiled():
        found = torch.empty(a.shape[1], b.shape[1])
        OURS.outer(a, b, found)
        return found
    return a.T @ b


def fits(weights: torch.Tensor) -> bool:
    """Whether a matrix (outputs, inputs) consists of whole tiles of bf16."""
    outputs, inputs = weights.shape
    return weights.dtype == torch.bfloat16 and not (outputs % (DEPTH // 2) or inputs % DEPTH)


@functools.cache
def tiled() -> bool:
    """Whether our kernels multiply here: they were compiled for AMX, and Linux lets us use it."""
    if not load() or not torch._C._dispatch_has_kernel_for_dispatch_key(PRODUCT, "CPU"):
        return False
    one, found = torch.eye(DEPTH, dtype=torch.bfloat16), torch.zeros(DEPTH, DEPTH)
    packed = torch.empty_like(one)
    try:
        OURS.pack(one, packed)
    except RuntimeError:
        return False
    OURS.product_into(one, packed, found)
    return bool(torch.equal(found, torch.eye(DEPTH)))
