"""Asks a real vLLM, in this process, for seeded answers to prompts that are read in pieces.

Run by test_seeds.py; prints what happens without our patch and with it, as JSON.
"""

import json
import os
import sys

os.environ |= {
    "VLLM_PLUGINS": "",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "HF_HUB_OFFLINE": "1",
}

from vllm import LLM, SamplingParams

from assistant.inside_vllm.seeds import install

PIECE = 32  # tokens read at once
PROMPT = {"prompt_token_ids": list(range(5, 5 + 3 * PIECE))}
SEEDED = SamplingParams(seed=7, max_tokens=8, temperature=1.0, ignore_eos=True)


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


def main() -> None:
    """First as vLLM is, then mended."""
    folder, found = sys.argv[1], {}
    try:
        said(model(folder, PIECE))
    except RuntimeError as error:
        found["without"] = str(error)
    install()
    install()  # vLLM may call it again
    found["in one piece"] = said(model(folder, 4 * PIECE))
    found["in pieces"] = said(model(folder, PIECE))
    found["several in pieces"] = said(model(folder, PIECE), 4)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
