"""What the store gives back: plain records of conversations, messages and judgements."""

import secrets
import time
from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["system", "user", "assistant"]

REASONS = {
    "up": ("correct", "helpful", "clear", "complete", "concise", "kind"),
    "down": ("wrong", "ignored_request", "unclear", "too_long", "too_short", "refused", "harmful"),
}
PAIR_CHOICES = ("first", "second", "tie", "both_bad")


@dataclass(frozen=True)
class Conversation:
    """One tree of messages, owned by one person or program."""

    id: str
    owner: str
    surface: str
    title: str | None
    created_at: int


@dataclass(frozen=True)
class Generation:
    """How a message of the model came to be: the server's own record, never a client's word."""

    version: str
    version_hash: str
    template_hash: str
    system_prompt_hash: str | None = None
    sampling: dict[str, Any] | None = field(default_factory=dict)
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    finish_reason: str | None = None
    first_token_ms: int | None = None
    total_ms: int | None = None
    completion_id: str | None = None
    choice_index: int | None = None


@dataclass(frozen=True)
class Message:
    """One turn. `content` is None once erased; `generation` is None unless a model wrote it."""

    id: str
    conversation_id: str
    parent_id: str | None
    role: str
    author: str
    content: str | None
    created_at: int
    generation: Generation | None = None
    tool_calls: list[dict[str, Any]] | None = None
    """What an answer asks programs to run, in OpenAI's shape."""
    tool_call_id: str | None = None
    """The call whose outcome this is; only of messages with the role tool."""

    @property
    def turn(self) -> dict[str, Any]:
        """The message as chat templates and trainers read it."""
        turn: dict[str, Any] = {"role": self.role, "content": self.content or ""}
        tools = {"tool_calls": self.tool_calls, "tool_call_id": self.tool_call_id}
        return turn | {name: value for name, value in tools.items() if value}


@dataclass(frozen=True)
class Target:
    """A message that a judgement names: where it stood, and its rank in a ranking."""

    message_id: str
    position: int
    rank: int | None = None


@dataclass(frozen=True)
class Judgement:
    """One thing somebody said about answers; an event that is never changed."""

    seq: int
    id: str
    kind: str
    owner: str
    surface: str
    choice: str | None
    reasons: tuple[str, ...]
    comment: str | None
    comparison_id: str | None
    corrected_id: str | None
    withdraws_id: str | None
    created_at: int
    erased_at: int | None
    targets: tuple[Target, ...]


def new_id(prefix: str) -> str:
    """A fresh unguessable id such as msg_9f…."""
    return f"{prefix}_{secrets.token_hex(12)}"


def now_ms() -> int:
    """Milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000
