"""POST /v1/feedback in all its forms, and GET /v1/feedback/{id}."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from assistant.api import requests
from assistant.errors import Invalid
from assistant.feedback.comparisons import split_answer_id
from assistant.feedback.records import Judgement
from assistant.feedback.store import FeedbackStore
from assistant.prompts import text_hash

SURFACE = "api"
FORMS = {  # the field that tells a form, and all fields it may have
    "rating": {"completion_id", "rating", "reasons", "comment"},
    "pair": {"pair", "choice"},
    "ranking": {"ranking"},
    "correction": {"completion_id", "correction"},
    "withdraw": {"withdraw"},
}
CONSENT_BY_JUDGING = text_hash(
    "Judging a stored completion through the API is consent to train on it."
)


def router(store: FeedbackStore, owner: str) -> APIRouter:
    """Routes of judgements; they are given and read as `owner`."""
    routes = APIRouter(prefix="/v1/feedback")

    @routes.post("")
    async def give(request: Request) -> JSONResponse:
        body = await requests.read_object(request)
        judgement = await asyncio.to_thread(_judge, store, owner, body)
        return JSONResponse(_shown(store, judgement), 201)

    @routes.get("/{judgement_id}")
    async def read(judgement_id: str) -> dict[str, Any]:
        judgement = await asyncio.to_thread(store.judgements.get, judgement_id, owner)
        return _shown(store, judgement)

    return routes


def _judge(store: FeedbackStore, owner: str, body: dict[str, Any]) -> Judgement:
    """Store one judgement; it is also the consent to train on what it names."""
    judgement = _give(store, owner, _form(body), body)
    named = [t.message_id for t in judgement.targets]
    for message in store.conversations.messages(named, owner):
        if not store.conversations.consent(owner, message.conversation_id):
            store.conversations.set_consent(
                owner, message.conversation_id, True, CONSENT_BY_JUDGING
            )
    return judgement


def _give(store: FeedbackStore, owner: str, form: str, body: dict[str, Any]) -> Judgement:
    judgements = store.judgements

    def answer(name: Any) -> str:
        return _message_id(store, owner, _text(name, "completion_id"))

    match form:
        case "rating":
            return judgements.thumb(
                *(owner, SURFACE, answer(body.get("completion_id")), body["rating"]),
                _texts(body.get("reasons") or [], "reasons"),
                body.get("comment") and _text(body["comment"], "comment"),
            )
        case "pair":
            return _give_pair(store, owner, body)
        case "ranking":
            if not isinstance(body["ranking"], list):
                raise Invalid("'ranking' must be a list of lists of ids.", "ranking")
            groups = [_texts(group, "ranking") for group in body["ranking"]]
            return judgements.ranking(owner, SURFACE, [[answer(i) for i in g] for g in groups])
        case "correction":
            text = _text(body["correction"], "correction")
            return judgements.correction(owner, SURFACE, answer(body.get("completion_id")), text)
    return judgements.withdraw(owner, SURFACE, _text(body["withdraw"], "withdraw"))


def _give_pair(store: FeedbackStore, owner: str, body: dict[str, Any]) -> Judgement:
    """A pair that the server drew is judged as such; one the client chose is only a pair."""
    pair = _texts(body["pair"], "pair")
    if len(pair) != 2:
        raise Invalid("'pair' must name two answers.", "pair")
    choice = _text(body.get("choice"), "choice")
    if drawn := _drawn_pair(pair):
        return store.judgements.compared(owner, SURFACE, drawn[0], _as_shown(choice, drawn[1]))
    first, second = (_message_id(store, owner, answer) for answer in pair)
    return store.judgements.pair(owner, SURFACE, first, second, choice)


def _message_id(store: FeedbackStore, owner: str, answer: str) -> str:
    if drawn := split_answer_id(answer):
        return store.comparisons.answer(*drawn, owner)
    return store.completions.message_id(answer, owner)


def _drawn_pair(pair: list[str]) -> tuple[str, int] | None:
    """The comparison that both answers are of, and the position of the one named first."""
    first, second = (split_answer_id(answer) for answer in pair)
    if first and second and first[0] == second[0] and first[1] != second[1]:
        return first
    return None


def _as_shown(choice: str, first_named: int) -> str:
    """The choice in the order in which the two answers were drawn."""
    swapped = {"first": "second", "second": "first"}
    return swapped.get(choice, choice) if first_named == 1 else choice


def _form(body: dict[str, Any]) -> str:
    forms = [form for form in FORMS if form in body]
    if len(forms) != 1:
        raise Invalid(
            "A judgement has exactly one of: rating (with completion_id), pair (with choice), "
            "ranking, correction (with completion_id), withdraw."
        )
    for name in body:
        if name not in FORMS[forms[0]]:
            raise Invalid(f"A judgement by {forms[0]!r} has no field {name!r}.", name)
    if forms[0] == "rating" and not isinstance(body["rating"], str):
        raise Invalid("A rating is 'up' or 'down'.", "rating")
    return forms[0]


def _text(value: Any, param: str) -> str:
    if not isinstance(value, str) or not value:
        raise Invalid(f"{param!r} must be a text.", param)
    return value


def _texts(value: Any, param: str) -> list[str]:
    if not isinstance(value, list):
        raise Invalid(f"{param!r} must be a list of texts.", param)
    return [_text(item, param) for item in value]


def _shown(store: FeedbackStore, judgement: Judgement) -> dict[str, Any]:
    """A judgement as the API gives it back, answers under the names programs know them by."""
    ids = [t.message_id for t in judgement.targets]
    names = store.comparisons.answer_ids(ids) | store.completions.answer_ids(ids)
    shown: dict[str, Any] = {
        "id": judgement.id,
        "object": "feedback",
        "created": judgement.created_at // 1000,
        "kind": judgement.kind,
        "choice": judgement.choice,
        "reasons": list(judgement.reasons),
        "comment": judgement.comment,
        "answers": [names.get(t.message_id) for t in judgement.targets],
    }
    if judgement.kind == "ranking":
        shown["ranks"] = [t.rank for t in judgement.targets]
    if judgement.withdraws_id:
        shown["withdraws"] = judgement.withdraws_id
    return shown
