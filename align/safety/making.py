"""`align safety`: a version that refuses what does harm and little else, and how far it does so."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from align import ranks
from align.cards import Trained
from align.data.epoch import Epoch, assembled
from align.data.files import digest, hashed, load, save
from align.possible import require_possible
from align.recipes import Job, Safety
from align.rendering import tokenizer_of
from align.safety import classifier, lessons, requests
from align.safety.halves import SAMPLING, compared
from align.safety.requests import Request
from align.sampling import Sampled, sample
from align.stages import learnt_by, named, register, train
from align.steps import Report, Steps, alone
from assistant.disk import write_synced
from assistant.errors import Invalid
from assistant.registry import Registry, describe
from assistant.settings import Settings
from assistant.sources import resolve_now
from assistant.version import MODERATION, Version

STAGE = "safety"
OWN = {"max_tokens": 512, "temperature": 1.0}  # what the base says when asked as people ask it
PAIRS, ANSWERS = "pairs.jsonl", "answers.json"
UNSEEN = "unseen families"


def make(job: Job, recipe: Safety, settings: Settings, report: Report) -> tuple[Version, Version]:
    """Draw, train, measure both halves, learn to classify, and register both versions.

    Goes on after a kill. Raises Invalid for a recipe that leaves nothing to learn from, and for
    names that are taken.
    """
    if ranks.number() > 1:
        raise Invalid("align safety runs in one process; start it without accelerate launch.")
    require_possible(recipe)
    registry = Registry(settings.home)
    name = named(STAGE, job, registry)
    base = resolve_now(job.base, registry, report)
    registry.verify(base)
    with alone(settings.home.resolve() / "making" / name):
        work = _Work(job, recipe, settings, report, base, name)
        trained, moderator = work.trained(), work.moderator()
        version = register(name, STAGE, base, [trained], registry)
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
        self._registry = Registry(self.settings.home)
        self._judge = f"{self.name}-{MODERATION}"
        if self._registry.has(self._judge) and not (self.steps.folder / MODERATION).is_dir():
            raise Invalid(f"There is a version {self._judge!r} already; choose another --name.")
        learn, unseen = requests.apart(requests.shipped(), self.recipe.measured, self.job.seed)
        self._learn = learn
        self._tests = {UNSEEN: unseen} if unseen else {}
        for file in map(Path, self.recipe.examine):
            if file.name in self._tests:
                raise Invalid(f"--examine names two files {file.name}; rename one.")
            self._tests[file.name] = requests.labelled(file)

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
        """The classifier of requests, registered; what is measured on is not learnt from."""
        measured = frozenset(one.text for one in self._measured())
        more, left_out = requests.asked(self.recipe.harmful, self.recipe.harmless, measured)
        learnt = self._learn + more
        told = lessons.counted(left_out)
        self.report(f"to classify: {len(learnt)} requests (left out: {told})")

        def work(scratch: Path) -> dict[str, Any]:
            out = scratch / "model"
            out.mkdir(exist_ok=True)
            made = classifier.make(learnt, self._tests, self.job.seed, out)
            return {**made, "facts": made["facts"] | {"left_out": dict(left_out)}}

        asked = hashed([asdict(one) for one in [*learnt, *self._measured()]])
        card = self.steps.do(MODERATION, work, requests=asked, seed=self.job.seed)
        if self._registry.has(self._judge):  # killed between one registering and the other
            return self._registry.get(self._judge)
        with self._registry.staging() as made:
            shutil.copytree(self.steps.folder / MODERATION / "model", made, dirs_exist_ok=True)
            return self._registry.register(self._judge, made, kind=MODERATION, **card)

    def _measured(self) -> list[Request]:
        return [one for some in self._tests.values() for one in some]

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
            learnt_by(self.base, self._registry),
        )

    def _drawn(self, given: Epoch) -> dict[str, Any]:
        """The base's answers, to learn from and to compare with."""
        asked = [one for one in self._learn for _ in range(self.recipe.answers)]

        def work(scratch: Path) -> dict[str, Any]:
            answers = self._said(self.base, asked, OWN, scratch)
            made = lessons.pairs(asked, answers, self.job.seed)
            self.report(
                f"{len(made.rows)} pairs of its own answers and refusals (left out: "
                f"{lessons.counted(made.left_out)}), and {len(given.rows)} given ones"
            )
            save([*made.rows, *given.rows], scratch / PAIRS)
            _write(scratch / ANSWERS, self._said(self.base, self._measured(), SAMPLING, scratch))
            return {"left_out": dict(made.left_out + given.left_out)}

        return self.steps.do(
            "answers",
            work,
            base=self.base.content_hash,
            given=digest(given.rows),
            requests=hashed([asdict(one) for one in [*asked, *self._measured()]]),
            sampling=[OWN, SAMPLING],
            seed=self.job.seed,
        )

    def _halves(self, model: Path, scratch: Path) -> dict[str, Any]:
        """What the new model refuses, beside what the base refused, test by test."""
        made = describe(self.name, model, folder=str(model), kind=STAGE, source="being measured")
        before = iter(_read(self.steps.folder / "answers" / ANSWERS))
        after = iter(self._said(made, self._measured(), SAMPLING, scratch))
        return {
            name: compared(some, list(islice(before, len(some))), list(islice(after, len(some))))
            for name, some in self._tests.items()
        }

    def _said(
        self, version: Version, asked: Sequence[Request], sampling: dict[str, Any], scratch: Path
    ) -> list[Sampled]:
        if not asked:
            return []
        texts = [request.text for request in asked]
        return sample(version, texts, sampling, self.settings.home.resolve(), scratch)


def _write(file: Path, answers: Sequence[Sampled]) -> None:
    write_synced(file, json.dumps([asdict(answer) for answer in answers]))


def _read(file: Path) -> list[Sampled]:
    return [Sampled(**answer) for answer in json.loads(file.read_text(encoding="utf-8"))]
