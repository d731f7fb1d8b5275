"""One row of a file, in whichever of the usual formats, as a prompt, answers, and what is said."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from assistant.errors import Invalid
from assistant.feedback.dialogue import Turns, turns, written_down
from assistant.feedback.tool_calls import tools_of

Kind = Literal["chat", "pair", "thumb", "ranking", "text", "prompt"]
UNKNOWN = (
    "no known columns (messages; conversations; instruction and output; chosen and rejected; "
    "prompt and completion, with or without label; prompt and completions; preferred_output and "
    "non_preferred_output; text; prompt)"
)


@dataclass(frozen=True)
class Example:
    """One row understood."""

    kind: Kind
    format: str
    """The format's usual name."""
    prompt: Turns = field(default_factory=list)
    answers: tuple[dict[str, Any], ...] = ()
    """Assistant turns: of a chat the last one, of a pair the better one first."""
    liked: bool = True
    """What a thumb says."""
    ranks: tuple[float, ...] = ()
    """Of a ranking's answers; less is better, the same is a tie."""
    margin: float = 0.0
    """By how much a pair's better answer is better, in whatever unit the file has."""
    tools: tuple[dict[str, Any], ...] = ()
    text: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    """What else stands there: for a reward to look at, or to be kept."""
    columns: frozenset[str] = frozenset()
    """What of the row was read, as far as an import keeps it."""

    @property
    def texts(self) -> tuple[str, ...]:
        """What the answers say."""
        return tuple(answer["content"] for answer in self.answers)


def understand(row: Any) -> Example:
    """Recognise a row by its columns. Raises Invalid, saying what is wrong with it."""
    if not isinstance(row, Mapping):
        raise Invalid("not a JSON object")
    given = {name: value for name, value in row.items() if value is not None}
    for name, columns, read in FORMATS:
        if columns <= set(given):
            return read(name, given)
    raise Invalid(UNKNOWN)


def _openai_preference(name: str, row: dict[str, Any]) -> Example:
    asked = row["input"] if isinstance(row["input"], Mapping) else {"messages": row["input"]}
    sides = [turns(row[side], "assistant") for side in PREFERRED]
    prompt = turns(asked.get("messages"), "user")
    told = row | {"tools": asked.get("tools")}
    return _pair(name, told, prompt, sides, "input", *PREFERRED)


def _sharegpt(name: str, row: dict[str, Any]) -> Example:
    said = _with_system(row, turns(row["conversations"], "user"))
    read = ("conversations", "system")
    if set(SIDES) <= set(row):
        return _pair(name, row, said, [_one(row[side]) for side in SIDES], *read, *SIDES)
    if "kto_tag" in row:
        return _thumb(name, row, said[:-1], said[-1:], "kto_tag", *read)
    return _chat(name, row, said, *read)


def _alpaca(name: str, row: dict[str, Any]) -> Example:
    """LLaMA-Factory's reading: input on a new line, history as pairs of turns before."""
    asked = "\n".join(filter(None, (_string(row, "instruction"), _string(row, "input"))))
    earlier = _history(row.get("history") or [])
    prompt = _with_system(row, turns([*earlier, {"role": "user", "content": asked}], "user"))
    read = ("instruction", "input", "history", "system")
    if set(SIDES) <= set(row):
        return _pair(name, row, prompt, _sides(row), *read, *SIDES)
    if "output" not in row:
        raise Invalid(UNKNOWN)
    answer = turns(row["output"], "assistant")
    if "kto_tag" in row:
        return _thumb(name, row, prompt, answer, "kto_tag", *read, "output")
    return _chat(name, row, prompt + answer, *read, "output")


def _history(said: Any) -> Turns:
    if not isinstance(said, list) or not all(isinstance(o, list) and len(o) == 2 for o in said):
        raise Invalid("history is not a list of pairs of question and answer")
    roles = ("user", "assistant")
    return [{"role": r, "content": t} for one in said for r, t in zip(roles, one, strict=True)]


def _preference(name: str, row: dict[str, Any]) -> Example:
    """Sides are answers, or whole conversations, as turns or written down (hh-rlhf)."""
    if "prompt" in row:
        prompt, sides = turns(row["prompt"], "user"), _sides(row)
        if all(len(side) > 1 and side[:-1] == prompt for side in sides):
            sides = [side[-1:] for side in sides]
        return _pair(name, row, prompt, sides, "prompt", *SIDES)
    chosen, rejected = (written_down(row[side]) or turns(row[side], "assistant") for side in SIDES)
    if rejected[:-1] != chosen[:-1]:
        raise Invalid("chosen and rejected answer different prompts")
    return _pair(name, row, chosen[:-1], [chosen[-1:], rejected[-1:]], *SIDES)


def _unpaired(name: str, row: dict[str, Any]) -> Example:
    prompt, answer = turns(row["prompt"], "user"), turns(row["completion"], "assistant")
    return _thumb(name, row, prompt, answer, "label", "prompt", "completion")


def _completion(name: str, row: dict[str, Any]) -> Example:
    said = turns(row["prompt"], "user") + turns(row["completion"], "assistant")
    return _chat(name, row, said, "prompt", "completion")


def _messages(name: str, row: dict[str, Any]) -> Example:
    return _chat(name, row, turns(row["messages"], "user"), "messages")


