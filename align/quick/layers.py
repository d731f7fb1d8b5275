"""Llama's layers under LoRA on a CPU, without what a trainer's time mostly goes into there.

TRL pads rows to one length, computes what two answers share, their question, twice, and lets
PyTorch write every intermediate of every small operation to memory, in float32 for adapters. Here
rows lie one after the other without padding, two rows that begin alike share that beginning, and
what lies between two large products is one pass over memory (`layers.cpp`). Values and gradients
are the same, which `tests/align/quick/test_layers.py` checks.
"""

import types
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.models.llama.modeling_llama import LlamaModel

from align.quick.loading import OURS, load
from align.quick.products import DEPTH, Matrix, outer, product
from align.quick.rows import Laid, laid, padded_right

LANES = 16  # numbers that kernels take at once: a head is a multiple of it
ATTENTION = ("q_proj", "k_proj", "v_proj")
GATED = ("gate_proj", "up_proj")
MLP = (*GATED, "down_proj")
Adapters = tuple[torch.Tensor, ...]


class Projection:
    """Some linear layers of the same inputs as one, and their adapters as one: x Wᵀ + x Aᵀ Bᵀ."""

    def __init__(self, layers: list[Any]) -> None:
        self.layers = layers
        weights = [layer.base_layer.weight for layer in layers]
        whole = torch.cat([weight.detach() for weight in weights])
        self.parts = []  # of each layer: its rows of W, and its columns of B and rows of A
        row = column = 0
        for layer, weight in zip(layers, weights, strict=True):
            rows = slice(row, row := row + len(weight))
            columns = slice(column, column := column + layer.r[adapter_of(layer)])
            self.parts.append((rows, columns))
            weight.data = whole[rows]  # a part of it now, not a copy
        column += -column % DEPTH  # whole tiles, of zeros at the end
        down, up = whole.new_zeros(column, whole.shape[1]), whole.new_zeros(row, column)
        self.weight, self.down, self.up = Matrix(whole), Matrix(down), Matrix(up)
        self.weight_back, self.down_back, self.up_back = (
            Matrix(whole.T),
            Matrix(down.T),
            Matrix(up.T),
        )

    def refreshed(self) -> list[torch.Tensor]:
        """Take over what was learnt since, and return it: A and B of each layer."""
        matrices = []
        for layer, (rows, columns) in zip(self.layers, self.parts, strict=True):
            name = adapter_of(layer)
            a, b = layer.lora_A[name].weight, layer.lora_B[name].weight
            self.down.weights[columns] = a.detach()
            self.up.weights[rows, columns] = (
                b.detach().to(self.up.weights.dtype) * layer.scaling[name]
            )
            matrices += [a, b]
        for matrix in (self.down, self.up, self.down_back, self.up_back):
            matrix.refresh()
        return matrices

    def forward(self, x: torch.Tensor, adapted: bool, onto: Any = None) -> Adapters:
        """The result (n, out), added to `onto` if given, and x Aᵀ (n, ranks)."""
        if not adapted:
            return product(x, self.weight, onto=onto), x.new_empty(0)
        low = product(x, self.down)
        return product(x, self.weight, low, self.up, onto), low

    def backward(self, pull: torch.Tensor) -> Adapters:
        """The gradient of x (n, in), and that of x Aᵀ (n, ranks)."""
        low = product(pull, self.up_back)
        return product(pull, self.weight_back, low, self.down_back), low

    def learnt(
        self, pull: torch.Tensor, pull_low: torch.Tensor, x: torch.Tensor, low: torch.Tensor
    ) -> list[torch.Tensor]:
        """The gradients of what `refreshed` returned."""
        of_down, of_up, found = outer(pull_low, x), outer(low, pull).T, []
        for layer, (rows, columns) in zip(self.layers, self.parts, strict=True):
            name = adapter_of(layer)
            found.append(of_down[columns].to(layer.lora_A[name].weight.dtype))
            of_b = of_up[rows, columns].to(layer.lora_B[name].weight.dtype)
            found.append(of_b * layer.scaling[name])
        return found


def adapter_of(layer: Any) -> str:
    """The name of the adapter of a linear layer."""
    return str(layer.active_adapters[0])


class Layer:
    """One of a model's layers."""

    def __init__(self, layer: Any, config: Any) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self.qkv = Projection([getattr(attention, name) for name in ATTENTION])
        self.out = Projection([attention.o_proj])
        self.gated = Projection([getattr(mlp, name) for name in GATED])
        self.down = Projection([mlp.down_proj])
        self.before, self.between = layer.input_layernorm, layer.post_attention_layernorm
        self.queries, self.keys = config.num_attention_heads, config.num_key_value_heads
        self.width = attention.head_dim

    @property
    def adapted(self) -> bool:
        """Whether adapters are in use."""
        return not self.down.layers[0].disable_adapters

    @property
    def projections(self) -> tuple[Projection, ...]:
        """In the order in which a token meets them."""
        return self.qkv, self.out, self.gated, self.down


