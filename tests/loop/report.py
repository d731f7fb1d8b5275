"""From pairs of answers to the numbers of the table, and the table."""

from typing import Any

import numpy as np

from tests.loop.people import Person

RESAMPLES = 10_000
WORTH = {"first": 1.0, "tie": 0.5, "both_bad": 0.5, "second": 0.0}


def summary(pairs: list[dict[str, Any]], judge: Person) -> dict[str, Any]:
    """Win rate of new over old with its 95 % interval (by prompts), and what else changed."""
    wins = [WORTH[judge.choice(pair["new"]["text"], pair["old"]["text"])] for pair in pairs]
    low, high = interval(wins)
    found: dict[str, Any] = {
        "questions": len(pairs),
        "win_rate": float(np.mean(wins)),
        "low": low,
        "high": high,
    }
    for side in ("old", "new"):
        answers = [pair[side] for pair in pairs]
        found[side] = {
            "compliance": float(np.mean([judge.thumb(a["text"]) == "up" for a in answers])),
            "tokens": float(np.mean([a["tokens"] for a in answers])),
            "stop_rate": float(np.mean([a["finish"] == "stop" for a in answers])),
        }
    lengths = [(pair["new"]["tokens"], pair["old"]["tokens"]) for pair in pairs]
    found["longer"] = float(np.mean([(n > o) + 0.5 * (n == o) for n, o in lengths]))
    return found


def interval(values: list[float]) -> tuple[float, float]:
    """A 95 % percentile bootstrap interval of the mean over prompts."""
    drawn = np.random.default_rng(0).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.quantile(np.asarray(values)[drawn].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


def table(cases: list[dict[str, Any]]) -> str:
    """All cases as Markdown, the failed ones, too."""
    lines = [
        "| rule, seed | win rate (95 %) | complies before → after | tokens (new longer) "
        "| stop rate | perplexity | last vote → trial | trial | peak |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [_line(case) for case in cases]
    return "\n".join(lines)


def _line(case: dict[str, Any]) -> str:
    final, round_, trial = case["final"], case["round"], case["trial"]
    old, new = final["old"], final["new"]
    checks = {check["name"]: check for check in round_["outcome"]["checks"]}
    perplexity = checks["perplexity"]
    cells = (
        f"{case['rule']}, {case['seed']}",
        f"{final['win_rate']:.1%} ({final['low']:.1%} to {final['high']:.1%})",
        f"{old['compliance']:.0%} → {new['compliance']:.0%}",
        f"{old['tokens']:.0f} → {new['tokens']:.0f} ({final['longer']:.0%})",
        f"{old['stop_rate']:.1%} → {new['stop_rate']:.1%}",
        f"{perplexity['before']:.2f} → {perplexity['after']:.2f}",
        f"{round_['seconds_until_trial'] / 60:.1f} min",
        f"{trial['decision']} after {trial['votes']} votes",
        f"{round_['peak_gib']:.1f} GiB",
    )
    return "| " + " | ".join(cells) + " |"
