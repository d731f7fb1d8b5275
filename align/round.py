"""A round: what people said since the last one becomes a candidate, checked and put on trial.

A folder of finished steps under `rounds/`: killed anywhere it goes on, run again it does nothing.
The page starts it as a process of its own and reads its files; the two share nothing else.
"""

import json
import shutil
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from align import data, harm
from align.measure import answer_logps, measured
from align.objectives import Chosen, choose, need
from align.recipes import DPO, KTO, SFT, Recipe, Round
from align.rendering import tokenizer_of
from align.stages import Trained, learnt_by, register, train
from align.steps import Report, Steps
from assistant.errors import AssistantError, Invalid
from assistant.feedback.rows import SHAPES, Row, build
from assistant.feedback.store import FeedbackStore
from assistant.registry import Registry, Version, write_synced
from assistant.settings import Settings
from assistant.sources import resolve_now
from assistant.trials import Trials

OUTCOME = "outcome.json"
HELD_OUT = 0.1


def run(knobs: Round, settings: Settings, report: Report) -> dict[str, Any]:
    """Begin a round, or go on with the one that was begun; returns its outcome.

    Raises Invalid where there is too little to learn from, saying how much of what is missing.
    """
    rounds = settings.home.resolve() / "rounds"
    rounds.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(rounds / "lock", timeout=1):
            folder = unfinished(rounds) or _begin(knobs, settings, rounds, report)
            return _Work(folder, settings, report).run()
    except Timeout:
        raise Invalid("A round is running already; the page's Align tab shows it.") from None


def unfinished(rounds: Path) -> Path | None:
    """The round that was begun and not brought to an end, if any."""
    begun = sorted(rounds.glob("round-*/begun.json"))
    return next((f.parent for f in begun if not (f.parent / OUTCOME).is_file()), None)


def _begin(knobs: Round, settings: Settings, rounds: Path, report: Report) -> Path:
    """A folder for a new round, holding its rows; refused if nothing new could come of it."""
    registry = Registry(settings.home)
    if busy := Trials(settings.home).running():
        raise Invalid(
            f"{busy.candidate} is on trial; people's votes decide it first. See the Versions tab, "
            "or end it with `assistant withdraw`."
        )
    base = resolve_now(knobs.base, registry, report)
    registry.verify(base)
    learnt = learnt_by(base, registry)
    with FeedbackStore(settings.database) as store:
        snapshot = store.snapshot()
    rows = {shape: data.without(build(shape, snapshot), learnt) for shape in SHAPES}
    chosen = choose(rows)
    begun = {
        "base": base.name,
        "base_hash": base.content_hash,
        "seed": knobs.seed,
        "data": {stage: data.digest(found) for stage, found in chosen.rows.items()},
        "recipes": {stage: knobs.recipe(stage).as_facts() for stage in chosen.rows},
    }
    _refuse_the_same(rounds, begun)
    need(chosen)
    folder = rounds / _next_name(rounds, registry)
    scratch = rounds / f".{folder.name}"
    shutil.rmtree(scratch, ignore_errors=True)  # rows of a run that was killed here
    scratch.mkdir()
    _save(chosen, scratch, knobs.seed)
    write_synced(scratch / "begun.json", json.dumps(begun, indent=2))
    scratch.rename(folder)
    return folder


def _next_name(rounds: Path, registry: Registry) -> str:
    """One that neither a round nor a version has: what a removed round made is still there."""
    taken = [*rounds.glob("round-*"), *registry.folder.glob("round-*")]
    numbers = [int(end) for place in taken if (end := place.name.split("-")[-1]).isdigit()]
    return f"round-{max(numbers, default=0) + 1:03}"


def _refuse_the_same(rounds: Path, begun: dict[str, Any]) -> None:
    for file in sorted(rounds.glob("round-*/begun.json")):
        if json.loads(file.read_text(encoding="utf-8")) == json.loads(json.dumps(begun)):
            raise Invalid(
                f"Nothing was said since {file.parent.name}: the same base, rows and recipe. Give "
                "more judgements, or change the --seed or the recipe."
            )


def _save(chosen: Chosen, folder: Path, seed: int) -> None:
    """Write each stage's rows and those held out, with their hashes and what was left out."""
    notes: dict[str, Any] = {"given": chosen.given, "left_out": chosen.left_out, "stages": {}}
    for stage, rows in chosen.rows.items():
        learn, held_out = data.split(rows, HELD_OUT if stage == "dpo" else 0.0, seed)
        notes["stages"][stage] = {
            "rows": len(learn),
            "sha256": data.save(learn, folder / f"{stage}.jsonl"),
            "held_out": len(held_out),
            "held_out_sha256": data.save(held_out, folder / f"{stage}.held-out.jsonl"),
        }
    write_synced(folder / "data.json", json.dumps(notes, indent=2))


