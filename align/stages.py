"""From rows to a registered version: what `align sft`, `dpo` and `kto` have in common."""

import importlib
import importlib.metadata
import json
import platform
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from align import ranks
from align.aside import measured, set_aside
from align.cards import Trained, facts_of, told
from align.data.epoch import Epoch, assembled
from align.data.files import digest, hashed
from align.data.gathering import Wanted
from align.data.packing import cut_apart
from align.data.tokens import tokenized
from align.families import descend
from align.possible import require_possible
from align.recipes import DPO, RLHF, Job, Pretrain, Recipe
from align.rendering import tokenizer_of
from align.steps import Report, Steps, alone, full_disks_named
from align.training import MADE
from assistant.disk import write_synced
from assistant.errors import Invalid
from assistant.feedback.rows import Row, used_judgements
from assistant.registry import Registry, require_name
from assistant.settings import Settings
from assistant.sources import resolve_now
from assistant.version import JUDGES, Version

if TYPE_CHECKING:
    from align.rl.planning import Plan

SHAPES: dict[str, Wanted] = {
    "pretrain": "text",
    "sft": "messages",
    "dpo": "preference",
    "kto": "unpaired",
    "reward": "comparison",
    "rlhf": "prompt",
}
LIBRARIES = ("torch", "transformers", "trl", "peft")
STORY = "training.json"
SCRATCH = "scratch"

Run = Callable[[Any, int, Path, list[dict[str, Any]], Path], dict[str, Any]]


def make(stage: str, job: Job, recipe: Recipe, settings: Settings, report: Report) -> Version:
    """Train one stage on the job's data and register the outcome; goes on after a kill."""
    registry = Registry(settings.home)
    name = named(stage, job, registry)
    with alone(settings.home.resolve() / "making" / name):
        return _made(stage, name, job, recipe, settings, report)


def _made(
    stage: str, name: str, job: Job, recipe: Recipe, settings: Settings, report: Report
) -> Version:
    registry = Registry(settings.home)
    base, epoch = _gathered(stage, name, job, recipe, settings, report)
    steps = Steps(settings.home.resolve() / "making" / name, report)
    result = steps.do(
        stage,
        partial(
            train, stage, recipe, job.seed, base.path, epoch.rows, run=_run(stage, base, settings)
        ),
        base=base.content_hash,
        data=digest(epoch.rows),
        seed=job.seed,
        recipe=recipe.as_facts(),
    )
    told = {"left_out": epoch.left_out, "mixture": [vars(part) for part in epoch.parts]}
    trained = Trained(steps.folder / stage / "model", {**result, **told})
    version = register(name, stage, base, [trained], registry)
    shutil.rmtree(steps.folder)
    return version


def plan(job: Job, recipe: RLHF, settings: Settings, report: Report) -> "Plan":
    """What `align rlhf` would take, by its first phases; leaves nothing."""
    from align import rlhf  # noqa: PLC0415 - only one stage needs it
    from align.rl import planning  # noqa: PLC0415

    name = named("rlhf", job, Registry(settings.home))
    base, epoch = _gathered("rlhf", name, job, recipe, settings, report)
    tokens = _tokens(base.path, epoch.rows, recipe, "rlhf")[0]
    making = settings.home.resolve() / "making"
    making.mkdir(parents=True, exist_ok=True)
    with (
        full_disks_named(),
        tempfile.TemporaryDirectory(dir=making, prefix=".plan-") as scratch,
    ):

        def train(first: RLHF, rows: Sequence[dict[str, Any]], out: Path) -> dict[str, Any]:
            return rlhf.run(
                first, job.seed, base.path, list(rows), out, version=base, settings=settings
            )

        return planning.planned(recipe, base.path, tokens, Path(scratch) / "model", train)


def named(stage: str, job: Job, registry: Registry) -> str:
    """What the new version is to be called. Raises Invalid where one is called so already."""
    name = job.name or _next_name(stage, registry)
    require_name(name)
    if registry.has(name):
        raise Invalid(f"There is a version {name!r} already; choose another --name.")
    return name


def _gathered(
    stage: str, name: str, job: Job, recipe: Recipe, settings: Settings, report: Report
) -> tuple[Version, Epoch]:
    """What to start from, and the rows to learn from."""
    require_possible(recipe)
    registry = Registry(settings.home)
    base = _base(name, job, recipe, settings, report)
    registry.verify(base)
    epoch = assembled(
        _shape(stage, recipe),
        job.data,
        settings.database,
        tokenizer_of(base.path),
        job.seed,
        job.mix,
        job.total,
        learnt_by(base, registry),
        recipe.room,
    )
    for part in epoch.parts:
        seen = f"each seen {part.seen:.2f} times on average"
        report(f"{part.source}: {part.rows} rows, {part.share:.1%}, {seen}")
    return base, epoch


def _shape(stage: str, recipe: Recipe) -> Wanted:
    return "comparison" if isinstance(recipe, DPO) and recipe.ties else SHAPES[stage]


