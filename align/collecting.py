"""The beginning of a round: a folder with the rows it learns from, and the end of those rows."""

import json
import random
import shutil
from pathlib import Path
from typing import Any

from align.aside import learnt_from
from align.data.files import digest, load, save
from align.data.gathering import only, split, without
from align.objectives import Chosen, choose, need
from align.possible import require_possible
from align.quality import without_loops
from align.recipes import Round
from align.stages import learnt_by
from align.steps import Report
from assistant.disk import write_synced
from assistant.errors import Invalid
from assistant.feedback.rows import SHAPES, Row, build
from assistant.feedback.store import FeedbackStore
from assistant.registry import Registry
from assistant.settings import Settings
from assistant.sources import resolve_now
from assistant.trials import Trials

OUTCOME = "outcome.json"
BEGUN = "begun.json"
HELD_OUT = 0.1
FEW = 120  # rows; with more, training twice takes two cores longer than ten minutes


def unfinished(rounds: Path) -> Path | None:
    """The round that was begun and not brought to an end, if any."""
    begun = sorted(rounds.glob(f"round-*/{BEGUN}"))
    return next((f.parent for f in begun if not (f.parent / OUTCOME).is_file()), None)


def begin(knobs: Round, settings: Settings, rounds: Path, report: Report) -> Path:
    """A folder for a new round, holding its rows; refused if nothing new could come of it."""
    registry = Registry(settings.home)
    if busy := Trials(settings.home).running():
        raise Invalid(
            f"{busy.candidate} is on trial; people's votes decide it first. See the Versions tab, "
            "or end it with `assistant withdraw`."
        )
    if knobs.dpo.ties:
        raise Invalid(
            "A round learns ties as verdicts on single answers (KTO); --dpo.ties is for align dpo."
        )
    for stage in ("sft", "dpo", "kto"):
        require_possible(knobs.recipe(stage))
    base = resolve_now(knobs.base, registry, report)
    registry.verify(base)
    learnt = learnt_by(base, registry)
    with FeedbackStore(settings.database) as store:
        snapshot = store.snapshot()
    said = {shape: without_loops(build(shape, snapshot)) for shape in SHAPES}
    chosen = choose({shape: without(rows, learnt) for shape, rows in said.items()})
    before = choose({shape: only(rows, learnt) for shape, rows in said.items()})
    again = replayed(chosen, before, knobs.replay, knobs.seed)
    parts = _parts(chosen, again, knobs.seed)
    begun = {
        "base": base.name,
        "base_hash": base.content_hash,
        "seed": knobs.seed,
        "data": {stage: digest(found + again[stage]) for stage, found in chosen.rows.items()},
        "recipes": {stage: knobs.recipe(stage).as_facts() for stage in chosen.rows},
        "trainings": _trainings(knobs, {s: learn for s, (learn, _) in parts.items()}),
    }
    _refuse_the_same(rounds, begun)
    need(chosen)
    folder = rounds / _next_name(rounds, registry)
    scratch = rounds / f".{folder.name}"
    shutil.rmtree(scratch, ignore_errors=True)  # rows of a run that was killed here
    scratch.mkdir()
    _save(chosen, again, parts, scratch)
    write_synced(scratch / BEGUN, json.dumps(begun, indent=2))
    scratch.rename(folder)
    return folder


def _parts(
    chosen: Chosen, again: dict[str, list[Row]], seed: int
) -> dict[str, tuple[list[Row], list[Row]]]:
    """By stage, the rows to learn, those of earlier rounds included, and the rows held out."""
    parts = {}
    for stage, rows in chosen.rows.items():
        learn, held_out = split(rows, HELD_OUT if stage == "dpo" else 0.0, seed)
        parts[stage] = (learn + again[stage], held_out)
    return parts


def _trainings(knobs: Round, learn: dict[str, list[Row]]) -> int:
    """How many to average. Raises Invalid for none, and for several without adapters."""
    recipes = [knobs.recipe(stage) for stage in learn]
    adapters = all(recipe.rank for recipe in recipes)
    if knobs.trainings is not None:
        if knobs.trainings < 1 or (knobs.trainings > 1 and not adapters):
            raise Invalid(
                f"--trainings {knobs.trainings}: give 1 or more; several need adapters (--rank)."
            )
        return knobs.trainings
    seen = (
        learnt_from(recipe, rows, knobs.seed)
        for recipe, rows in zip(recipes, learn.values(), strict=True)
    )
    return 2 if adapters and sum(map(len, seen)) <= FEW else 1


def _next_name(rounds: Path, registry: Registry) -> str:
    """One that neither a round nor a version has: what a removed round made is still there."""
    taken = [*rounds.glob("round-*"), *registry.folder.glob("round-*")]
    numbers = [int(end) for place in taken if (end := place.name.split("-")[-1]).isdigit()]
    return f"round-{max(numbers, default=0) + 1:03}"


def _refuse_the_same(rounds: Path, begun: dict[str, Any]) -> None:
    for file in sorted(rounds.glob(f"round-*/{BEGUN}")):
        earlier = {"trainings": 1} | json.loads(file.read_text(encoding="utf-8"))
        if earlier == json.loads(json.dumps(begun)):
            raise Invalid(
                f"Nothing was said since {file.parent.name}: the same base, rows and recipe. Give "
                "more judgements, or change the --seed or the recipe."
            )


def replayed(new: Chosen, before: Chosen, share: float, seed: int) -> dict[str, list[Row]]:
    """For each stage, rows learnt before, so many that they are a `share` of all, or all there are.

    Raises Invalid for what is no share.
    """
    if not 0 <= share < 1:
        raise Invalid(f"--replay {share} is no share of a stage's rows: give 0 to below 1.")
    found = {}
    for stage, rows in new.rows.items():
        old = before.rows.get(stage, [])
        wanted = min(len(old), round(len(rows) * share / (1 - share)))
        found[stage] = random.Random(seed).sample(old, wanted)
    return found


def _save(
    chosen: Chosen,
    again: dict[str, list[Row]],
    parts: dict[str, tuple[list[Row], list[Row]]],
    folder: Path,
) -> None:
    """Write each stage's rows and those held out, with their hashes and what was left out."""
    notes: dict[str, Any] = {"given": chosen.given, "left_out": chosen.left_out, "stages": {}}
    for stage, (learn, held_out) in parts.items():
        notes["stages"][stage] = {
            "rows": len(learn),
            "learnt_before": len(again[stage]),
            "sha256": save(learn, folder / f"{stage}.jsonl"),
            "held_out": len(held_out),
            "held_out_sha256": save(held_out, folder / f"{stage}.held-out.jsonl"),
        }
    write_synced(folder / "data.json", json.dumps(notes, indent=2))


def forgotten(folder: Path, settings: Settings) -> bool:
    """Whether something that an unfinished round learns from was taken back or deleted."""
    used = {j for file in _row_files(folder) for row in load(file) for j in row.judgement_ids}
    with FeedbackStore(settings.database) as store:
        snapshot = store.snapshot()
    usable = {
        j for shape in SHAPES for row in build(shape, snapshot).rows for j in row.judgement_ids
    }
    return not used <= usable


def forget(folder: Path) -> None:
    """Keep of a finished round's rows only which judgements they came from.

    What people said stays in the store alone, so that deleting it there deletes it everywhere; the
    hashes of the rows are in data.json.
    """
    for file in _row_files(folder):
        ids = [{"judgement_ids": row.judgement_ids} for row in load(file)]
        write_synced(file.with_suffix(".judgements"), "".join(json.dumps(i) + "\n" for i in ids))
        file.unlink()


def _row_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.jsonl"))
