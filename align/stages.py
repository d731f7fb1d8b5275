"""From rows to a registered version: what `align sft`, `dpo` and `kto` have in common."""

import importlib
import importlib.metadata
import json
import platform
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from align import ranks
from align.cards import Trained, facts_of, told
from align.data.agreement import agreed, raters_agree
from align.data.epoch import assembled
from align.data.files import digest
from align.data.gathering import Wanted, split
from align.data.mixture import balanced
from align.data.packing import cut_apart
from align.data.tokens import tokenized
from align.families import descend
from align.recipes import DPO, KTO, Job, Pretrain, Recipe, Reward
from align.rendering import tokenizer_of
from align.steps import Report, Steps
from align.training import MADE
from assistant.disk import write_synced
from assistant.errors import Invalid
from assistant.feedback.rows import Row, used_judgements
from assistant.registry import Registry
from assistant.settings import Settings
from assistant.sources import resolve_now
from assistant.version import JUDGES, Version

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
MOST_ON_A_CPU = 300

Run = Callable[[Any, int, Path, list[dict[str, Any]], Path], dict[str, Any]]


def make(stage: str, job: Job, recipe: Recipe, settings: Settings, report: Report) -> Version:
    """Train one stage on the job's data and register the outcome; goes on after a kill."""
    registry = Registry(settings.home)
    name = job.name or _next_name(stage, registry)
    if registry.has(name):
        raise Invalid(f"There is a version {name!r} already; choose another --name.")
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
    )
    for part in epoch.parts:
        seen = f"each seen {part.seen:.2f} times on average"
        report(f"{part.source}: {part.rows} rows, {part.share:.1%}, {seen}")
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


def _shape(stage: str, recipe: Recipe) -> Wanted:
    return "comparison" if isinstance(recipe, DPO) and recipe.ties else SHAPES[stage]


def _base(name: str, job: Job, recipe: Recipe, settings: Settings, report: Report) -> Version:
    """What to start from; random weights are made here, and registered, if they were asked for."""
    registry = Registry(settings.home)
    if job.base != SCRATCH or not isinstance(recipe, Pretrain):
        return resolve_now(job.base, registry, report)
    from align.scratch import Size, made_from_scratch  # noqa: PLC0415 - only one stage needs it

    named = f"{name}-{SCRATCH}"
    if registry.has(named):  # made before a kill
        return registry.get(named)
    report("learning a tokenizer from the text")
    texts = (row.data["text"] for row in assembled("text", job.data, settings.database).rows)
    size = Size(recipe.layers, recipe.width, recipe.vocabulary)
    return made_from_scratch(texts, size, job.seed, named, registry)


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
    rows, held_out, surplus = _set_aside(recipe, rows, seed)
    tokens, left_out = tokenized(tokenizer_of(base), rows, recipe.room)
    if not tokens:
        raise Invalid(
            f"There is nothing to learn from: no row of the shape {SHAPES[stage]} is left "
            f"({_counted(left_out) or 'none was given'})."
        )
    run = run or importlib.import_module(f"align.{stage}").run
    ranks.lead(stage, recipe, seed, base, tokens, scratch / "model")
    metrics = run(recipe, seed, base, tokens, scratch / "model")
    if held_out:
        metrics |= _measured(recipe, base, scratch / "model", held_out)
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


def learnt_from(recipe: Recipe, rows: Sequence[Row], seed: int) -> Sequence[Row]:
    """The rows that a stage would see."""
    return _set_aside(recipe, rows, seed)[0]


def _set_aside(
    recipe: Recipe, rows: Sequence[Row], seed: int
) -> tuple[Sequence[Row], Sequence[Row], Counter[str]]:
    """The rows to learn from, those that tell how good it became, and what is left for later."""
    if isinstance(recipe, KTO):
        most = recipe.most or (len(rows) if torch.cuda.is_available() else MOST_ON_A_CPU)
        learn, surplus = balanced(rows, recipe.balance, most, seed)
        return learn, [], surplus
    if isinstance(recipe, DPO) and recipe.agree:
        made = agreed(rows)
        learn = [row for row in made if recipe.ties or not row.data.get("tie")]
        divided = len(made) - len(learn)
        return learn, [], Counter({"as many people said the other": divided} if divided else {})
    if isinstance(recipe, Reward):
        return *split(rows, recipe.held_out, seed), Counter()
    if isinstance(recipe, Pretrain):
        texts = [row.data["text"] for row in rows]
        parts = cut_apart(texts, recipe.held_out, seed)
        return _as_rows(parts[0]), _as_rows(parts[1]), Counter()
    return rows, [], Counter()


def _as_rows(texts: Sequence[str]) -> list[Row]:
    return [Row({"text": text}, "", ()) for text in texts]


def _measured(recipe: Recipe, base: Path, model: Path, rows: Sequence[Row]) -> dict[str, Any]:
    """What the held-out rows say of a new model."""
    if isinstance(recipe, Pretrain):
        from align.pretrain import bits_per_byte  # noqa: PLC0415 - only one stage needs it

        texts = [row.data["text"] for row in rows]
        before, after = (bits_per_byte(one, texts, recipe.longest) for one in (base, model))
        return {"documents_held_out": len(texts), "bits_before": before, "bits_after": after}
    from align.scoring import judged  # noqa: PLC0415 - only one stage needs it

    same, both = raters_agree(rows)
    agreement = {"raters_agree": same / both, "votes_compared": both} if both else {}
    return judged(model, tokenized(tokenizer_of(base), rows, recipe.longest)[0]) | agreement


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
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
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
