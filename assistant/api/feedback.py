"""POST /v1/feedback in all its forms; GET lists what was given, or reads one judgement."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from assistant.access.callers import Caller
from assistant.api import requests
from assistant.api.authorization import Gate
from assistant.api.openapi import gives, takes
from assistant.api.pages import After, Limit, Order, page
from assistant.api.schemas.answers import Feedback, Feedbacks
from assistant.api.schemas.feedback import (
    FORMS,
    Correction,
    Form,
    Pair,
    Ranking,
    Rating,
    Withdrawal,
    read_form,
)
from assistant.feedback.comparisons import split_answer_id
from assistant.feedback.records import Judgement
from assistant.feedback.store import FeedbackStore
from assistant.prompts import text_hash

SURFACE = "api"
CONSENT_BY_JUDGING = text_hash(
    "Judging a stored completion through the API is consent to train on it."
)


def router(store: FeedbackStore, gate: Gate) -> APIRouter:
    """Routes of judgements; they are given, read and withdrawn by their caller.

    A key with the scope `read-feedback` reads everybody's.
    """
    routes = APIRouter(prefix="/v1/feedback")
    Giving = Annotated[Caller, Depends(gate.writing("feedback"))]  # noqa: N806 - a type
    Reading = Annotated[Caller, Depends(gate())]  # noqa: N806 - a type

    @routes.post(
        "",
        status_code=201,
        openapi_extra=takes(*FORMS.values()),
        responses=gives(Feedback, 201),
    )
    async def give(request: Request, caller: Giving) -> JSONResponse:
        form = read_form(await requests.read_object(request))
        return JSONResponse(await asyncio.to_thread(_judged, store, caller, form), 201)

    @routes.get("", response_model=None, responses=gives(Feedbacks))
    async def listed(
        caller: Reading, after: After = None, limit: Limit = 20, order: Order = "asc"
    ) -> dict[str, Any]:
        asked = (_whose(caller), after, limit, order == "desc")
        return page(*await asyncio.to_thread(_page, store, *asked))

    @routes.get("/{judgement_id}", response_model=None, responses=gives(Feedback))
    async def read(judgement_id: str, caller: Reading) -> dict[str, Any]:
        return await asyncio.to_thread(_one, store, judgement_id, _whose(caller))

    return routes


def _whose(caller: Caller) -> str | None:
    """Whose judgements a caller may read; None for everybody's."""
    if caller.key and caller.key.allows("read-feedback"):
        return None
    caller.require("feedback")
    return caller.owner


def _judged(store: FeedbackStore, caller: Caller, form: Form) -> dict[str, Any]:
    return _shown(store, _judge(store, caller, form))


def _page(
    store: FeedbackStore, whose: str | None, after: str | None, limit: int, newest_first: bool
) -> tuple[list[dict[str, Any]], bool]:
    found, more = store.judgements.page(whose, after, limit, newest_first)
    return [_shown(store, judgement) for judgement in found], more


def _one(store: FeedbackStore, judgement_id: str, whose: str | None) -> dict[str, Any]:
    return _shown(store, store.judgements.get(judgement_id, whose))


def _judge(store: FeedbackStore, caller: Caller, form: Form) -> Judgement:
    """Store one judgement; unless the key says otherwise, it is also the consent to train on it."""
    owner = caller.owner
    judgement = _give(store, owner, form)
    if not caller.trains:
        return judgement
    named = [t.message_id for t in judgement.targets]
    for message in store.conversations.messages(named, owner):
        if not store.conversations.consent(owner, message.conversation_id):
            store.conversations.set_consent(
                owner, message.conversation_id, True, CONSENT_BY_JUDGING
            )
    return judgement


def _give(store: FeedbackStore, owner: str, form: Form) -> Judgement:
    judgements = store.judgements

    def answer(name: str) -> str:
        return _message_id(store, owner, name)

    match form:
        case Rating(completion_id=name, rating=rating, reasons=reasons, comment=comment):
            return judgements.thumb(owner, SURFACE, answer(name), rating, reasons, comment)
        case Pair(pair=pair, choice=choice):
            return _give_pair(store, owner, pair, choice)
        case Ranking(ranking=groups):
            return judgements.ranking(owner, SURFACE, [[answer(i) for i in g] for g in groups])
        case Correction(completion_id=name, correction=text):
            return judgements.correction(owner, SURFACE, answer(name), text)
        case Withdrawal(withdraw=judgement_id):
            return judgements.withdraw(owner, SURFACE, judgement_id)


def _give_pair(store: FeedbackStore, owner: str, pair: list[str], choice: str) -> Judgement:
    """A pair that the server drew is judged as such; one the client chose is only a pair."""
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
