"""From a wish to rows that models made, with who made each of them."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from align.data.gathering import STORED, examples_of, gather
from align.data.generate import Answer, Endpoint, answers_to, best, best_and_worst, new_questions
from align.data.scorers import scoring_of
from align.data.texts import prompt_of
from assistant.disk import write_synced
from assistant.errors import Invalid
from assistant.feedback.formats import Example
from assistant.feedback.rows import SHAPES, Row
from assistant.registry import Registry
from assistant.settings import Settings

Talk = list[dict[str, Any]]


@dataclass(frozen=True)
class Wish:
    """What is to be made; `align data generate --help` says what each means."""

    source: str
    kind: Literal["answers", "pairs"] = "answers"
    new: int = 0
    n: int = 4
    scorer: str | None = None
    least: float | None = None
    margin: float = 0.0
    seed: int = 0


def generated(
    wish: Wish, out: Path, endpoint: Endpoint, settings: Settings, report: Callable[[str], None]
) -> dict[str, int]:
    """Write the rows to `out`; what was asked, drawn, kept and left out, counted.

    What was drawn lies in a file beside `out` until it is written, so that the same call goes on.
    Raises Invalid for a wish that cannot be fulfilled, EndpointFailed where nobody answers.
    """
    if out.suffix != ".jsonl":
        raise Invalid(f"{out.name} should end in .jsonl, since that is what is written.")
    if wish.scorer is None and (wish.kind == "pairs" or wish.n > 1):
        raise Invalid("Which of several answers is best? Name a --scorer, or draw one with --n 1.")
    scoring = scoring_of(wish.scorer, Registry(settings.home)) if wish.scorer else None
    out.parent.mkdir(parents=True, exist_ok=True)
    drawn = out.with_suffix(".drawn")
    talks = _talks(wish.source, settings.database)
    if wish.new:
        seeds = [prompt_of(Row({"prompt": talk[-1:]}, "", ())) for talk in talks]
        made = asyncio.run(_questions(seeds, wish, endpoint, drawn, report))
        talks = [[{"role": "user", "content": question}] for question in made]
    told = _progress(len(talks), "answered", report)
    found = asyncio.run(answers_to(talks, wish.n, endpoint, scoring, drawn, told))
    counts = Counter({"questions": len(talks), "answers drawn": sum(map(len, found))})
    rows = list(_rows(wish, talks, found, endpoint, counts))
    if not rows:
        raise Invalid(
            "Nothing was good enough to keep; draw more answers (--n), or ask for less (--least, "
            "--margin)."
        )
    write_synced(out, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    drawn.unlink(missing_ok=True)
    _questions_file(drawn).unlink(missing_ok=True)
    return dict(counts)


async def _questions(
    seeds: Sequence[str], wish: Wish, endpoint: Endpoint, drawn: Path, report: Callable[[str], None]
) -> list[str]:
    kept = _questions_file(drawn)
    if kept.is_file():
        found: list[str] = json.loads(kept.read_text(encoding="utf-8"))
        return found
    told = _progress(wish.new, "new questions", report)
    made = await new_questions(seeds, wish.new, endpoint, wish.seed, told)
    if not made:
        raise Invalid(f"{endpoint.model} wrote no question that is unlike the seeds.")
    write_synced(kept, json.dumps(made, ensure_ascii=False))
    return made


def _questions_file(drawn: Path) -> Path:
    return drawn.with_suffix(".questions")


def _talks(source: str, database: str) -> list[Talk]:
    """Every conversation up to a question, once. Raises Invalid where there is none."""
    if source in STORED:
        rows = [row for shape in SHAPES for row in gather(shape, source, database).rows]
        talks = [row.data.get("prompt") or row.data["messages"][:-1] for row in rows]
    else:
        talks = [talk for _, one in examples_of(source) for talk in _asked(one)]
    once = {json.dumps(talk, sort_keys=True): talk for talk in talks}
    if not once:
        raise Invalid(f"{source} holds no question.")
    return list(once.values())


def _asked(example: Example | Invalid) -> Iterator[Talk]:
    if isinstance(example, Invalid):
        raise example
    if example.kind == "text":
        for line in filter(None, map(str.strip, example.text.splitlines())):
            yield [{"role": "user", "content": line}]
    else:
        yield example.prompt


def _rows(
    wish: Wish,
    talks: Sequence[Talk],
    found: Sequence[Sequence[Answer]],
    endpoint: Endpoint,
    counts: Counter[str],
) -> Iterator[dict[str, Any]]:
    made_by = endpoint.made_by | {"scorer": wish.scorer, "n": wish.n}
    for talk, answers in zip(talks, found, strict=True):
        counts["answers not scored"] += sum(a.score is None for a in answers) if wish.scorer else 0
        if wish.kind == "pairs":
            pair = best_and_worst(answers, wish.margin)
            if pair is None:
                counts["questions without a clear pair"] += 1
                continue
            counts["pairs kept"] += 1
            sides = {n: [_turn(a)] for n, a in zip(("chosen", "rejected"), pair, strict=True)}
            maker = made_by | _version(pair[0])
            yield {"prompt": talk, **sides, "scores": [a.score for a in pair], "made_by": maker}
            continue
        answer = best(answers, wish.least) if wish.scorer else _only(answers)
        if answer is None:
            counts["questions without a good whole answer"] += 1
            continue
        counts["answers kept"] += 1
        maker = made_by | _version(answer)
        yield {"messages": [*talk, _turn(answer)], "score": answer.score, "made_by": maker}


def _version(answer: Answer) -> dict[str, str]:
    return {"model": answer.model} if answer.model else {}


def _only(answers: Sequence[Answer]) -> Answer | None:
    return next((a for a in answers if a.whole and a.text.strip()), None)


def _turn(answer: Answer) -> dict[str, str]:
    return {"role": "assistant", "content": answer.text}


def _progress(total: int, what: str, report: Callable[[str], None]) -> Callable[[int], None]:
    """Says how far it is whenever another tenth is done."""
    told = -1

    def tell(done: int) -> None:
        nonlocal told
        if (tenth := 10 * done // max(1, total)) > told:
            told = tenth
            report(f"{done} of {total} {what}")

    return tell
