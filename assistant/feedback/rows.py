"""From judgements to training rows in TRL's shapes; what is left out is counted, with the reason.

preference: {"prompt", "chosen", "rejected"}   unpaired: {"prompt", "completion", "label"}
messages: {"messages"}; every text is a list of {"role", "content"}. TRL has no ties; here they are
tie: {"prompt", "chosen", "rejected", "tie"}, where the order of the two sides means nothing.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any, Literal

from assistant.feedback.judgements import in_effect
from assistant.feedback.records import Judgement, Message
from assistant.feedback.turns import (
    BROKEN_CALL,
    OTHER_TOOLS,
    calls_well,
    cut_off,
    said,
    temperature,
    tools,
    turn,
)

Shape = Literal["preference", "unpaired", "messages", "tie"]
SHAPES: tuple[Shape, ...] = ("preference", "unpaired", "messages")  # those that TRL knows
Turns = list[dict[str, Any]]
NO_BETTER_SIDE = "tie or both bad: no better side"
UNFINISHED = "good, but cut off before its end: would teach not to stop"
VERDICTS = {"up": True, "tie": True, "down": False, "both_bad": False}
"""What a thumb, or a pair without a better side, says of each answer alone."""


@dataclass(frozen=True)
class Snapshot:
    """Everything rows are made from, read at one moment."""

    messages: dict[str, Message]
    judgements: tuple[Judgement, ...]
    consented: frozenset[str]
    """Conversations whose owner agreed to training."""

    def path(self, answer: Message) -> list[Message]:
        """The messages from the root to an answer."""
        path = [answer]
        while (parent := path[0].parent_id) is not None:
            path.insert(0, self.messages[parent])
        return path

    def prompt(self, answer: Message) -> Turns:
        """The turns before an answer, from the root on."""
        return [turn(message) for message in self.path(answer)[:-1]]


@dataclass(frozen=True)
class Row:
    """One training example and where it came from."""

    data: dict[str, Any]
    conversation_id: str
    judgement_ids: tuple[str, ...]
    unfinished: tuple[str, ...] = ()
    """The columns (rejected, completion) whose answer was cut off before its end."""
    corrected: bool = False
    """Whether the answer worth imitating was written by a person as a correction."""
    temperature: float = 1.0
    """What the answers were sampled at, on average; 1 where nothing was sampled."""
    weight: float = 1.0
    """How much a preference counts: how far those who judged the two answers agree."""
    person: str = ""
    """Who judged, where that is known."""
    whole: bool = False
    """Whether every answer of the conversation is to be imitated, not only the last one."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What else its line of a file says: who made it, what it scored."""


@dataclass
class Rows:
    """The rows of one shape, and what was left out and why."""

    rows: list[Row] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def build(shape: Shape, snapshot: Snapshot) -> Rows:
    """All rows of one shape that the judgements in effect and the given consents allow."""
    rows = Rows()
    usable = list(_usable(snapshot, rows.left_out))
    makers: dict[Shape, Callable[..., Iterator[Row]]] = {
        "preference": _preferences,
        "unpaired": _unpaired,
        "messages": _messages,
        "tie": _ties,
    }
    people = {judgement.id: judgement.owner for judgement in usable}
    made = makers[shape](snapshot, usable, rows.left_out)
    rows.rows = [replace(row, person=people[row.judgement_ids[0]]) for row in made]
    return rows


def _usable(snapshot: Snapshot, left_out: Counter[str]) -> Iterator[Judgement]:
    effective = in_effect(snapshot.judgements)
    withdrawals = sum(j.kind == "withdrawal" for j in snapshot.judgements)
    gone = len(snapshot.judgements) - withdrawals - len(effective)
    left_out.update({"withdrawn or replaced by a later judgement": gone} if gone else {})
    for judgement in effective:
        named = [snapshot.messages[t.message_id] for t in judgement.targets]
        if judgement.erased_at is not None or any(m.content is None for m in named):
            left_out["deleted"] += 1
        elif not all(m.conversation_id in snapshot.consented for m in named):
            left_out["no consent"] += 1
        elif not all(calls_well(m) for answer in named for m in snapshot.path(answer)):
            left_out[BROKEN_CALL] += 1
        elif tools(*named) is None:
            left_out[OTHER_TOOLS] += 1
        else:
            yield judgement


def _preferences(
    snapshot: Snapshot, usable: list[Judgement], left_out: Counter[str]
) -> Iterator[Row]:
    for judgement in usable:
        for better, worse in _stated_preferences(judgement, left_out):
            yield from _preference(snapshot, better, worse, (judgement.id,), left_out)
    for up, down in _opposite_thumbs(snapshot, usable):
        named = up.targets[0].message_id, down.targets[0].message_id
        yield from _preference(snapshot, *named, (up.id, down.id), left_out)


