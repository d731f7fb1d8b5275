"""The stages, one after the other, each as `align` runs it; what is finished is not done again."""

import importlib.metadata
import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from align.recipes import DPO, RLHF, SFT, Job, Pretrain, Recipe, Reward
from align.stages import make
from align.steps import Report
from align.story import lessons, world
from align.story.world import Animal
from assistant import processor
from assistant.disk import file_hash, write_synced
from assistant.errors import Invalid
from assistant.registry import Registry
from assistant.settings import Settings
from assistant.version import Version

ANIMALS, TAUGHT = 120, 70  # all are read about; the assistant is taught on some of them
UNKNOWN, NEVER = 40, 40  # names of none: those that the book and the lessons speak of, and others
DOCUMENTS = 15_000
MINUTES_AN_EPOCH = 2.5
FREE: Any = {"anchor": 0.0, "drift": 1e9}  # plain English is not what this base knows


@dataclass(frozen=True)
class Stage:
    """A step on the way: how it is called, from what it starts, what it reads."""

    name: str
    """Of the version that it makes."""
    kind: str
    base: str
    data: str
    recipe: Recipe


def stages(minutes: float) -> list[Stage]:
    """All of them; pre-training reads as much as fits into about so many minutes."""
    pretrain = Pretrain(
        layers=6, width=256, vocabulary=1024, longest=256, batch=8, micro_batch=8,
        learning_rate=2e-3, epochs=max(1, round(minutes / MINUTES_AN_EPOCH)),
    )  # fmt: skip
    taught = SFT(epochs=20, batch=8, micro_batch=8, learning_rate=3e-4, rank=0, **FREE)
    preferred = DPO(
        epochs=4, batch=8, micro_batch=8, learning_rate=2e-4, rank=0, imitate=1.0, **FREE,
    )  # fmt: skip
    rewarded = RLHF(
        reward=("verifier:format:1", "judge:0.3"), phase=32, answers=8, batch=64, micro_batch=64,
        answer_tokens=32, learning_rate=4e-4, epochs=2, drift=1e9, budget=2.0,
    )  # fmt: skip
    return [
        Stage("base", "pretrain", "scratch", "text", pretrain),
        Stage("taught", "sft", "base", "chats", taught),
        Stage("judge", "reward", "taught", "pairs", Reward(members=2, epochs=2, batch=16)),
        Stage("preferred", "dpo", "taught", "pairs", preferred),
        Stage("rewarded", "rlhf", "preferred", "exercises", rewarded),
    ]


@dataclass(frozen=True)
class World:
    """What is true, who is taught about, and who does not exist."""

    taught: Sequence[Animal]
    unseen: Sequence[Animal]
    """Read about, and never asked about in what is taught."""
    unknown: Sequence[str]
    never: Sequence[str]
    """Unknown, too, and in nothing that is taught."""

    @classmethod
    def of(cls, seed: int) -> "World":
        """The same one for the same seed."""
        known = world.animals(ANIMALS, seed)
        names = world.strangers(known, UNKNOWN + NEVER, seed)
        return cls(known[:TAUGHT], known[TAUGHT:], names[:UNKNOWN], names[UNKNOWN:])

    @property
    def known(self) -> list[Animal]:
        """All there are."""
        return [*self.taught, *self.unseen]

    def book(self, seed: int, pages: int = DOCUMENTS) -> Iterator[str]:
        """What pre-training reads; people in it ask only about what will be taught."""
        return world.documents(self.known, self.taught, self.unknown, pages, seed)


def write_data(there: World, folder: Path, given: Path | None, seed: int) -> dict[str, Path]:
    """The files that the stages read; `given` text is read beside that of the world.

    No page is there twice: those that pre-training keeps back were never read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pages = list(there.book(seed))
    if given:
        pages += _pages(given)
    rows: dict[str, list[dict[str, Any]]] = {
        "text": [{"text": page} for page in dict.fromkeys(pages)],
        "chats": lessons.chats(there.taught, there.unknown, seed),
        "pairs": lessons.preferences(there.taught, there.unknown, seed),
        "exercises": lessons.exercises(there.taught, there.unknown, seed),
    }
    files = {name: folder / f"{name}.jsonl" for name in rows}
    for name, file in files.items():
        write_synced(file, "".join(json.dumps(row) + "\n" for row in rows[name]))
    return files


def _pages(file: Path) -> list[str]:
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise Invalid(f"{file} is not UTF-8 text ({error}).") from error
    return [page for page in text.split("\n\n") if page.strip()]


def require_same(way: Sequence[Stage], files: dict[str, Path], seed: int, folder: Path) -> None:
    """Note what a folder's versions are made from; raises Invalid where that was something else."""
    asked = {
        "seed": seed,
        "data": {name: file_hash(file) for name, file in files.items()},
        "recipes": {stage.name: stage.recipe.as_facts() for stage in way},
    }
    note, text = folder / "inputs.json", json.dumps(asked, sort_keys=True)
    if not note.is_file():
        write_synced(note, text)
    elif note.read_text(encoding="utf-8") != text:
        raise Invalid(
            f"{folder} was begun with another seed, text, length or release; give another --folder,"
            " or remove it to begin anew."
        )


def walk(
    way: Sequence[Stage], files: dict[str, Path], settings: Settings, seed: int, report: Report
) -> dict[str, Version]:
    """Make every version that is not there yet; minutes are noted of what ran without a break."""
    registry, made = Registry(settings.home), {}
    for stage in way:
        if not registry.has(stage.name):
            report(f"— {stage.name}: align {stage.kind} --base {stage.base}")
            job = Job(base=stage.base, data=(str(files[stage.data]),), name=stage.name, seed=seed)
            began, broken = time.monotonic(), (settings.home / "making" / stage.name).exists()
            make(stage.kind, job, stage.recipe, settings, report)
            if not broken:
                _note(settings.home / "minutes.json", stage.name, (time.monotonic() - began) / 60)
        made[stage.name] = registry.get(stage.name)
    return made


def minutes(home: Path) -> dict[str, float]:
    """How long each stage took; of one that was killed and went on nobody knows."""
    file = home / "minutes.json"
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}


def machine() -> str:
    """What it runs on, in words."""
    libraries = ", ".join(f"{one} {importlib.metadata.version(one)}" for one in ("torch", "trl"))
    return f"{os.cpu_count()} cores, {processor.described()}, {libraries}"


def _note(file: Path, name: str, value: float) -> None:
    write_synced(file, json.dumps(minutes(file.parent) | {name: round(value, 2)}))