class _Through(torch.autograd.Function):  # type: ignore[misc]
    """Hidden states (n, width) through one layer."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        layer: Layer,
        rows: Laid,
        angles: Adapters,
        adapted: bool,
        *_: torch.Tensor,
    ) -> torch.Tensor:
        normed, scales = norm(x, layer.before)
        qkv, low_qkv = layer.qkv.forward(normed, adapted)
        turned = layer.queries + layer.keys
        OURS.turn(qkv, *angles, turned, 1.0)
        said = x.new_empty(len(x), layer.queries * layer.width)
        norms = torch.empty(len(x), layer.queries)
        OURS.attend(qkv, rows.segments, layer.queries, layer.keys, said, norms)
        middle, low_out = layer.out.forward(said, adapted, x)
        normed, scales_between = norm(middle, layer.between)
        wide, low_wide = layer.gated.forward(normed, adapted)
        hidden = wide.new_empty(len(x), wide.shape[1] // 2)
        OURS.gated(wide, hidden)
        end, low_down = layer.down.forward(hidden, adapted, middle)
        ctx.layer, ctx.rows, ctx.angles = layer, rows, angles
        ctx.save_for_backward(
            x, scales, qkv, low_qkv, said, norms, middle, low_out, scales_between, wide, low_wide,
            low_down,
        )  # fmt: skip
        return end

    @staticmethod
    def backward(ctx: Any, pull: torch.Tensor) -> Any:
        layer: Layer = ctx.layer
        (
            x, scales, qkv, low_qkv, said, norms, middle, low_out, scales_between, wide, low_wide,
            low_down,
        ) = ctx.saved_tensors  # fmt: skip
        pull = pull.contiguous()
        of_hidden, of_low = layer.down.backward(pull)
        hidden, of_wide = torch.empty_like(of_hidden), torch.empty_like(wide)
        OURS.gated_back(wide, of_hidden, of_wide, hidden)
        learnt_down = layer.down.learnt(pull, of_low, hidden, low_down)

        of_normed, of_low = layer.gated.backward(of_wide)
        of_middle, normed = pull.clone(), torch.empty_like(middle)
        OURS.norm_back(middle, layer.between.weight, scales_between, of_normed, of_middle, normed)
        learnt_gated = layer.gated.learnt(of_wide, of_low, normed, low_wide)

        of_said, of_low = layer.out.backward(of_middle)
        learnt_out = layer.out.learnt(of_middle, of_low, said, low_out)
        of_qkv = torch.empty_like(qkv)
        OURS.attend_back(
            qkv, ctx.rows.segments, layer.queries, layer.keys, said, norms, of_said, of_qkv
        )
        OURS.turn(of_qkv, *ctx.angles, layer.queries + layer.keys, -1.0)

        of_normed, of_low = layer.qkv.backward(of_qkv)
        of_x, normed = of_middle, torch.empty_like(x)
        OURS.norm_back(x, layer.before.weight, scales, of_normed, of_x, normed)
        learnt_qkv = layer.qkv.learnt(of_qkv, of_low, normed, low_qkv)
        return (
            of_x if ctx.needs_input_grad[0] else None, None, None, None, None,
            *learnt_qkv, *learnt_out, *learnt_gated, *learnt_down,
        )  # fmt: skip


def norm(x: torch.Tensor, module: Any) -> Adapters:
    """A normed copy (n, width), and what each row was multiplied by (n,)."""
    out, scales = torch.empty_like(x), torch.empty(len(x))
    OURS.norm(x, module.weight, module.variance_epsilon, out, scales)
    return out, scales


def quicken(model: LlamaModel) -> bool:
    """Let a model go through its layers so, where it is one of these; whether it does from now on.

    Its forward pass is as before where it is not told of rows that are padded on the right: with a
    cache, with positions, or with embeddings.
    """
    if not fits(model) or not load():
        return False
    layers = [Layer(layer, model.config) for layer in model.layers]
    original = model.forward

    def forward(
        self: Any,
        input_ids: Any = None,
        attention_mask: Any = None,
        *args: Any,
        use_cache: bool | None = None,
        **others: Any,
    ) -> BaseModelOutputWithPast:
        special = use_cache or any(given is not None for given in (*args, *others.values()))
        if input_ids is None or special or not padded_right(attention_mask):
            return original(input_ids, attention_mask, *args, use_cache=use_cache, **others)
        rows = laid(input_ids, attention_mask)
        with torch.autocast("cpu", enabled=False):
            x = self.embed_tokens(input_ids.flatten()[rows.tokens])
            positions = rows.positions[None]
            cosines, sines = (a[0].contiguous() for a in self.rotary_emb(x.float(), positions))
            for layer in layers:
                adapted = layer.adapted
                parts = layer.projections if adapted else ()
                matrices = [matrix for part in parts for matrix in part.refreshed()]
                x = _Through.apply(x, layer, rows, (cosines, sines), adapted, *matrices)
            x = self.norm(x)
        found = x.index_select(0, rows.places.flatten()).view(*input_ids.shape, -1)
        return BaseModelOutputWithPast(last_hidden_state=found)

    model.forward = types.MethodType(forward, model)
    return True


def fits(model: Any) -> bool:
    """Whether a model is a plain Llama on a CPU, every linear layer of which has one adapter."""
    if type(model) is not LlamaModel or model.device.type != "cpu":
        return False
    config, layers = model.config, list(model.layers)
    kinds = {weight.dtype for name, weight in model.named_parameters() if "lora_" not in name}
    if config.hidden_act != "silu" or config.attention_dropout or len(kinds) != 1:
        return False
    if not kinds <= {torch.float32, torch.bfloat16} or layers[0].self_attn.head_dim % LANES:
        return False
    return all(
        is_adapted(getattr(part, name))
        for layer in layers
        for part, names in ((layer.self_attn, (*ATTENTION, "o_proj")), (layer.mlp, MLP))
        for name in names
    )


def is_adapted(module: Any) -> bool:
    """Whether a linear layer has one plain adapter that is learnt, and no bias."""
    if not isinstance(module, LoraLayer) or len(module.lora_A) != 1:
        return False
    name = adapter_of(module)
    return (
        name in module.lora_A
        and not module.merged
        and module.base_layer.bias is None
        and module.lora_B[name].bias is None
        and not module.lora_variant
        and isinstance(module.lora_dropout[name], torch.nn.Identity)
    )
