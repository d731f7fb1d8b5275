"""The picture story: what each stage changed, in English and in Chinese, from what was measured."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from align.picture import draw
from align.story.walk import Stage
from align.training import MADE
from assistant import prompts
from assistant.version import Version

LANGUAGES = ("en", "zh")
LOSS, MARGIN, REWARD = "loss", "rewards/margins", "reward"
SHOWN = {"pretrain": LOSS, "sft": LOSS, "reward": LOSS, "dpo": MARGIN, "rlhf": REWARD}
TESTS = ("taught", "only read about", "unknown")


@dataclass(frozen=True)
class Told:
    """A stage, the version it made, what that was asked, and the minutes it took."""

    stage: Stage
    version: Version
    asked: dict[str, Any] | None
    """None of a version that does not speak."""
    minutes: float | None

    @property
    def metrics(self) -> dict[str, Any]:
        """What the training said of itself."""
        file = self.version.path / MADE / "training.json"
        return dict(json.loads(file.read_text(encoding="utf-8"))["stages"][0]["metrics"])

    @property
    def curve(self) -> list[tuple[float, float]]:
        """The number that is drawn of it, step by step."""
        file = self.version.path / MADE / self.stage.kind / "curve.jsonl"
        name = SHOWN[self.stage.kind]
        entries = map(json.loads, file.read_text(encoding="utf-8").splitlines())
        return [(entry["step"], entry[name]) for entry in entries if name in entry]


def tell(told: Sequence[Told], machine: str, folder: Path) -> list[Path]:
    """Write the pictures, and the story in every language; returns the stories' files."""
    folder.mkdir(parents=True, exist_ok=True)
    curves = {f"{one.version.name}: {SHOWN[one.stage.kind]}": one.curve for one in told}
    draw(curves, folder / "curves.svg", "step")
    files = []
    for language in LANGUAGES:
        file = folder / f"story.{language}.md"
        words = json.loads(prompts.load(f"story/words.{language}.json"))
        file.write_text(_Story(words, told, machine).text(), encoding="utf-8")
        files.append(file)
    return files


class _Story:
    """The story in one language, whose words are in `prompts/story`."""

    def __init__(self, words: dict[str, Any], told: Sequence[Told], machine: str) -> None:
        self._words = words
        self._told = told
        self._machine = machine

    def text(self) -> str:
        """All of it, as Markdown."""
        words = self._words
        parts = [
            f"# {words['title']}",
            words["opening"],
            f"*{words['made by'].format(machine=self._machine, minutes=self._minutes())}*",
            f"![{words['curves']}](curves.svg)",
            self._table(),
        ]
        for one in self._told:
            parts += [f"## {words['stages'][one.stage.name]['title']}", self._stage(one)]
        parts.append(words["closing"])
        return "\n\n".join(parts) + "\n"

    def _minutes(self) -> str:
        known = [one.minutes for one in self._told if one.minutes is not None]
        total = f"{sum(known):.0f}"
        whole = len(known) == len(self._told)
        return total if whole else self._words["more minutes"].format(minutes=total)

    def _table(self) -> str:
        """How much is right after each stage."""
        names = [self._words["tests"][test] for test in TESTS]
        more = [self._words["kind"], self._words["stopped"], self._words["minutes"]]
        lines = [
            "| " + " | ".join(["", *names, *more]) + " |",
            "|" + "---|" * (len(names) + len(more) + 1),
        ]
        for one in self._told:
            if one.asked:
                shares = [one.asked["tests"][test] for test in TESTS]
                shares += [one.asked["kind"], one.asked["stopped"]]
                took = f"{one.minutes:.1f}" if one.minutes is not None else "–"
                cells = [one.version.name, *map(_share, shares), took]
                lines.append("| " + " | ".join(cells) + " |")
        return "\n".join(lines)

    def _stage(self, one: Told) -> str:
        words = self._words["stages"][one.stage.name]
        parts = [words["does"], f"`align {one.stage.kind} --base {one.stage.base}`"]
        if one.stage.kind == "pretrain":
            bits = {name: f"{one.metrics[name]:.3f}" for name in ("bits_before", "bits_after")}
            parts.append(self._words["bits"].format(**bits))
        if one.stage.kind == "reward":
            found = {
                n: f"{one.metrics[n]:.0%}" for n in ("accuracy", "low", "high", "always_longer")
            }
            parts.append(self._words["ranked"].format(**found, pairs=one.metrics["held_out"]))
        if one.asked:
            parts.append(self._samples(one.asked, continued=one.stage.kind == "pretrain"))
        return "\n\n".join(parts)

    def _samples(self, asked: dict[str, Any], *, continued: bool) -> str:
        lines = [f"| {self._words['given']} | {self._words['said']} |", "|---|---|"]
        some = asked["continued"] + asked["answers"] if continued else asked["answers"]
        for place, said in enumerate(some):
            bare = continued and place < len(asked["continued"])
            given = f"{said['given']} …" if bare else said["given"]
            lines.append(f"| {_cell(given)} | {_cell(said['answer'])} |")
        return "\n".join(lines)


def _share(found: dict[str, Any]) -> str:
    return f"{found['share']:.0%} ({found['low']:.0%}–{found['high']:.0%})"


def _cell(text: str) -> str:
    """A text as it may stand in a table."""
    shown = " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
    return shown or "∅"
