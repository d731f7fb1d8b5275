"""What comes back; for the description at /openapi.json, answers are not checked against it."""

from typing import Any, Literal

from pydantic import BaseModel

Finish = Literal["stop", "length", "content_filter", "tool_calls"]


class Error(BaseModel):
    """What went wrong, and what to do."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """Every failure has this body."""

    error: Error


class Model(BaseModel):
    """A version that is served, or the alias of the current one (`root` names it)."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    root: str | None = None


class Models(BaseModel):
    """What is served now."""

    object: Literal["list"]
    data: list[Model]


class Usage(BaseModel):
    """Tokens, without padding."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class CalledFunction(BaseModel):
    """A function, and what it is called with."""

    name: str
    arguments: str


class Call(BaseModel):
    """A call that the answer asks for."""

    id: str
    type: Literal["function"]
    function: CalledFunction


class Said(BaseModel):
    """The assistant's turn."""

    role: Literal["assistant"]
    content: str | None
    refusal: str | None = None
    tool_calls: list[Call] | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    """The same under its other name."""


class Choice(BaseModel):
    """One answer."""

    index: int
    message: Said
    logprobs: dict[str, Any] | None = None
    finish_reason: str | None


class ChatCompletion(BaseModel):
    """The next turn of a conversation, once or several times."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[Choice]
    usage: Usage | None = None
    metadata: dict[str, str] | None = None


class Page(BaseModel):
    """Part of a list; `last_id` goes into `after` for the next part."""

    object: Literal["list"]
    first_id: str | None
    last_id: str | None
    has_more: bool


class ChatCompletions(Page):
    """Kept completions."""

    data: list[ChatCompletion]


class Asked(BaseModel):
    """One turn of what was asked."""

    id: str
    role: str
    content: str
    name: str | None


class AskedTurns(Page):
    """What was asked, turn by turn."""

    data: list[Asked]


class Deleted(BaseModel):
    """A kept completion that is gone for good."""

    object: Literal["chat.completion.deleted"]
    id: str
    deleted: Literal[True]


class ResponseError(BaseModel):
    """Why a response failed."""

    code: str
    message: str


class MadeResponse(BaseModel):
    """A response; `output` holds messages and calls of functions."""

    id: str
    object: Literal["response"]
    created_at: int
    status: Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
    error: ResponseError | None
    incomplete_details: dict[str, str] | None
    model: str
    output: list[dict[str, Any]]
    previous_response_id: str | None
    usage: dict[str, Any] | None
    metadata: dict[str, str]


class DeletedResponse(BaseModel):
    """A kept response that is gone for good."""

    object: Literal["response"]
    id: str
    deleted: Literal[True]


class TextChoice(BaseModel):
    """One continuation."""

    index: int
    text: str
    logprobs: dict[str, Any] | None = None
    finish_reason: str | None


class TextCompletion(BaseModel):
    """A text, continued."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[TextChoice]
    usage: Usage | None = None


class Compared(BaseModel):
    """One of two answers; its id says nothing about who gave it."""

    id: str
    content: str


class Comparison(BaseModel):
    """Two answers drawn blind; judge them as a pair."""

    id: str
    object: Literal["comparison"]
    answers: list[Compared]


class Feedback(BaseModel):
    """A judgement, its answers under the names they were judged by."""

    id: str
    object: Literal["feedback"]
    created: int
    kind: Literal["thumb", "pair", "ranking", "correction", "withdrawal"]
    choice: str | None
    reasons: list[str]
    comment: str | None
    answers: list[str | None]
    ranks: list[int] | None = None
    withdraws: str | None = None


class Feedbacks(Page):
    """Judgements."""

    data: list[Feedback]


class Readiness(BaseModel):
    """Whether a token can be produced now."""

    ready: bool
    detail: str


class Moderated(BaseModel):
    """What one text was found to be; `harmful` is the only category."""

    flagged: bool
    categories: dict[str, bool]
    category_scores: dict[str, float]
    category_applied_input_types: dict[str, list[Literal["text"]]]


class Moderation(BaseModel):
    """What each text was found to be, in their order, and which version says so."""

    id: str
    model: str
    results: list[Moderated]
