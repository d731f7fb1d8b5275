"""Looks at vLLM, in this process, before and after it is patched."""

import inspect
import time
from typing import Any

import torch
from vllm.model_executor.kernels.linear import scaled_mm as kernels
from vllm.model_executor.kernels.linear.scaled_mm.cpu import CPUInt8ScaledMMLinearKernel
from vllm.model_executor.layers import utils
from vllm.model_executor.models import registry
from vllm.platforms.cpu import CpuPlatform
from vllm.v1.engine import utils as engines
from vllm.v1.sample.ops import topk_topp_sampler as ops
from vllm.v1.worker.cpu_worker import CPUWorker

from assistant.inside_vllm import drawing, gemm, waiting
from assistant.inside_vllm import start as starting

SCALES = ["weight", "weight_scale", "input_scale", "input_zero_point", "azp_adj"]


def start() -> dict[str, object]:
    """How it starts its core and looks at models."""
    lazy = inspect.getsource(registry._LazyRegisteredModel.inspect_model_cls)
    found: dict[str, object] = {
        "spawns": 'METHOD"] = "spawn"' in inspect.getsource(CpuPlatform.check_and_update_config),
        "asks": "get_mp_context()" in inspect.getsource(engines.CoreEngineProcManager.__init__),
        "looks elsewhere": "_run_in_subprocess(" in lazy,
    }
    starting.install()
    found["forks"] = engines.get_mp_context().get_start_method()
    found["looks here"] = registry._run_in_subprocess(lambda: "here")
    return found


def waits() -> bool:
    """Whether its worker looks who else wants its cores."""
    waiting.install()
    waiting.install()  # vLLM may call it again
    return CPUWorker.watches_cores


def draws() -> dict[str, object]:
    """How it draws tokens."""
    found: dict[str, object] = {
        "noise": "fused_gumbel_argmax" in inspect.getsource(ops.TopKTopPSampler.forward_cpu),
        "sorts": "logits.sort(" in inspect.getsource(ops.apply_top_k_top_p_pytorch),
    }
    drawing.install()
    drawing.install()  # vLLM may call it again
    logits = torch.tensor([[0.0, 1.0, 2.0, 3.0]]).repeat(500, 1)
    two, half = torch.full((500,), 2, dtype=torch.int32), torch.full((500,), 0.5)
    sampler = ops.TopKTopPSampler()
    found["top k"] = sorted(set(sampler.forward(logits.clone(), {}, two, None)[0].tolist()))
    found["top p"] = sorted(set(sampler.forward(logits.clone(), {}, None, half)[0].tolist()))
    found["ours"] = ops.TopKTopPSampler.draws_by_sums
    return found


def multiplies() -> dict[str, Any]:
    """What its layers compute, and how fast, with its own products and with ours."""
    torch.set_num_threads(1)
    torch.manual_seed(1)
    precision = gemm.precision()
    big = [torch.randn(3072, 576).bfloat16().to(precision) for _ in range(30)]
    odd, x = torch.randn(40, 24).bfloat16().to(precision), torch.randn(4, 576).to(precision)
    theirs = [dispatched(layer(weight)) for weight in big]
    gemm.install()
    gemm.install()  # vLLM may call it again
    ours = [dispatched(layer(weight)) for weight in big]
    biased = layer(big[0])
    biased.bias = torch.nn.Parameter(torch.randn(3072).to(precision), requires_grad=False)
    with_bias = linear(dispatched(biased), x, biased.bias)
    times = [(seconds(theirs, x), seconds(ours, x)) for _ in range(30)]
    return {
        "same": same(linear(ours[0], x), linear(theirs[0], x)),
        "odd": same(linear(dispatched(layer(odd)), x[:, :24]), x[:, :24] @ odd.t()),
        "odd ours": hasattr(dispatched(layer(odd)), "packed"),
        "finer": not hasattr(dispatched(layer(torch.randn(3072, 576))), "packed"),
        "bias": same(with_bias, linear(ours[0], x) + biased.bias),
        "bias later": torch.equal(linear(biased, x), linear(ours[0], x)),
        "no rows": list(linear(ours[0], x[:0]).shape),
        "shape": list(linear(ours[0], x.view(2, 2, 576)).shape),
        "ours": utils.products_are_ours and ours[0].weight.numel() == 0,
        "theirs": min(one for one, _ in times),
        "own": min(other for _, other in times),
    } | in_8_bits(x)


def in_8_bits(x: torch.Tensor) -> dict[str, Any]:
    """The same of a layer whose weights have 8 bits."""
    quantized = layer(torch.randint(-127, 128, (96, 576), dtype=torch.int8))
    quantized.weight_scale = torch.nn.Parameter(torch.rand(96, 1) / 100, requires_grad=False)
    quantized.logical_widths = [96]
    for name in SCALES[2:]:
        setattr(quantized, name, None)
    exact = x.float() @ (quantized.weight.float() * quantized.weight_scale).t()
    torch.set_default_dtype(x.dtype)  # as vLLM does while it loads a model
    config = kernels.Int8ScaledMMLinearLayerConfig(
        is_static_input_scheme=False, is_channelwise=True, input_symmetric=True
    )
    kernel = CPUInt8ScaledMMLinearKernel(config, SCALES)
    kernel.process_weights_after_loading(quantized)
    y = kernel.apply_weights(quantized, x.view(2, 2, 576))
    apart = (y.view(4, 96).float() - exact).abs().max() / exact.abs().max()
    return {"int8": float(apart), "int8 ours": hasattr(quantized, "packed")}


def layer(weight: torch.Tensor) -> torch.nn.Module:
    """One that vLLM has not yet looked at."""
    made = torch.nn.Module()
    made.weight, made.bias = torch.nn.Parameter(weight.clone(), requires_grad=False), None
    return made


def dispatched(made: torch.nn.Module) -> torch.nn.Module:
    """The same layer, after vLLM chose its product."""
    utils.dispatch_cpu_unquantized_gemm(made, True)
    return made


def linear(made: Any, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """Its product, as vLLM asks for it."""
    return utils.cpu_unquantized_gemm(made, x, made.weight, bias)


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """But for rounding."""
    return torch.allclose(one.float(), other.float(), 0.02, 0.3)


def seconds(layers: list[torch.nn.Module], x: torch.Tensor) -> float:
    """Of this thread, whoever else wants its core."""
    began = time.thread_time()
    for made in layers:
        linear(made, x)
    return time.thread_time() - began