class _Work:
    """The steps of one round."""

    def __init__(self, folder: Path, settings: Settings, report: Report) -> None:
        self._folder = folder
        self._home = settings.home.resolve()
        self._registry = Registry(settings.home)
        self._trials = Trials(settings.home)
        self._report = report
        self._begun = json.loads((folder / "begun.json").read_text(encoding="utf-8"))
        if not self._registry.has(self._begun["base"]):
            raise Invalid(
                f"{folder.name} began from {self._begun['base']}, which is gone; bring it back, or "
                f"remove {folder} to begin anew."
            )
        self._base = self._registry.get(self._begun["base"])
        self._registry.verify(self._base)
        self._steps = Steps(folder, report)

    def run(self) -> dict[str, Any]:
        began = time.monotonic()
        candidate = self._train()
        checks = self._check(candidate)
        harmful = [check for check in checks if check["harm"]]
        outcome: dict[str, Any] = {"candidate": candidate.name, "checks": checks}
        if harmful:
            outcome |= {"state": "refused", "reasons": [_in_words(c) for c in harmful]}
        else:
            self._steps.do("trial", lambda _: self._put_on_trial(candidate))
            outcome |= {"state": "on trial", "reasons": []}
        outcome["seconds"] = round(time.monotonic() - began, 1)
        write_synced(self._folder / OUTCOME, json.dumps(outcome, indent=2))
        return outcome

    def _train(self) -> Version:
        """Run the stages one after the other, each from the model before it."""
        name = self._folder.name
        trained: list[Trained] = []
        for stage, knobs in self._begun["recipes"].items():
            recipe = {"sft": SFT, "dpo": DPO, "kto": KTO}[stage](**knobs)
            rows = data.load(self._folder / f"{stage}.jsonl")
            base = trained[-1].model if trained else self._base.path
            story = self._steps.do(
                stage,
                partial(self._stage, stage, recipe, base, rows),
                base=self._begun["base_hash"],
                data=data.digest(rows),
                recipe=knobs,
                seed=self._begun["seed"],
            )
            trained.append(Trained(self._folder / stage / "model", story))
        made = self._steps.do(
            "register",
            lambda _: {"name": register(name, "round", self._base, trained, self._registry).name},
        )
        return self._registry.get(made["name"])

    def _stage(
        self, stage: str, recipe: Recipe, base: Path, rows: list[Row], scratch: Path
    ) -> dict[str, Any]:
        """Train; what fails would fail again, so its round makes way for another recipe or rows."""
        try:
            return train(stage, recipe, self._begun["seed"], base, rows, scratch)
        except AssistantError:
            shutil.rmtree(self._folder)
            raise

    def _check(self, candidate: Version) -> list[dict[str, Any]]:
        def work(scratch: Path) -> dict[str, Any]:
            before = measured(self._base, self._home, scratch)
            after = measured(candidate, self._home, scratch)
            logps, lengths = self._held_out(candidate)
            return {"checks": harm.as_facts(harm.compare(before, after, logps, lengths))}

        step = self._steps.do("check", work, candidate=candidate.content_hash)
        return list(step["checks"])

    def _held_out(
        self, candidate: Version
    ) -> tuple[list[tuple[float, float, float, float]], list[tuple[int, int]]]:
        file = self._folder / "dpo.held-out.jsonl"
        held_out: Sequence[Row] = data.load(file) if file.is_file() else []
        rows, _ = data.tokenized(tokenizer_of(self._base.path), held_out, DPO().longest)
        if not rows:
            return [], []
        before = answer_logps(self._base.path, rows)
        after = answer_logps(candidate.path, rows)
        lengths = [(len(row["chosen_ids"]), len(row["rejected_ids"])) for row in rows]
        return [(*b, *a) for b, a in zip(before, after, strict=True)], lengths

    def _put_on_trial(self, candidate: Version) -> dict[str, Any]:
        current = self._registry.current
        against = current.name if current else self._base.name
        return {"trial": self._trials.begin(candidate.name, against).id}


def _in_words(check: dict[str, Any]) -> str:
    return (
        f"{check['name']} {check['before']:.3g} → {check['after']:.3g} (change "
        f"{check['low']:+.3g} to {check['high']:+.3g}, allowed {check['limit']:+.3g}): "
        f"{check['says']}"
    )