def _ranking(name: str, row: dict[str, Any]) -> Example:
    """`ranks` (less is better) or `scores` (more is better); without, the best stands first."""
    given = row["completions"]
    if not isinstance(given, list) or len(given) < 2:
        raise Invalid("completions is not a list of two or more answers")
    ranks = _numbers(row.get("ranks", [*range(len(given))]))
    if "scores" in row:
        ranks = tuple(-score for score in _numbers(row["scores"]))
    if len(ranks) != len(given):
        raise Invalid(f"{len(given)} completions, but {len(ranks)} ranks or scores")
    answers = [turns(answer, "assistant") for answer in given]
    read = ("prompt", "completions", "ranks", "scores")
    made = _made("ranking", name, row, turns(row["prompt"], "user"), answers, *read)
    return replace(made, ranks=ranks)


def _text(name: str, row: dict[str, Any]) -> Example:
    if not isinstance(row["text"], str) or not row["text"].strip():
        raise Invalid("text is empty, or not a text")
    others = {column: value for column, value in row.items() if column != "text"}
    return Example("text", name, text=row["text"], columns=frozenset({"text"}), facts=others)


def _prompt(name: str, row: dict[str, Any]) -> Example:
    facts = {column: value for column, value in row.items() if column not in ("prompt", "tools")}
    prompt = turns(row["prompt"], "user")
    return replace(_made("prompt", name, row, prompt, [], *row), facts=facts)


Read = Callable[[str, dict[str, Any]], Example]
SIDES = ("chosen", "rejected")
PREFERRED = ("preferred_output", "non_preferred_output")
FORMATS: tuple[tuple[str, set[str], Read], ...] = (  # the first whose columns are all there
    ("OpenAI preference", {"input", *PREFERRED}, _openai_preference),
    ("ShareGPT", {"conversations"}, _sharegpt),
    ("Alpaca", {"instruction"}, _alpaca),
    ("chosen/rejected", {"chosen", "rejected"}, _preference),
    ("prompt/completion/label", {"prompt", "completion", "label"}, _unpaired),
    ("prompt/completion", {"prompt", "completion"}, _completion),
    ("ranking", {"prompt", "completions"}, _ranking),
    ("messages", {"messages"}, _messages),
    ("text", {"text"}, _text),
    ("prompt", {"prompt"}, _prompt),
)


def _pair(name: str, row: dict[str, Any], prompt: Turns, sides: list[Turns], *read: str) -> Example:
    made = _made("pair", name, row, prompt, sides, *read)
    if made.answers[0] == made.answers[1]:
        raise Invalid("chosen and rejected are identical")
    return replace(made, margin=_margin(row))


def _margin(row: dict[str, Any]) -> float:
    given = row.get("margin", 0.0)
    try:
        margin = float(given)  # in CSV it is a text
    except (TypeError, ValueError):
        margin = math.nan
    if isinstance(given, bool) or not math.isfinite(margin):
        raise Invalid("margin is not a number")
    return margin


def _thumb(
    name: str, row: dict[str, Any], prompt: Turns, answer: Turns, label: str, *read: str
) -> Example:
    liked = row[label]
    if isinstance(liked, str):
        liked = {"true": True, "false": False}.get(liked.lower())
    if not isinstance(liked, bool):
        raise Invalid("label is not true or false")
    return replace(_made("thumb", name, row, prompt, [answer], label, *read), liked=liked)


def _chat(name: str, row: dict[str, Any], said: Turns, *read: str) -> Example:
    if said[-1]["role"] != "assistant":
        raise Invalid("the conversation does not end with an answer")
    return _made("chat", name, row, said[:-1], [said[-1:]], *read)


def _made(
    kind: Kind, name: str, row: dict[str, Any], prompt: Turns, answers: list[Turns], *read: str
) -> Example:
    made = tuple(map(_answer, answers))
    if not prompt or prompt[-1]["role"] not in ("user", "tool"):
        raise Invalid("the prompt does not end with a user's turn")
    tools = tools_of(row.get("tools"))
    columns = frozenset({"tools", *read})
    others = {column: value for column, value in row.items() if column not in columns}
    return Example(kind, name, prompt, made, tools=tools, columns=columns, facts=others)


def _answer(said: Turns) -> dict[str, Any]:
    alone = len(said) == 1 and said[0]["role"] == "assistant"
    if not alone or not (said[0]["content"].strip() or said[0].get("tool_calls")):
        raise Invalid("an answer must be one assistant turn with text")
    return said[0]


def _sides(row: dict[str, Any]) -> list[Turns]:
    return [turns(row[side], "assistant") for side in SIDES]


def _one(value: Any) -> Turns:
    return turns([value] if isinstance(value, Mapping) else value, "assistant")


def _with_system(row: dict[str, Any], said: Turns) -> Turns:
    system = _string(row, "system")
    return [{"role": "system", "content": system}, *said] if system else said


def _string(row: dict[str, Any], name: str) -> str:
    value = row.get(name, "")
    if not isinstance(value, str):
        raise Invalid(f"{name} is not a text")
    return value


def _numbers(values: Any) -> tuple[float, ...]:
    numbers = isinstance(values, list) and all(isinstance(v, int | float) for v in values)
    if not numbers or not all(map(math.isfinite, values)):
        raise Invalid("ranks or scores are not numbers")
    return tuple(values)
