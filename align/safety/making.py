"""`align safety`: a version that refuses what does harm and little else, and how far it does so."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from align import ranks
from align.cards import Trained
from align.data.epoch import Epoch, assembled
from align.data.files import digest, load, save
from align.recipes import Job, Safety
from align.rendering import tokenizer_of
from align.safety import classifier, lessons, requests
from align.safety.halves import SAMPLING, compared
from align.safety.requests import Request
from align.sampling import Sampled, sample
from align.stages import learnt_by, named, register, train
from align.steps import Report, Steps
from assistant.disk import write_synced
from assistant.errors import Invalid
from assistant.moderation import KIND
from assistant.registry import Registry, describe
from assistant.settings import Settings
from assistant.sources import resolve_now
from assistant.version import Version

STAGE = "safety"
OWN = {"max_tokens": 512, "temperature": 1.0}  # what the base says when asked as people ask it
PAIRS, ANSWERS = "pairs.jsonl", "answers.json"
UNSEEN = "unseen families"


def make(job: Job, recipe: Safety, settings: Settings, report: Report) -> tuple[Version, Version]:
    """Draw, train, measure both halves and register; then the classifier. Goes on after a kill.

    Raises Invalid for a base that cannot speak, and where nothing is left to learn from.
    """
    if ranks.number() > 1:
        raise Invalid("align safety runs in one process; start it without accelerate launch.")
    registry = Registry(settings.home)
    name = named(STAGE, job, registry)
    base = resolve_now(job.base, registry, report)
    registry.verify(base)
    work = _Work(job, recipe, settings, report, base, name)
    moderator = work.moderator()
    version = register(name, STAGE, base, [work.trained()], registry)
    shutil.rmtree(work.steps.folder)
    return version, moderator


@dataclass
class _Work:
    """The steps of one making."""

    job: Job
    recipe: Safety
    settings: Settings
    report: Report
    base: Version
    name: str

    def __post_init__(self) -> None:
        self.steps = Steps(self.settings.home.resolve() / "making" / self.name, self.report)
        learn, unseen = requests.apart(requests.shipped(), self.recipe.measured, self.job.seed)
        self._learn = [one for one in learn for _ in range(self.recipe.answers)]
        self._tests = [(UNSEEN, one) for one in unseen]
        for file in map(Path, self.recipe.examine):
            self._tests += [(file.name, one) for one in requests.labelled(file)]

    def trained(self) -> Trained:
        """Every step, those that are finished read."""
        given = self._given()
        drawn = self._drawn(given)
        rows = load(self.steps.folder / "answers" / PAIRS)
        result = self.steps.do(
            "dpo",
            partial(train, "dpo", self.recipe, self.job.seed, self.base.path, rows),
            base=self.base.content_hash,
            data=digest(rows),
            seed=self.job.seed,
            recipe=self.recipe.as_facts(),
        )
        model = self.steps.folder / "dpo" / "model"
        halves = self.steps.do("halves", partial(self._halves, model), data=digest(rows))
        story = {**result, "stage": STAGE, "left_out": drawn["left_out"]}
        story["metrics"] = {**result["metrics"], "halves": halves}
        return Trained(model, story)

    def moderator(self) -> Version:
        """The classifier of requests; what is measured on is not learnt from."""
        tests: dict[str, list[Request]] = {}
        for name, one in self._tests:
            tests.setdefault(name, []).append(one)
        unseen = {one.text for _, one in self._tests}
        learnt = list(dict.fromkeys(self._learn))
        for sources, harmful in ((self.recipe.harmful, True), (self.recipe.harmless, False)):
            found = requests.first_questions(sources)
            learnt += [Request(text, harmful) for text in found if text not in unseen]
        self.report(f"learning to tell harmful requests apart, from {len(learnt)}")
        registry = Registry(self.settings.home)
        return classifier.register(f"{self.name}-{KIND}", learnt, tests, self.job.seed, registry)

    def _given(self) -> Epoch:
        """Pairs that people, or others, gave; without `--data` there are none."""
        if not self.job.data:
            return Epoch([])
        job = self.job
        return assembled(
            "preference",
            job.data,
            self.settings.database,
            tokenizer_of(self.base.path),
            job.seed,
            job.mix,
            job.total,
            learnt_by(self.base, Registry(self.settings.home)),
        )

    def _drawn(self, given: Epoch) -> dict[str, Any]:
        """The base's answers, to learn from and to compare with."""

        def work(scratch: Path) -> dict[str, Any]:
            answers = self._asked(self.base, self._learn, OWN, scratch)
            made = lessons.pairs(self._learn, answers, self.job.seed)
            self.report(
                f"{len(made.rows)} pairs of its own answers and refusals (left out: "
                f"{lessons.counted(made.left_out)}), and {len(given.rows)} given ones"
            )
            save([*made.rows, *given.rows], scratch / PAIRS)
            _write(scratch / ANSWERS, self._tested(self.base, scratch))
            return {"left_out": dict(made.left_out + given.left_out)}

        asked = [asdict(one) for one in [*self._learn, *(one for _, one in self._tests)]]
        return self.steps.do(
            "answers",
            work,
            base=self.base.content_hash,
            given=digest(given.rows),
            requests=asked,
            sampling=[OWN, SAMPLING],
            seed=self.job.seed,
        )

    def _halves(self, model: Path, scratch: Path) -> dict[str, Any]:
        """What the new model refuses, beside what the base refused."""
        made = describe(self.name, model, folder=str(model), kind=STAGE, source="being measured")
        before = _read(self.steps.folder / "answers" / ANSWERS)
        after = self._tested(made, scratch)
        found = {}
        for name in dict.fromkeys(name for name, _ in self._tests):
            places = [place for place, (test, _) in enumerate(self._tests) if test == name]
            asked = [self._tests[place][1] for place in places]
            found[name] = compared(asked, [before[p] for p in places], [after[p] for p in places])
        return found

    def _tested(self, version: Version, scratch: Path) -> list[Sampled]:
        return self._asked(version, [one for _, one in self._tests], SAMPLING, scratch)

    def _asked(
        self, version: Version, asked: Sequence[Request], sampling: dict[str, Any], scratch: Path
    ) -> list[Sampled]:
        texts = [request.text for request in asked]
        return sample(version, texts, sampling, self.settings.home.resolve(), scratch)


def _write(file: Path, answers: Sequence[Sampled]) -> None:
    write_synced(file, json.dumps([asdict(answer) for answer in answers]))


def _read(file: Path) -> list[Sampled]:
    return [Sampled(**answer) for answer in json.loads(file.read_text(encoding="utf-8"))]
