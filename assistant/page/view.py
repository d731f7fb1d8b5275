"""What the chat shows of a stored conversation: one path through its tree, and its forks."""

from dataclasses import dataclass
from typing import Any

from assistant.chat import Draft
from assistant.feedback.records import Judgement, Message
from assistant.page.markdown import escaped, harmless
from assistant.page.strings import Words

THUMBS = {"up": "Like", "down": "Dislike"}


@dataclass(frozen=True)
class Fork:
    """A place on the path where the conversation could go on differently."""

    role: str
    turn: int
    which: int
    versions: tuple[str, ...]
    """The messages to choose from, in the order they were said."""


@dataclass(frozen=True)
class View:
    """One path from the first question to `leaf`."""

    messages: tuple[Message, ...]
    forks: tuple[Fork, ...]

    @property
    def leaf(self) -> Message | None:
        """The last message shown."""
        return self.messages[-1] if self.messages else None


def view(tree: list[Message], leaf_id: str | None) -> View:
    """The path to `leaf_id`, or to the latest message; system messages are not shown."""
    by_id = {message.id: message for message in tree}
    leaf = by_id.get(leaf_id or "") or (tree[-1] if tree else None)
    path: list[Message] = []
    while leaf is not None:
        path.insert(0, leaf)
        leaf = by_id.get(leaf.parent_id or "")
    shown = [message for message in path if message.role != "system"]
    return View(tuple(shown), tuple(_forks(tree, shown)))


def latest_below(tree: list[Message], message_id: str) -> str:
    """The latest message that follows from this one; the message itself if none does."""
    family = {message_id}
    latest = message_id
    for message in tree:  # children come after their parents
        if message.parent_id in family:
            family.add(message.id)
            latest = message.id
    return latest


def bubbles(messages: tuple[Message, ...], say: Words) -> list[dict[str, Any]]:
    """Messages as the chat component takes them, each carrying its id."""
    return [
        {
            "role": message.role,
            "content": _text(message, say),
            "metadata": {"id": message.id},
        }
        for message in messages
    ]


def growing(draft: Draft, say: Words) -> list[dict[str, Any]]:
    """An answer on its way; before it, folded up once it comes, what was thought."""
    answer = {"role": "assistant", "content": escaped(draft.text)}
    if not draft.thoughts:
        return [answer]
    status = "done" if draft.text else "pending"
    thought = {
        "role": "assistant",
        "content": escaped(draft.thoughts),
        "metadata": {"title": say("thinking"), "status": status},
    }
    return [thought, *([answer] if draft.text else [])]


def waiting(detail: str, say: Words) -> dict[str, Any]:
    """In an answer's place, what its question waits for."""
    return {"role": "assistant", "content": escaped(say("waits", detail=detail))}


def thumbs(messages: tuple[Message, ...], judgements: list[Judgement]) -> list[str | None]:
    """The thumb that is in effect for each answer shown, None where there is none."""
    given = {j.targets[0].message_id: j.choice for j in judgements if j.kind == "thumb"}
    answers = [message for message in messages if message.role == "assistant"]
    return [THUMBS.get(given.get(answer.id) or "") for answer in answers]


def _forks(tree: list[Message], shown: list[Message]) -> list[Fork]:
    forks, turn = [], 0
    for message in shown:
        turn += message.role == "user"
        same_place = [
            m.id for m in tree if m.parent_id == message.parent_id and m.role == message.role
        ]
        if len(same_place) == 1:
            continue
        which = same_place.index(message.id)
        forks.append(Fork(message.role, turn, which, tuple(same_place)))
    return forks


def _text(message: Message, say: Words) -> str:
    text = harmless(message.content or "")
    made = message.generation
    if made and made.finish_reason == "interrupted":
        return f"{text} _({say('stopped')})_"
    if made and made.finish_reason == "length" and not text:
        return f"_({say('thought_only')})_"
    if message.role == "assistant" and message.author == "person":
        return f"{text}\n\n_({say('by_you')})_"
    return text
