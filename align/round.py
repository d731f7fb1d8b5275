"""A round: what people said since the last one becomes a candidate, checked and put on trial.

A folder of finished steps under `rounds/`: killed anywhere it goes on, run again it does nothing.
The page starts it as a process of its own and reads its files; the two share nothing else.
"""

import json
import shutil
import time
from collections.abc import Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from align import collecting, harm
from align.cards import Trained
from align.data.files import load
from align.data.tokens import tokenized
from align.measure import answer_logps, measured
from align.recipes import DPO, KTO, SFT, Recipe, Round
from align.rendering import tokenizer_of
from align.soup import averaged
from align.stages import drop_weights, register, train
from align.steps import NOTE, Report, Steps
from assistant.disk import write_synced
from assistant.errors import AssistantError, Invalid, Shortage
from assistant.feedback.rows import Row
from assistant.registry import Registry
from assistant.rounds import step_of
from assistant.settings import Settings
from assistant.trials import Trials
from assistant.version import Version

APART = 1000  # seeds of the trainings that are averaged
AVERAGE = "average"


def run(knobs: Round, settings: Settings, report: Report) -> dict[str, Any]:
    """Begin a round, or go on with the one that was begun; returns its outcome.

    Raises Invalid where there is too little to learn from, saying how much of what is missing.
    """
    rounds = settings.home.resolve() / "rounds"
    rounds.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(rounds / "lock", timeout=1):
            for ended in rounds.glob(f"round-*/{collecting.OUTCOME}"):
                collecting.forget(ended.parent)  # one that was killed before it could
            folder = _unfinished(rounds, settings, report)
            folder = folder or collecting.begin(knobs, settings, rounds, report)
            return _Work(folder, settings, report).run()
    except Timeout:
        raise Invalid("A round is running already; the page's Align tab shows it.") from None


def _unfinished(rounds: Path, settings: Settings, report: Report) -> Path | None:
    """The round to go on with; one that learns from what was deleted since makes way."""
    folder = collecting.unfinished(rounds)
    if folder and collecting.forgotten(folder, settings):
        report(f"{folder.name} is begun anew: something it learns from was taken back meanwhile")
        shutil.rmtree(folder)
        return None
    if folder:
        report(f"Going on with {folder.name}, with the seed and the recipes it was begun with")
    return folder


class _Work:
    """The steps of one round."""

    def __init__(self, folder: Path, settings: Settings, report: Report) -> None:
        self._folder = folder
        self._home = settings.home.resolve()
        self._registry = Registry(settings.home)
        self._trials = Trials(settings.home)
        self._report = report
        self._begun = json.loads((folder / collecting.BEGUN).read_text(encoding="utf-8"))
        self._trainings = int(self._begun.get("trainings", 1))  # older rounds say nothing of it
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
        write_synced(self._folder / collecting.OUTCOME, json.dumps(outcome, indent=2))
        collecting.forget(self._folder)
        return outcome

    def _train(self) -> Version:
        """Train as often as was decided, and register what came of it, or its average."""
        trainings = [self._training(number) for number in range(self._trainings)]
        made = self._steps.do("register", partial(self._register, trainings))
        for one in chain(*trainings):
            drop_weights(one.model)  # the version has what it needs of them
        return self._registry.get(made["name"])

    def _training(self, number: int) -> list[Trained]:
        """Run the stages one after the other, each from the model before it."""
        seed = self._begun["seed"] + number * APART
        trained: list[Trained] = []
        for stage, knobs in self._begun["recipes"].items():
            recipe = {"sft": SFT, "dpo": DPO, "kto": KTO}[stage](**knobs)
            base = trained[-1].model if trained else self._base.path
            step = step_of(stage, number)
            story = self._steps.do(
                step,
                partial(self._stage, stage, recipe, seed, base),
                base=self._begun["base_hash"],
                data=self._begun["data"][stage],
                recipe=knobs,
                seed=seed,
            )
            trained.append(Trained(self._folder / step / "model", story))
        if self._trainings > 1:
            for one in trained:
                drop_weights(one.model)  # of several trainings only the adapters are averaged
        return trained

    def _register(self, trainings: list[list[Trained]], scratch: Path) -> dict[str, Any]:
        name, average = self._folder.name, None
        if len(trainings) > 1 and not self._registry.has(name):
            average = scratch / AVERAGE
            averaged(self._base.path, [[one.adapter for one in t] for t in trainings], average)
        trained = list(chain(*trainings))
        made = register(name, "round", self._base, trained, self._registry, average)
        shutil.rmtree(scratch / AVERAGE, ignore_errors=True)  # or what a killed run left
        return {"name": made.name}

    def _stage(
        self, stage: str, recipe: Recipe, seed: int, base: Path, scratch: Path
    ) -> dict[str, Any]:
        """Train; what fails would fail again, so its round makes way for another recipe or rows.

        A shortage may pass: what is finished is kept for then.
        """
        rows = load(self._folder / f"{stage}.jsonl")
        try:
            return train(stage, recipe, seed, base, rows, scratch)
        except AssistantError as error:
            if isinstance(error, Shortage) and list(self._folder.glob(f"*/{NOTE}")):
                raise Shortage(
                    f"{error} {self._folder.name} then goes on; to begin anew with another recipe, "
                    f"remove {self._folder}."
                ) from None
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
        held_out: Sequence[Row] = load(file) if file.is_file() else []
        rows, _ = tokenized(tokenizer_of(self._base.path), held_out, DPO().longest)
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
