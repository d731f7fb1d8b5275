"""What is done to rows before anything learns from them: visible steps, counted, with samples."""

import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from align.data.contamination import Evaluation
from align.data.duplicates import Sifted, first_of_each, unlike_each_other
from align.data.privacy import masked
from align.data.texts import answers_of, prompt_of, rewritten, whole_text
from align.quality import LOOPS, runs_in_circles
from assistant import prompts
from assistant.feedback.rows import Row

SAMPLES, SAMPLE = 3, 200  # how many rows of a step are shown, and how many characters
MOST_DAMAGE = 0.01  # of a text's characters
SHORTEST_TO_JUDGE = 20  # characters; the language of less is a guess
REPLACEMENT = "\ufffd"


@dataclass
class Step:
    """What one step did."""

    name: str
    before: int
    after: int
    reasons: Counter[str] = field(default_factory=Counter)
    samples: list[tuple[str, str]] = field(default_factory=list)
    """(Reason, beginning of the row's text) of some that went."""
    changed: int = 0


@dataclass(frozen=True)
class Choice:
    """Which steps run."""

    mask: bool = True
    """Mask addresses, numbers and secrets."""
    near: bool = True
    """Drop rows that are nearly the same as an earlier one."""
    boilerplate: bool = True
    """Drop answers that speak of another assistant, or of being one."""
    languages: tuple[str, ...] = ()
    """Keep only these languages, as two letters (en, zh, …); all where none is named."""


def cleaned(
    rows: Sequence[Row], choice: Choice, evaluation: Evaluation
) -> tuple[list[Row], list[Step]]:
    """Run the chosen steps one after the other; rows are never cut, only changed or left out."""
    kept, steps = list(rows), []
    for work in _works(choice, evaluation):
        kept, step = work(kept)
        steps.append(step)
    return kept, steps


Work = Callable[[list[Row]], tuple[list[Row], Step]]


def _works(choice: Choice, evaluation: Evaluation) -> list[Work]:
    works: list[Work] = [partial(_sift, "encoding", partial(_where, _damaged))]
    if choice.mask:
        works.append(_mask)
    works.append(partial(_sift, "repetition", partial(_where, _looping)))
    if choice.boilerplate:
        phrases = [p.lower() for p in prompts.load("cleaning/boilerplate.txt").splitlines()]
        works.append(partial(_sift, "boilerplate", partial(_where, partial(_parroted, phrases))))
    if choice.languages:
        foreign = partial(_foreign, choice.languages)
        works.append(partial(_sift, "language", partial(_where, foreign)))
    works.append(partial(_sift, "duplicates", first_of_each))
    if choice.near:
        works.append(partial(_sift, "near-duplicates", unlike_each_other))
    return [*works, partial(_sift, "evaluation", evaluation.without)]


def _sift(
    name: str, sift: Callable[[list[Row]], Sifted], rows: list[Row]
) -> tuple[list[Row], Step]:
    kept, gone = sift(rows)
    samples = [(why, whole_text(row)[:SAMPLE]) for row, why in gone[:SAMPLES]]
    return kept, Step(name, len(rows), len(kept), Counter(why for _, why in gone), samples)


def _mask(rows: list[Row]) -> tuple[list[Row], Step]:
    counts = Counter[str]()
    made = [rewritten(row, partial(masked, counts=counts)) for row in rows]
    changed = [new for old, new in zip(rows, made, strict=True) if new is not old]
    samples = [("masked", whole_text(row)[:SAMPLE]) for row in changed[:SAMPLES]]
    return made, Step("privacy", len(rows), len(made), counts, samples, len(changed))


def _where(wrong: Callable[[Row], str | None], rows: Sequence[Row]) -> Sifted:
    found = [(row, wrong(row)) for row in rows]
    return [row for row, why in found if not why], [(row, why) for row, why in found if why]


def _damaged(row: Row) -> str | None:
    text = whole_text(row)
    if not text.strip():
        return "no text"
    if text.count(REPLACEMENT) > MOST_DAMAGE * len(text):
        return "characters that were lost in decoding"
    controls = sum(unicodedata.category(c) in ("Cc", "Cn", "Co") for c in text if c not in "\n\r\t")
    if controls > MOST_DAMAGE * len(text):
        return "control characters"
    return None


def _looping(row: Row) -> str | None:
    return LOOPS if runs_in_circles(row) else None


def _parroted(phrases: list[str], row: Row) -> str | None:
    """Only of what is to be done more of: a bad answer may say it."""
    if row.data.get("label") is False:
        return None
    answer = answers_of(row)[0].lower()
    found = next((phrase for phrase in phrases if phrase in answer), None)
    return f"says “{found}”" if found else None


def _foreign(languages: tuple[str, ...], row: Row) -> str | None:
    from py3langid.langid import classify  # noqa: PLC0415 - only needed here

    text = f"{prompt_of(row)}\n{answers_of(row)[0]}"
    if len(text) < SHORTEST_TO_JUDGE:
        return None
    found = classify(text)[0]
    return None if found in languages else f"is in {found}, it seems"


def as_facts(steps: Sequence[Step]) -> list[dict[str, object]]:
    """The steps as a report keeps them: the counts, and no text."""
    return [vars(replace(step, samples=[])) for step in steps]
