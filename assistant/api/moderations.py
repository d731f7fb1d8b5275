"""POST /v1/moderations: does a text ask for harm, as the newest moderation version sees it."""

import asyncio
import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from assistant.access.callers import Caller
from assistant.access.door import Door
from assistant.access.ledger import estimated
from assistant.api import requests
from assistant.api.authorization import Gate
from assistant.api.notes import note_of
from assistant.api.openapi import gives, takes
from assistant.api.schemas.answers import Moderation
from assistant.api.schemas.moderations import ModerationRequest
from assistant.moderation import Moderators
from assistant.version import MODERATION

PATH = "/v1/moderations"
CATEGORY = "harmful"  # the only one: what it was trained on tells no kinds of harm apart


def router(moderators: Moderators, door: Door, gate: Gate) -> APIRouter:
    """The route of moderations; what they read counts against a key's limits, about."""
    routes = APIRouter()

    @routes.post(
        PATH,
        response_model=None,
        openapi_extra=takes(ModerationRequest),
        responses=gives(Moderation),
    )
    async def create(
        request: Request, caller: Annotated[Caller, Depends(gate("chat"))]
    ) -> dict[str, Any]:
        asked = ModerationRequest.read(await requests.read_object(request))
        version, classifier = await asyncio.to_thread(moderators.find, asked.version)
        caller.require_version(version.name, MODERATION)
        tokens, note = estimated(asked.input), note_of(request.scope)
        async with door.visit(caller, version.name, tokens) as used:
            note.version, note.used = version.name, used
            note.headers.update(used.headers)
            used.prompt_tokens = tokens
            found = await asyncio.to_thread(classifier.probabilities, asked.input)
            used.finished = True
        return {
            "id": f"modr-{secrets.token_hex(16)}",
            "model": version.name,
            "results": [_result(probability, classifier.threshold) for probability in found],
        }

    return routes


def _result(probability: float, threshold: float) -> dict[str, Any]:
    flagged = probability >= threshold
    return {
        "flagged": flagged,
        "categories": {CATEGORY: flagged},
        "category_scores": {CATEGORY: probability},
        "category_applied_input_types": {CATEGORY: ["text"]},
    }
