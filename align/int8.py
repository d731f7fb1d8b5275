"""Weights and activations in 8 bits, for faster serving: SmoothQuant, then rounding.

Linear layers but the head become symmetric int8: weights by output channel, activations by token
while serving (W8A8, in the compressed-tensors format that vLLM reads). Before that, what makes
activations hard to round is moved into the weights (Xiao et al. 2023, arXiv 2211.10438, eq. 4),
folded into the norms before attention and MLP and into the rows of `up_proj`, so that serving pays
nothing for it. What harms most all the same stays in bf16.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from safetensors.torch import save_file

from align.steady import divergence
from align.steps import Report
from assistant.errors import Invalid

Kept = frozenset[str]  # names of linear layers that stay in bf16
FEW = 4  # texts on which every linear layer is tried alone
ALPHAS = (0.3, 0.4, 0.5, 0.6)  # how much of what is hard to round moves into the weights
TINY = 1e-5
MOST = 127
WEIGHTS = "model.safetensors"
HEAD = "lm_head"
NOT_COPIED = ("card.json", "config.json", f"{WEIGHTS}.index.json")
ATTENTION = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
MLP = ("mlp.gate_proj", "mlp.up_proj")
FORMAT = {
    "quant_method": "compressed-tensors",
    "format": "int-quantized",
    "quantization_status": "compressed",
    "kv_cache_scheme": None,
    "config_groups": {
        "group_0": {
            "targets": ["Linear"],
            "weights": {
                "num_bits": 8,
                "type": "int",
                "symmetric": True,
                "strategy": "channel",
                "dynamic": False,
            },
            "input_activations": {
                "num_bits": 8,
                "type": "int",
                "symmetric": True,
                "strategy": "token",
                "dynamic": True,
            },
            "output_activations": None,
        }
    },
}


def prepare(model: Any, texts: Sequence[torch.Tensor], report: Report) -> dict[Kept, float]:
    """Make a model ready for rounding, without changing what it computes.

    What is hard to round is moved from activations into weights, as far (of `ALPHAS`) as rounding
    changes least on `texts` (token ids, (1, length) each). Returns by how much rounding each group
    of linear layers alone still changes the next token (nats), for `hardest`. Raises Invalid for a
    model that is not built like Llama.
    """
    _check(model)
    exact = [_log_probabilities(model, ids) for ids in texts]

    def harm(kept: Kept, few: int | None = None) -> float:
        with as_served(model, kept):
            found = [_log_probabilities(model, ids) for ids in texts[:few]]
        return fmean(float(divergence(*pair)) for pair in zip(exact[:few], found, strict=True))

    ranges = _ranges(model, texts)
    as_made = {name: weight.clone() for name, weight in model.state_dict().items()}
    harms = {}
    for alpha in ALPHAS:
        report(f"Smoothing with α = {alpha}")
        _smooth(model, ranges, alpha)
        harms[alpha] = harm(frozenset())
        model.load_state_dict(as_made)
    _smooth(model, ranges, min(harms, key=lambda alpha: harms[alpha]))
    report("Finding what is hardest to round")
    everything = frozenset(name for name, _ in _linears(model))
    return {group: harm(everything - group, few=FEW) for group in _groups(model)}


def hardest(model: Any, harms: dict[Kept, float], share: float) -> Kept:
    """The groups that harm most for their size, up to a share of all weights that are rounded."""
    sizes = {name: linear.weight.numel() for name, linear in _linears(model)}
    size = {group: sum(sizes[name] for name in group) for group in harms}
    room, kept = share * sum(sizes.values()), frozenset[str]()
    for group in sorted(harms, key=lambda group: -harms[group] / size[group]):
        if size[group] <= room:
            room -= size[group]
            kept |= group
    return kept


def _log_probabilities(model: Any, ids: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return model(ids).logits[0].float().log_softmax(-1)


def _smooth(model: Any, ranges: dict[str, torch.Tensor], alpha: float) -> None:
    for name, layer in _layers(model):
        attention = [layer.get_submodule(part) for part in ATTENTION]
        mlp = [layer.get_submodule(part) for part in MLP]
        for norm, linears, part in (
            (layer.input_layernorm, attention, ATTENTION[0]),
            (layer.post_attention_layernorm, mlp, MLP[0]),
        ):
            scales = _scales(ranges[f"{name}.{part}"], linears, alpha)
            norm.weight.data /= scales
            for linear in linears:
                linear.weight.data *= scales
        down, up = layer.mlp.down_proj, layer.mlp.up_proj
        scales = _scales(ranges[f"{name}.mlp.down_proj"], [down], alpha)
        up.weight.data /= scales[:, None]
        down.weight.data *= scales


def rounded(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A weight (out, in) as int8, and its scale (out, 1) by output channel, itself as in bf16."""
    scale = weight.abs().amax(1, keepdim=True).clamp(min=TINY) / MOST
    scale = scale.to(torch.bfloat16).float()
    return (weight / scale).round().clamp(-MOST, MOST).to(torch.int8), scale


