"""A base of one's own: a tokenizer learnt from text, and a small decoder that knows nothing yet."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from align.data.packing import DOCUMENT_END
from assistant.dialect import TEMPLATE
from assistant.errors import Invalid
from assistant.prompts import TEMPLATE_FILE
from assistant.registry import Registry
from assistant.version import Version

TURN_BEGINS, TURN_ENDS = "<|im_start|>", "<|im_end|>"
SPECIAL = (DOCUMENT_END, TURN_BEGINS, TURN_ENDS)
LEAST_VOCABULARY = 256 + len(SPECIAL)
HEAD = 64  # values of an attention head
WINDOW = 2048


@dataclass(frozen=True)
class Size:
    """How large a model is to be."""

    layers: int = 6
    width: int = 256
    """A multiple of 64."""
    vocabulary: int = 4096
    """Tokens, at most."""


def made_from_scratch(
    texts: Iterable[str],
    size: Size,
    seed: int,
    name: str,
    registry: Registry,
    made_from: str = "",
) -> Version:
    """Register a version with random weights and a tokenizer learnt from the texts.

    `made_from` is noted on its card.
    Raises Invalid for a size that no model can have.
    """
    if size.width % HEAD or size.width < HEAD or size.layers < 1:
        raise Invalid(f"--width must be a multiple of {HEAD}, and --layers 1 or more.")
    if size.vocabulary < LEAST_VOCABULARY:
        raise Invalid(f"--vocabulary must be {LEAST_VOCABULARY} or more: every byte is a token.")
    with registry.staging() as folder:
        tokenizer = learnt_tokenizer(texts, size.vocabulary)
        tokenizer.save_pretrained(folder)
        (folder / TEMPLATE).write_text(TEMPLATE_FILE.read_text(encoding="utf-8"), encoding="utf-8")
        _knowing_nothing(tokenizer, size, seed, folder)
        return registry.register(
            name, folder, kind="scratch", source=f"random weights, {size.layers} layers",
            facts={
                "architecture": "LlamaForCausalLM", "context": WINDOW, "made_from": made_from
            },
        )  # fmt: skip


def learnt_tokenizer(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE (Sennrich et al. 2016; Radford et al. 2019), which can write any text."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=list(SPECIAL), initial_alphabet=alphabet,
        show_progress=False,
    )  # fmt: skip
    made.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token=DOCUMENT_END, eos_token=TURN_ENDS, pad_token=DOCUMENT_END,
        additional_special_tokens=[TURN_BEGINS], model_max_length=WINDOW,
        clean_up_tokenization_spaces=False,
    )  # fmt: skip


def _knowing_nothing(
    tokenizer: PreTrainedTokenizerFast, size: Size, seed: int, folder: Path
) -> None:
    torch.manual_seed(seed)
    ends = tokenizer.convert_tokens_to_ids([TURN_ENDS, DOCUMENT_END])
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=size.width,
        intermediate_size=size.width * 8 // 3 // HEAD * HEAD,
        num_hidden_layers=size.layers,
        num_attention_heads=size.width // HEAD,
        num_key_value_heads=size.width // HEAD,
        head_dim=HEAD,
        max_position_embeddings=WINDOW,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=ends[0],
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config).to(torch.bfloat16)
    model.generation_config = GenerationConfig(eos_token_id=ends)
    model.save_pretrained(folder)
