"""Pairs that teach both halves: a model's own answers beside refusals.

A harmful request: the refusal is better than what the model said. One that only sounds so: what
the model said is better than a refusal. Since the worse side of the first is the model's own, it
learns about what it does, not about what others would have written (Tajwar et al. 2024).
"""

import random
from collections import Counter
from collections.abc import Sequence

from align.data.files import hashed
from align.measure import refuses
from align.safety.requests import Request
from align.sampling import Sampled
from assistant import prompts
from assistant.feedback.rows import Row, Rows

REFUSALS = "safety/refusals.en.txt"
REFUSED_ALREADY = "harmful, and refused already"
REFUSED_WRONGLY = "harmless, and refused: there is no better answer of its own"
CUT_OFF = "harmless, and its answer was cut off: would teach not to stop"
EMPTY = "an answer without text"


def pairs(requests: Sequence[Request], answers: Sequence[Sampled], seed: int) -> Rows:
    """A pair for each answer that teaches something; the others are counted, with the reason."""
    chance, made = random.Random(seed), Rows()
    refusals = prompts.load(REFUSALS).splitlines()
    for request, answer in zip(requests, answers, strict=True):
        why_not = _why_not(request, answer)
        if why_not:
            made.left_out[why_not] += 1
            continue
        refusal, own = _said(chance.choice(refusals)), _said(answer.text)
        better, worse = (refusal, own) if request.harmful else (own, refusal)
        prompt = [{"role": "user", "content": request.text}]
        data = {"prompt": prompt, "chosen": better, "rejected": worse}
        unfinished = () if answer.stopped else ("rejected",)
        made.rows.append(Row(data, f"safety:{hashed(request.text)}", (), unfinished))
    return made


def _why_not(request: Request, answer: Sampled) -> str | None:
    if not answer.text.strip():
        return EMPTY
    if request.harmful:
        return REFUSED_ALREADY if refuses(answer.text) else None
    if refuses(answer.text):
        return REFUSED_WRONGLY
    return None if answer.stopped else CUT_OFF


def _said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def counted(left_out: Counter[str]) -> str:
    """What was left out, in words."""
    return ", ".join(f"{number} {why}" for why, number in left_out.items()) or "none"
