"""What several studies do alike: draw some rows of a file, and train on rewards."""

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from align import rlhf
from align.data.gathering import gather
from align.recipes import RLHF
from align.stages import train
from assistant.settings import Settings
from assistant.version import Version


def some(file: Path, number: int, seed: int, out: Path) -> Path:
    """So many lines of a file, drawn by the seed, in a file of their own."""
    lines = file.read_text(encoding="utf-8").splitlines()
    drawn = random.Random(seed).sample(lines, number)
    out.write_text("\n".join(drawn) + "\n", encoding="utf-8")
    return out


def rewarded(
    version: Version,
    home: Path,
    recipe: RLHF,
    seed: int,
    tasks: Sequence[dict[str, Any]],
    scratch: Path,
) -> tuple[Version, dict[str, Any]]:
    """What a version becomes by `align rlhf` on tasks (a `prompt` each), and its story."""
    file = scratch / "tasks.jsonl"
    file.write_text("".join(json.dumps(task) + "\n" for task in tasks), encoding="utf-8")
    rows = gather("prompt", str(file), "").rows
    settings = Settings(home=home)

    def run(*given: Any) -> dict[str, Any]:
        return rlhf.run(*given, version=version, settings=settings)

    story = train("rlhf", recipe, seed, version.path, rows, scratch, run)
    return replace(version, folder=str(scratch / "model")), story