@contextmanager
def as_served(model: Any, kept: Kept) -> Iterator[None]:
    """Inside the block the model computes as an int8 engine would; linears in `kept` as before."""
    hooks, before = [], {}
    for name, linear in _linears(model):
        if name in kept:
            continue
        before[name] = linear.weight.data
        whole, scale = rounded(linear.weight.data.float())
        linear.weight.data = (whole * scale).to(linear.weight.dtype)
        hooks.append(linear.register_forward_pre_hook(lambda _, given: (_by_token(given[0]),)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for name, linear in _linears(model):
            linear.weight.data = before.get(name, linear.weight.data)


def write(model: Any, kept: Kept, source: Path, out: Path) -> None:
    """Write a prepared model's weights, as int8 but for `kept`, beside `source`'s other files."""
    out.mkdir(parents=True)
    for file in source.iterdir():
        if file.suffix in (".json", ".jinja", ".txt", ".model") and file.name not in NOT_COPIED:
            shutil.copyfile(file, out / file.name)
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    config["quantization_config"] = FORMAT | {"ignore": [HEAD, *sorted(kept)]}
    (out / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    tensors: dict[str, torch.Tensor] = {}
    linears = {f"{name}.weight" for name, _ in _linears(model) if name not in kept}
    for name, weight in model.state_dict().items():
        if name == f"{HEAD}.weight" and model.config.tie_word_embeddings:
            continue
        if name in linears:
            whole, scale = rounded(weight.float())
            tensors[name] = whole
            tensors[f"{name}_scale"] = scale.to(torch.bfloat16)
        else:
            tensors[name] = weight.to(torch.bfloat16).contiguous()
    save_file(tensors, out / WEIGHTS, metadata={"format": "pt"})


def _ranges(model: Any, texts: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
    """The largest size of each input channel of every linear layer."""
    found: dict[str, torch.Tensor] = {}

    def watch(name: str) -> Any:
        def look(_: Any, given: tuple[torch.Tensor, ...]) -> None:
            largest = given[0].detach().abs().flatten(0, -2).amax(0).float()
            found[name] = torch.maximum(found.get(name, largest), largest)

        return look

    hooks = [m.register_forward_pre_hook(watch(name)) for name, m in _linears(model)]
    with torch.inference_mode():
        for ids in texts:
            model(ids)
    for hook in hooks:
        hook.remove()
    return found


def _scales(activations: torch.Tensor, linears: Sequence[Any], alpha: float) -> torch.Tensor:
    """SmoothQuant's eq. 4 for the input channels that some linear layers share."""
    weights = torch.stack([m.weight.data.float().abs().amax(0) for m in linears]).amax(0)
    scales = activations.clamp(min=TINY) ** alpha / weights.clamp(min=TINY) ** (1 - alpha)
    return scales.clamp(min=TINY).to(linears[0].weight.dtype)


def _by_token(values: torch.Tensor) -> torch.Tensor:
    scale = values.abs().amax(-1, keepdim=True).clamp(min=TINY) / MOST
    return (values / scale).round().clamp(-MOST, MOST) * scale


def _check(model: Any) -> None:
    norms = ("input_layernorm", "post_attention_layernorm")
    needed = (*norms, *ATTENTION, "self_attn.o_proj", *MLP, "mlp.down_proj")
    layers = getattr(getattr(model, "model", None), "layers", [None])
    known = [dict(layer.named_modules()) if layer is not None else {} for layer in layers]
    if missing := [part for part in needed if any(part not in modules for modules in known)]:
        raise Invalid(
            f"{type(model).__name__} cannot be published in 8 bits: its layers have no "
            f"{missing[0]}, as Llama's have. It is served in bf16."
        )


def _layers(model: Any) -> Iterator[tuple[str, Any]]:
    for number, layer in enumerate(model.model.layers):
        yield f"model.layers.{number}", layer


def _groups(model: Any) -> list[Kept]:
    """Linear layers that an engine computes as one, and that are rounded together or not at all."""
    return [
        frozenset(f"{name}.{part}" for part in parts)
        for name, _ in _layers(model)
        for parts in (ATTENTION, ("self_attn.o_proj",), MLP, ("mlp.down_proj",))
    ]


def _linears(model: Any) -> Iterator[tuple[str, Any]]:
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and name != HEAD:
            yield name, module
