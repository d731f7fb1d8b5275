"""Where the answers are in a conversation whose chat template does not mark them.

An answer is what follows the head that the server would have asked the model to go on from, up to
the end of the turn: so training goes on from what is served. Many templates write earlier answers
otherwise than the last one, without thoughts for instance; those are not learnt.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

from assistant.errors import ModelError

MARK = re.compile(r"\{%-?\s*generation\s*-?%\}")
HELP = "put {% generation %} and {% endgeneration %} around answers in its chat_template.jinja."
Span = tuple[int, int]  # characters
Text = Callable[..., str]


def marks(template: str) -> bool:
    """Whether a template says itself what an answer is."""
    return bool(MARK.search(template))


def answers(
    tokenizer: Any, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None
) -> tuple[list[int], list[bool]]:
    """The ids of a conversation, and which of them belong to answers, their ends included.

    Raises ModelError where the last answer does not go on from its head, or has no end.
    """

    def text(said: list[dict[str, Any]], head: bool = False) -> str:
        made = tokenizer.apply_chat_template(
            said, tools=tools, tokenize=False, add_generation_prompt=head
        )
        return str(made)

    whole = text(messages)
    spoken = [place for place, said in enumerate(messages) if said["role"] == "assistant"]
    spans = [_span(whole, messages, place, text, str(tokenizer.eos_token)) for place in spoken]
    if not spans or not spans[-1]:
        raise ModelError(f"The chat template does not mark what an answer is; {HELP}")
    start, end = spans[-1]
    prompt, asked = _read(tokenizer, whole[:start], [span for span in spans[:-1] if span])
    answer, learnt = _read(tokenizer, whole[start:], [(0, end - start)])
    if tokenizer.decode([answer[sum(learnt) - 1]], skip_special_tokens=True):
        raise ModelError(f"The chat template writes no end after an answer; {HELP}")
    return prompt + answer, asked + learnt


def _span(
    whole: str, messages: list[dict[str, Any]], place: int, text: Text, end: str
) -> Span | None:
    """Where the whole conversation has an answer as it was when it was the last one."""
    head = text(messages[:place], head=True)
    turn = text(messages[: place + 1]).rstrip()
    for written in (turn, turn.removesuffix(end).rstrip()):  # an end of all, which moves on
        if whole.startswith(written) and written.startswith(head):
            return len(head), len(written)
    return None


def _read(tokenizer: Any, text: str, spans: Sequence[Span]) -> tuple[list[int], list[bool]]:
    """Ids, and which of them lie in a span. A prompt is read by itself, as engines read it."""
    made = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    return made["input_ids"], [
        start < end and any(a <= start and end <= b for a, b in spans)
        for start, end in made["offset_mapping"]
    ]
