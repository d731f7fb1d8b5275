"""Asks a real vLLM, in this process, for seeded answers to prompts that are read in pieces."""

import os
from typing import Any

from vllm import LLM, SamplingParams

from assistant.inside_vllm.seeds import install

PIECE = 32  # tokens read at once
PROMPT = {"prompt_token_ids": list(range(5, 5 + 3 * PIECE))}
SEEDED = SamplingParams(seed=7, max_tokens=8, temperature=1.0, ignore_eos=True)


def seeded(folder: str) -> dict[str, Any]:
    """What it says, or dies of: first as vLLM is, then mended."""
    os.environ["VLLM_PLUGINS"] = ""
    found: dict[str, Any] = {}
    try:
        said(model(folder, PIECE))
    except RuntimeError as error:
        found["without"] = str(error)
    install()
    install()  # vLLM may call it again
    found["in one piece"] = said(model(folder, 4 * PIECE))
    pieces = model(folder, PIECE)
    found["in pieces"] = said(pieces)
    found["several in pieces"] = said(pieces, 4)
    return found


def model(folder: str, piece: int) -> LLM:
    """One that reads at most `piece` tokens of a prompt at once."""
    return LLM(
        folder, enforce_eager=True, dtype="bfloat16", max_model_len=256, max_num_seqs=8,
        max_num_batched_tokens=piece, enable_prefix_caching=False,
    )  # fmt: skip


def said(llm: LLM, several: int = 1) -> list[list[int]]:
    """The tokens of some answers to the same prompt and seed."""
    answers = llm.generate([PROMPT] * several, SEEDED, use_tqdm=False)
    return [list(answer.outputs[0].token_ids) for answer in answers]