def _stated_preferences(judgement: Judgement, left_out: Counter[str]) -> Iterator[tuple[str, str]]:
    """(better, worse) message ids that one judgement states."""
    named = [t.message_id for t in judgement.targets]
    match judgement.kind, judgement.choice:
        case "pair", "first":
            yield named[0], named[1]
        case "pair", "second":
            yield named[1], named[0]
        case "pair", _:
            left_out[NO_BETTER_SIDE] += 1
        case "ranking", _:
            for one, other in combinations(judgement.targets, 2):  # in order of rank
                if one.rank != other.rank:
                    yield one.message_id, other.message_id
        case "correction", _:
            assert judgement.corrected_id is not None
            yield judgement.corrected_id, named[0]


def _ties(snapshot: Snapshot, usable: list[Judgement], left_out: Counter[str]) -> Iterator[Row]:
    for judgement in usable:
        for one, other in _stated_ties(judgement):
            answers = [snapshot.messages[one], snapshot.messages[other]]
            if said(answers[0]) == said(answers[1]):
                left_out["both sides read the same"] += 1
                continue
            sides = {"chosen": [turn(answers[0])], "rejected": [turn(answers[1])]}
            offered = tools(*answers) or {}
            data = {"prompt": snapshot.prompt(answers[0]), **sides, "tie": True} | offered
            cut = tuple(n for n, a in zip(sides, answers, strict=True) if cut_off(a))
            at = temperature(*answers)
            yield Row(data, answers[0].conversation_id, (judgement.id,), cut, temperature=at)


def _stated_ties(judgement: Judgement) -> Iterator[tuple[str, str]]:
    """Message ids of which one judgement finds neither better."""
    if judgement.kind == "pair" and judgement.choice in ("tie", "both_bad"):
        yield judgement.targets[0].message_id, judgement.targets[1].message_id
    if judgement.kind == "ranking":
        for one, other in combinations(judgement.targets, 2):
            if one.rank == other.rank:
                yield one.message_id, other.message_id


def _opposite_thumbs(
    snapshot: Snapshot, usable: list[Judgement]
) -> Iterator[tuple[Judgement, Judgement]]:
    """One rater's thumbs that differ on two answers to the same question."""
    places: dict[tuple[str, str | None], dict[str, list[Judgement]]] = {}
    for thumb in usable:
        if thumb.kind == "thumb" and thumb.choice:
            parent = snapshot.messages[thumb.targets[0].message_id].parent_id
            verdicts = places.setdefault((thumb.owner, parent), {})
            verdicts.setdefault(thumb.choice, []).append(thumb)
    for verdicts in places.values():
        for up in verdicts.get("up", []):
            for down in verdicts.get("down", []):
                yield up, down


def _preference(
    snapshot: Snapshot, better: str, worse: str, ids: tuple[str, ...], left_out: Counter[str]
) -> Iterator[Row]:
    chosen, rejected = snapshot.messages[better], snapshot.messages[worse]
    if said(chosen) == said(rejected):
        left_out["both sides read the same"] += 1
        return
    if cut_off(chosen):
        left_out[UNFINISHED] += 1
        return
    if (offered := tools(chosen, rejected)) is None:
        left_out[OTHER_TOOLS] += 1
        return
    sides = {"chosen": [turn(chosen)], "rejected": [turn(rejected)]}
    data = {"prompt": snapshot.prompt(chosen), **sides} | offered
    cut = ("rejected",) if cut_off(rejected) else ()
    yield Row(data, chosen.conversation_id, ids, cut, temperature=temperature(chosen, rejected))


def _unpaired(snapshot: Snapshot, usable: list[Judgement], left_out: Counter[str]) -> Iterator[Row]:
    for judgement in usable:
        good = VERDICTS.get(judgement.choice or "")
        if good is not None:
            for target in judgement.targets:
                answer = snapshot.messages[target.message_id]
                cut = cut_off(answer)
                if good and cut:
                    left_out[UNFINISHED] += 1
                    continue
                judged = {"completion": [turn(answer)], "label": good}
                data = {"prompt": snapshot.prompt(answer), **judged} | (tools(answer) or {})
                unfinished = ("completion",) if cut else ()
                made = (data, answer.conversation_id, (judgement.id,), unfinished)
                yield Row(*made, temperature=temperature(answer))
        else:
            left_out[f"{judgement.kind}: says nothing about an answer alone"] += 1


def _messages(snapshot: Snapshot, usable: list[Judgement], left_out: Counter[str]) -> Iterator[Row]:
    for judgement in usable:
        good = judgement.corrected_id
        if judgement.kind == "thumb" and judgement.choice == "up":
            good = judgement.targets[0].message_id
        if good is None:
            left_out[f"{judgement.kind}: shows no answer worth imitating"] += 1
            continue
        answer = snapshot.messages[good]
        if cut_off(answer):
            left_out[UNFINISHED] += 1
            continue
        turns = [*snapshot.prompt(answer), turn(answer)]
        corrected = judgement.kind == "correction"
        named = [snapshot.messages[target.message_id] for target in judgement.targets]
        data = {"messages": turns} | (tools(*named, answer) or {})
        made = (data, answer.conversation_id, (judgement.id,))
        yield Row(*made, corrected=corrected, temperature=temperature(answer))


def used_judgements(rows: Iterable[Row]) -> list[str]:
    """The ids of all judgements that made these rows, each once."""
    return sorted({i for row in rows for i in row.judgement_ids})
