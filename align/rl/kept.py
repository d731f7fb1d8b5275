"""Files of a training that rewards: answers to read, and which answers got no reward, and why."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

MOST = 16  # answers of a phase that are kept to read


class Kept(TrainerCallback):  # type: ignore[misc]
    """Two files of lines, each of a phase's first step; a killed training goes on with them."""

    def __init__(self, folder: Path) -> None:
        self._samples = folder / "samples.jsonl"
        self._failures = folder / "without_reward.jsonl"

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Phases after the checkpoint that training goes on from are answered again."""
        self.forget_from(state.global_step)

    def forget_from(self, step: int) -> None:
        """Drop what was noted of phases from this step on."""
        for file in (self._samples, self._failures):
            lines = [line for line in _read(file) if line["step"] < step]
            whole = file.with_suffix(".new")
            whole.write_text("".join(map(_line, lines)), encoding="utf-8")
            whole.replace(file)

    def note(
        self, samples: Sequence[Mapping[str, Any]], failed: Mapping[str, Counter[str]], step: int
    ) -> None:
        """Add a phase: its answers, and how many got no reward by each rewarder and reason."""
        with self._samples.open("a", encoding="utf-8") as file:
            file.writelines(_line({"step": step, **sample}) for sample in samples[:MOST])
        with self._failures.open("a", encoding="utf-8") as file:
            for name, reasons in failed.items():
                for why, answers in reasons.items():
                    told = {"step": step, "rewarder": name, "why": why, "answers": answers}
                    file.write(_line(told))

    def without_reward(self) -> dict[str, dict[str, int]]:
        """Answers without a reward in all phases, by rewarder and reason."""
        found: dict[str, Counter[str]] = {}
        for line in _read(self._failures):
            found.setdefault(line["rewarder"], Counter())[line["why"]] += line["answers"]
        return {name: dict(reasons) for name, reasons in found.items()}


def _line(told: Mapping[str, Any]) -> str:
    return json.dumps(told) + "\n"


def _read(file: Path) -> list[dict[str, Any]]:
    """The whole lines of a file, if there is one; a kill may have cut the last one off."""
    if not file.is_file():
        return []
    text = file.read_text(encoding="utf-8")
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
