"""How faithful a smaller form of a version is to the version, on texts shipped with the program."""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from align import int8
from align.measure import harm_questions, loss, plain_paragraphs
from align.rendering import render_prompt
from align.sampling import engine_of
from align.steady import divergence
from assistant.published import Published
from assistant.version import Version

QUESTIONS = 32
ANSWER_TOKENS = 48
MOST_DIVERGENCE = 0.02  # nats a token
LEAST_AGREEMENT = 0.95
MOST_PERPLEXITY = 0.01  # more, as a share


@dataclass(frozen=True)
class Check:
    """One number, the worst it may be, and what is wrong where it is worse."""

    value: float
    limit: float
    says: str
    least: bool = False
    """Whether the limit is the least it may be, rather than the most."""

    @property
    def failed(self) -> bool:
        """Not a number fails, too."""
        return not (self.value >= self.limit if self.least else self.value <= self.limit)


@dataclass(frozen=True)
class Expected:
    """What a version does itself."""

    answers: list[tuple[list[int], list[int]]]
    """(prompt, greedy answer) to some of the harm prompts, as token ids."""
    logps: list[torch.Tensor]
    """Log-probabilities of every token at each place of an answer, (places, vocabulary)."""
    plain: float
    """Mean negative log-likelihood per token of plain text, in nats."""


def expected_of(model: Any, tokenizer: Any) -> Expected:
    """Write down what a model answers, always taking the likeliest token, and how it reads."""
    answers = greedy_answers(model, tokenizer)
    with torch.inference_mode():
        plain = fmean(loss(model, tokenizer, text) for text in plain_paragraphs())
    return Expected(answers, [_chosen_from(model, *answer) for answer in answers], plain)


def greedy_answers(model: Any, tokenizer: Any) -> list[tuple[list[int], list[int]]]:
    """What a model answers to some of the harm prompts when it always takes the likeliest token."""
    found = []
    for question in harm_questions()[:QUESTIONS]:
        prompt = render_prompt(tokenizer, [{"role": "user", "content": question}])
        with torch.inference_mode():
            ids = model.generate(
                torch.tensor([prompt]),
                attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
                do_sample=False,
                max_new_tokens=ANSWER_TOKENS,
                pad_token_id=tokenizer.pad_token_id,
            )
        found.append((prompt, ids[0, len(prompt) :].tolist()))
    return found


def in_tokens(expected: Expected, prepared: Any, kept: int8.Kept) -> dict[str, Check]:
    """How the next token is chosen along a version's own answers: divergence and agreement.

    The divergence is KL(version ‖ 8 bits) by token, every answer weighing the same; the agreement
    is how often both find the same token likeliest.
    """
    with int8.as_served(prepared, kept):
        found = [_chosen_from(prepared, *answer) for answer in expected.answers]
    pairs = list(zip(expected.logps, found, strict=True))
    same = torch.cat([before.argmax(-1) == after.argmax(-1) for before, after in pairs])
    return {
        "divergence": Check(
            fmean(float(divergence(before, after)) for before, after in pairs),
            MOST_DIVERGENCE,
            "tokens are drawn differently",
        ),
        "agreement": Check(
            float(same.float().mean()), LEAST_AGREEMENT, "other tokens are likeliest", least=True
        ),
    }


def _chosen_from(model: Any, prompt: list[int], answer: list[int]) -> torch.Tensor:
    """Log-probabilities of every token at each place of an answer."""
    with torch.inference_mode():
        logits = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
    return logits.float().log_softmax(-1)


def in_perplexity(
    expected: Expected, tokenizer: Any, version: Version, made: Path, home: Path
) -> dict[str, Check]:
    """How much less likely plain text is to a real engine of the smaller form in `made`.

    Raises EngineError if no engine can serve it.
    """
    smaller = replace(version, published=Published("int8", folder=str(made)))
    texts = [tokenizer(text).input_ids for text in plain_paragraphs()]
    after = asyncio.run(_engine_loss(smaller, texts, home))
    more = math.exp(after - expected.plain) - 1
    return {"perplexity": Check(more, MOST_PERPLEXITY, "plain text is less likely")}


async def _engine_loss(version: Version, texts: Sequence[list[int]], home: Path) -> float:
    async with engine_of(version, home) as engine:
        losses = []
        for ids in texts:
            body = {"prompt": ids, "max_tokens": 1, "prompt_logprobs": 0}
            async with engine.post("/v1/completions", body, None) as response:
                told = (await response.json())["choices"][0]["prompt_logprobs"]
            pairs = zip(told[1:], ids[1:], strict=True)
            losses.append(-fmean(found[str(token)]["logprob"] for found, token in pairs))
        return fmean(losses)