def _base(name: str, job: Job, recipe: Recipe, settings: Settings, report: Report) -> Version:
    """What to start from; random weights are made here, and registered, if they were asked for."""
    registry = Registry(settings.home)
    if job.base != SCRATCH or not isinstance(recipe, Pretrain):
        return resolve_now(job.base, registry, report)
    from align.scratch import Size, made_from_scratch  # noqa: PLC0415 - only one stage needs it

    named = f"{name}-{SCRATCH}"
    rows = assembled("text", job.data, settings.database).rows
    size = Size(recipe.layers, recipe.width, recipe.vocabulary)
    made_from = hashed({"size": vars(size), "seed": job.seed, "text": digest(rows)})
    if registry.has(named):  # made before a kill
        made = registry.get(named)
        if made.facts.get("made_from") != made_from:
            raise Invalid(
                f"{named} was made of another text, seed or size; choose another --name, or start "
                f"from it with --base {named}."
            )
        return made
    report("learning a tokenizer from the text")
    learnt, _ = cut_apart([row.data["text"] for row in rows], recipe.held_out, job.seed)
    return made_from_scratch(learnt, size, job.seed, named, registry, made_from)


def _run(stage: str, base: Version, settings: Settings) -> Run | None:
    """Of a stage that needs more than files: rewards are versions, and answers are drawn."""
    if stage != "rlhf":
        return None
    from align import rlhf  # noqa: PLC0415 - only one stage needs it

    return partial(rlhf.run, version=base, settings=settings)


def train(
    stage: str,
    recipe: Recipe,
    seed: int,
    base: Path,
    rows: Sequence[Row],
    scratch: Path,
    run: Run | None = None,
) -> dict[str, Any]:
    """Run one stage on rows into `scratch/model`; returns the story to tell on the card."""
    rows, held_out, surplus = set_aside(recipe, rows, seed)
    tokens, left_out = _tokens(base, rows, recipe, stage)
    run = run or importlib.import_module(f"align.{stage}").run
    ranks.lead(stage, recipe, seed, base, tokens, scratch / "model")
    metrics = run(recipe, seed, base, tokens, scratch / "model")
    if held_out:
        metrics |= measured(recipe, base, scratch / "model", held_out)
    return {
        "stage": stage,
        "rows": len(tokens),
        "tokens": sum(row["length"] for row in tokens),
        "not_learnt": left_out + surplus,
        "data_hash": digest(rows),
        "judgements": used_judgements(rows),
        "recipe": recipe.as_facts(),
        "seed": seed,
        "metrics": metrics,
    }


def _tokens(
    base: Path, rows: Sequence[Row], recipe: Recipe, stage: str
) -> tuple[list[dict[str, Any]], Counter[str]]:
    """Rows as token ids, and what was left out. Raises Invalid where nothing is left."""
    tokens, left_out = tokenized(tokenizer_of(base), rows, recipe.room)
    if not tokens:
        raise Invalid(
            f"There is nothing to learn from: no row of the shape {SHAPES[stage]} is left "
            f"({_counted(left_out) or 'none was given'})."
        )
    return tokens, left_out


def register(
    name: str,
    kind: str,
    base: Version,
    trained: Sequence[Trained],
    registry: Registry,
    average: Path | None = None,
) -> Version:
    """Put the last model of a chain of stages into the registry, with the story of them all.

    Or the `average` of several such chains, whose stages are then all in `trained`.
    """
    if registry.has(name):  # killed between registering and noting it
        return registry.get(name)
    story = {
        "base": base.name,
        "base_hash": base.content_hash,
        "stages": [one.story for one in trained],
        "judgements": sorted({j for one in trained for j in one.story["judgements"]}),
        "libraries": {name: importlib.metadata.version(name) for name in LIBRARIES},
        "machine": f"{platform.machine()} ({torch.backends.cpu.get_cpu_capability()}), "
        f"{torch.get_num_threads()} threads, Python {platform.python_version()}",
        "processes": ranks.number(),
    }
    with registry.staging() as made:
        shutil.copytree(
            average or trained[-1].model,
            made,
            dirs_exist_ok=True,
            ignore=shutil.ignore_patterns(MADE),
        )
        for one in trained:
            shutil.copytree(one.model / MADE, made / MADE / one.step, dirs_exist_ok=True)
        write_synced(made / MADE / STORY, json.dumps(story, indent=2))
        adapters = [average / MADE / "adapter"] if average else [one.adapter for one in trained]
        return registry.register(
            name,
            made,
            kind=kind,
            source=told(trained, bool(average)),
            base=base.name,
            facts=facts_of(base, story),
            adapter=None if kind in JUDGES else descend(base, adapters, made / MADE),
        )


def drop_weights(model: Path) -> None:
    """Free the disk of a model that was only a step on the way; its adapter and curve stay."""
    for file in model.iterdir():
        if file.is_file():
            file.unlink()


def learnt_by(version: Version, registry: Registry) -> frozenset[str]:
    """The judgements that a version and those it was made from have learnt from."""
    learnt: set[str] = set()
    seen: set[str] = set()
    name: str | None = version.name
    while name and name not in seen and registry.has(name):
        seen.add(name)
        made = registry.get(name)
        file = made.path / MADE / STORY
        if file.is_file():
            learnt |= set(json.loads(file.read_text(encoding="utf-8"))["judgements"])
        name = made.base
    return frozenset(learnt)


def _next_name(stage: str, registry: Registry) -> str:
    return next(n for i in range(1, 10_000) if not registry.has(n := f"{stage}-{i:03}"))


def _counted(reasons: Counter[str]) -> str:
    return ", ".join(f"{number} {reason}" for reason, number in reasons.items())
