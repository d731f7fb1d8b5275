"""Linear layers on a CPU by kernels of our own, `gemm.cpp`.

A step of a small model reads every weight for a handful of rows. vLLM 0.32's kernels (oneDNN's,
and SGLang's) take longer than memory takes to give the weights; see docs/serving.md. Ours need
a C++ compiler, and AMX, AVX-512 with bf16, or AVX2 alone; elsewhere all stays as it is.
"""

import functools
import logging
from typing import Any

import torch

from assistant.inside_vllm.building import KERNELS
from assistant.kernels import CannotBuild
from assistant.processor import products

logger = logging.getLogger(__name__)

OUTPUTS = 16  # that a strip of packed weights has
BYTES = 64  # of inputs that a tile of packed weights has
OURS = "packed"  # what a layer has whose products are ours
SEAMS = ("process_weights_after_loading", "apply_weights", "_get_layer_params")


def install() -> None:
    """Let vLLM's linear layers use them where they fit."""
    from vllm.model_executor.kernels.linear.scaled_mm import cpu  # noqa: PLC0415 - not in ours
    from vllm.model_executor.layers import utils  # noqa: PLC0415
    from vllm.platforms import current_platform  # noqa: PLC0415

    kernel: Any = getattr(cpu, "CPUInt8ScaledMMLinearKernel", None)
    if not current_platform.is_cpu() or getattr(utils, "products_are_ours", False):
        return
    if not hasattr(utils, "dispatch_cpu_unquantized_gemm") or not all(
        hasattr(kernel, seam) for seam in SEAMS
    ):
        logger.warning("vLLM multiplies in another way: it is left as it is")
    elif load():
        in_floats(utils)
        in_int8(kernel)
        utils.products_are_ours = True


@functools.cache
def load() -> bool:
    """Make the kernels known to torch as `torch.ops.assistant`; whether they are, and are right."""
    if precision() is None:
        return False
    try:
        KERNELS.load(torch.ops.load_library)
        try_out()
    except (OSError, RuntimeError, CannotBuild) as error:
        logger.warning("Products are left to vLLM, which is slower: %s", error)
        return False
    torch.library.register_fake("assistant::linear")(_shape)
    torch.library.register_fake("assistant::linear_int8")(_shape_int8)
    return True


@functools.cache
def precision() -> torch.dtype | None:
    """Of what our kernels take and give on this processor; None where it has none for them."""
    name = products()
    return getattr(torch, name) if name else None


def try_out() -> None:
    """Multiply once. Raises RuntimeError where that fails, or is wrong.

    So little that it takes one thread: a process that had a team cannot fork its core (`start`).
    """
    ours = torch.ops.assistant
    x, weight = torch.ones(2, 32, dtype=precision()), torch.eye(32, dtype=torch.bfloat16)
    right = torch.equal(ours.linear(x, ours.pack(weight), None), x)
    if has_int8():
        x, weight = torch.ones(2, 64, dtype=precision()), torch.eye(64)[:32].to(torch.int8)
        y = ours.linear_int8(x, ours.pack(weight), torch.ones(32), None)
        right &= torch.equal(y, x[:, :32])
    if not right:
        raise RuntimeError("the compiled kernels give wrong products")


def has_int8() -> bool:
    """Whether the compiled kernels multiply in 8 bits: with AMX or AVX2 they do."""
    name = "assistant::linear_int8"
    return bool(torch._C._dispatch_has_kernel_for_dispatch_key(name, "CPU"))


def in_floats(utils: Any) -> None:
    """Layers whose weights are not quantized."""
    dispatch = utils.dispatch_cpu_unquantized_gemm

    def dispatch_cpu_unquantized_gemm(layer: Any, remove_weight: bool) -> None:
        weight, bias = layer.weight, getattr(layer, "bias", None)
        halves = None if weight.is_meta or not fits(weight) else in_bf16(weight.detach())
        if halves is None:
            dispatch(layer, remove_weight)
            return
        layer.packed = packed = torch.ops.assistant.pack(halves.contiguous())
        own = None if bias is None else bias.detach().float()
        layer.cpu_linear = lambda x, _weight, bias: _linear(x, packed, _added(bias, own))
        if remove_weight:
            layer.weight = torch.nn.Parameter(weight.new_empty(0), requires_grad=False)

    utils.dispatch_cpu_unquantized_gemm = dispatch_cpu_unquantized_gemm


def in_bf16(weight: torch.Tensor) -> torch.Tensor | None:
    """The same numbers, where they are what our kernels take and nothing of them is lost."""
    if weight.dtype != precision():
        return None
    halves = weight.bfloat16()
    exact = weight.dtype == halves.dtype or torch.equal(halves.to(weight.dtype), weight)
    return halves if exact else None


def in_int8(kernel: Any) -> None:
    """Layers of weights and inputs in 8 bits, a scale per output and row."""
    process, apply = kernel.process_weights_after_loading, kernel.apply_weights

    def process_weights_after_loading(self: Any, layer: Any) -> None:
        weight, scales, *_ = self._get_layer_params(layer)
        if not rounded_as_ours(self.config) or weight.dtype != torch.int8 or not fits(weight):
            process(self, layer)
        else:
            layer.packed = torch.ops.assistant.pack(weight.detach().contiguous())
            layer.scales = scales.detach().float().flatten().contiguous()
            layer.added = None if layer.bias is None else layer.bias.detach().float()
            setattr(layer, self.layer_param_names[0], None)

    def apply_weights(self: Any, layer: Any, x: torch.Tensor, bias: Any = None) -> torch.Tensor:
        if not hasattr(layer, "packed"):
            return apply(self, layer, x, bias)
        added, flat = _added(bias, layer.added), x.reshape(-1, x.shape[-1])
        y = torch.ops.assistant.linear_int8(flat, layer.packed, layer.scales, added)
        return y.view(*x.shape[:-1], y.shape[-1])

    kernel.process_weights_after_loading, kernel.apply_weights = (
        process_weights_after_loading,
        apply_weights,
    )


def rounded_as_ours(config: Any) -> bool:
    """Whether a scheme of 8 bits is that of our kernel: see `linear_int8`."""
    each_row = config.input_symmetric and not config.is_static_input_scheme
    ours = torch.get_default_dtype() == precision()  # vLLM sets it to that of activations
    return bool(each_row and config.is_channelwise and ours and has_int8())


def fits(weight: torch.Tensor) -> bool:
    """Whether a matrix (outputs, inputs), packed in 8 bits or in bf16, consists of whole tiles."""
    if weight.dim() != 2 or weight.numel() == 0:
        return False
    outputs, inputs = weight.shape
    return not (outputs % OUTPUTS or inputs * min(weight.element_size(), 2) % BYTES)


def _linear(x: torch.Tensor, packed: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    y = torch.ops.assistant.linear(x.reshape(-1, x.shape[-1]), packed, bias)
    return y.view(*x.shape[:-1], y.shape[-1])


def _added(bias: torch.Tensor | None, own: torch.Tensor | None) -> torch.Tensor | None:
    """What is added: nothing where the layer does that later, else its own bias, made ready."""
    if bias is None:
        return None
    return bias.float() if own is None else own


def _shape(x: torch.Tensor, packed: torch.Tensor, _bias: torch.Tensor | None) -> torch.Tensor:
    return x.new_empty(x.shape[0], packed.shape[0])


def _shape_int8(
    x: torch.Tensor, packed: torch.Tensor, _scales: torch.Tensor, _bias: torch.Tensor | None
) -> torch.Tensor:
    return x.new_empty(x.shape[0], packed.shape[0])
