"""Curves as pictures, beside their numbers."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

PICTURE = "curve.svg"
SHOWN = (
    "loss",
    "rewards/accuracies",
    "rewards/margins",
    "reward",
    "kl",
    "completions/mean_length",
    "completions/clipped_ratio",
    "repeated",
    "models_apart",
    "held_out_right",
)
"""What is drawn of a curve, in that order, where it has it."""
SMOOTHING = 0.9
FROM = 20  # points, from which on a smoothed line helps
COLUMNS = 3
BY = " by "
WIDE, HIGH = 4.2, 3.0  # inches of one panel
STYLE: Any = {"svg.fonttype": "none", "svg.hashsalt": "curve", "font.size": 9}
"""The same picture every time."""

Points = Sequence[tuple[float, float]]


def draw_curve(curve: Path, picture: Path) -> None:
    """Draw the numbers of a curve (one JSON object a line, each with its `step`) as SVG."""
    entries = [json.loads(line) for line in curve.read_text(encoding="utf-8").splitlines()]
    panels = {
        name: points
        for name in SHOWN
        if (points := [(e["step"], e[name]) for e in entries if name in e])
    }
    # Where the reward still rises as the model moves away, and where not:
    if both := sorted((e["kl"], e["reward"]) for e in entries if "kl" in e and "reward" in e):
        panels[f"reward{BY}kl"] = both
    if panels:
        draw(panels, picture, "step")


def draw(panels: Mapping[str, Points], picture: Path, across: str) -> None:
    """Draw one panel a name, three in a row; what is noisy gets a smoothed line, too.

    What is drawn lies over `across`, or, in a panel called "one by other", over the other.
    """
    with rc_context(STYLE):
        columns = min(COLUMNS, len(panels))
        rows = math.ceil(len(panels) / columns)
        figure = Figure(figsize=(WIDE * columns, HIGH * rows), layout="constrained")
        for place, (name, points) in enumerate(panels.items(), start=1):
            axis = figure.add_subplot(rows, columns, place)
            steps, values = zip(*points, strict=True)
            noisy = len(points) >= FROM
            axis.plot(steps, values, alpha=0.35 if noisy else 1, color="#0d9488")
            if noisy:
                axis.plot(steps, smoothed(values), color="#0d9488")
            axis.set(title=name, xlabel=name.partition(BY)[2] or across)
            axis.grid(alpha=0.3)
        figure.savefig(picture, metadata={"Date": None})


def smoothed(values: Sequence[float]) -> list[float]:
    """An exponential moving average, corrected for its beginning (Kingma & Ba 2015)."""
    total, found = 0.0, []
    for number, value in enumerate(values, start=1):
        total = SMOOTHING * total + (1 - SMOOTHING) * value
        found.append(total / (1 - SMOOTHING**number))
    return found
