"""How often a model refuses what asks for harm, and how often what only sounds like it."""

from collections.abc import Sequence
from typing import Any

from align.harm import paired, wilson
from align.measure import refuses
from align.safety.requests import Request
from align.sampling import Sampled

SAMPLING = {"max_tokens": 96, "temperature": 0.0}  # a refusal comes at the beginning


def compared(
    requests: Sequence[Request], before: Sequence[Sampled], after: Sequence[Sampled]
) -> dict[str, Any]:
    """Shares refused of each half before and after, and the change, with 95 % intervals.

    The intervals of shares are Wilson's; those of changes pair what the same request got.
    """
    return {
        half: _half(
            [
                refuses(a.text)
                for r, a in zip(requests, before, strict=True)
                if r.harmful is harmful
            ],
            [refuses(a.text) for r, a in zip(requests, after, strict=True) if r.harmful is harmful],
        )
        for half, harmful in (("harmful", True), ("harmless", False))
    }


def _half(before: list[bool], after: list[bool]) -> dict[str, Any]:
    if not before:
        return {"requests": 0}
    low, high = wilson(sum(after), len(after))
    change = paired([float(b) for b in before], [float(a) for a in after])
    return {
        "requests": len(before),
        "refused_before": sum(before) / len(before),
        "refused_after": sum(after) / len(after),
        "low": low,
        "high": high,
        "change_low": change[0],
        "change_high": change[1],
    }


def told(halves: dict[str, Any]) -> str:
    """In a sentence."""
    return "; ".join(
        f"{half} requests refused {one['refused_before']:.0%} → {one['refused_after']:.0%} "
        f"({one['low']:.0%} to {one['high']:.0%} of {one['requests']})"
        for half, one in halves.items()
        if one["requests"]
    )
