"""Asks a real vLLM, in this process, and watches how many threads its attention takes."""

from pathlib import Path
from typing import Any

import torch
from vllm import LLM, SamplingParams
from vllm.v1.attention.backends.cpu_attn import CPUAttentionBackendImpl

from assistant.inside_vllm import gemm, threads

TOKENS = 12
PROMPTS = [{"prompt_token_ids": list(range(n, n + 100))} for n in (5, 205)]
GREEDY = SamplingParams(temperature=0, max_tokens=TOKENS, ignore_eos=True)


def watching() -> list[list[int]]:
    """Threads and rows of every attention from now on."""
    seen: list[list[int]] = []
    forward = CPUAttentionBackendImpl.forward

    def forward_seen(self: Any, layer: Any, query: torch.Tensor, *args: Any, **named: Any) -> Any:
        if args[3] is not None:
            seen.append([torch.get_num_threads(), args[3].num_actual_tokens])
        return forward(self, layer, query, *args, **named)

    CPUAttentionBackendImpl.forward = forward_seen
    return seen


def watched(folder: str) -> dict[str, Any]:
    """As we serve it, with contexts that count as long, and as vLLM would have it."""
    seen, found = watching(), {}
    llm = LLM(
        folder, enforce_eager=True, dtype=gemm.precision() or "auto", max_model_len=256,
        max_num_seqs=8, enable_prefix_caching=False,
    )  # fmt: skip
    small, long = threads.SMALL, threads.LONG
    for case, *limits in (("ours", small, long), ("long", small, 0), ("vLLM's", 0, long)):
        threads.SMALL, threads.LONG = limits
        seen.clear()
        answers = llm.generate(PROMPTS, GREEDY, use_tqdm=False)
        found[case] = {
            "read by": sorted({number for number, rows in seen if rows > len(PROMPTS)}),
            "answered by": sorted({number for number, rows in seen if rows == len(PROMPTS)}),
            "said": [list(answer.outputs[0].token_ids) for answer in answers],
        }
    found["Gloo's threads"] = sum("gloo" in name for name in names_of_threads())
    return found


def names_of_threads() -> list[str]:
    """Of this process."""
    return [(task / "comm").read_text() for task in Path("/proc/self/task").iterdir()]
