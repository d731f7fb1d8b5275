"""POST /v1/moderations: does a text ask for harm, as the newest moderation version sees it."""

import asyncio
import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from assistant.access.callers import Caller
from assistant.access.door import Door
from assistant.access.ledger import estimated
from assistant.access.turnstile import Turnstile
from assistant.api import requests
from assistant.api.authorization import Gate
from assistant.api.connected import while_connected
from assistant.api.notes import note_of
from assistant.api.openapi import gives, takes
from assistant.api.schemas.answers import Moderation
from assistant.api.schemas.moderations import ModerationRequest
from assistant.moderation import Classifier, Moderators
from assistant.version import MODERATION

PATH = "/v1/moderations"
PLACES, WAITING, PATIENCE = 2, 64, 30.0  # at once, in the queue, seconds
CATEGORY = "harmful"  # the only one: what it was trained on tells no kinds of harm apart


def router(moderators: Moderators, door: Door, gate: Gate) -> APIRouter:
    """The route of moderations; what they read counts against a key's limits, about."""
    routes, desk = APIRouter(), _Desk()

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
        version, classifier = await asyncio.to_thread(
            moderators.find, asked.version, lambda name: caller.may_ask(name, MODERATION)
        )
        tokens, note = estimated(asked.input), note_of(request.scope)
        async with door.visit(caller, version.name, tokens) as used:
            note.version, note.used = version.name, used
            note.headers.update(used.headers)
            async with while_connected(request.receive), desk.turnstile.turn(caller.party):
                used.prompt_tokens = tokens
                found = await desk.read(classifier, asked.input)
            used.finished = True
        return {
            "id": f"modr-{secrets.token_hex(16)}",
            "model": version.name,
            "results": [_result(probability, classifier.threshold) for probability in found],
        }

    return routes


class _Desk:
    """Where texts are read, a few at once.

    In threads of its own: a thread goes on reading for a client that has left, and must not keep
    others from the store meanwhile.
    """

    def __init__(self) -> None:
        self.turnstile = Turnstile(PLACES, WAITING, PATIENCE)
        self._readers = ThreadPoolExecutor(PLACES, "moderation")

    async def read(self, classifier: Classifier, texts: list[str]) -> list[float]:
        """How likely each text asks for harm; to be asked for in turn."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, classifier.probabilities, texts)


def _result(probability: float, threshold: float) -> dict[str, Any]:
    flagged = probability >= threshold
    return {
        "flagged": flagged,
        "categories": {CATEGORY: flagged},
        "category_scores": {CATEGORY: probability},
        "category_applied_input_types": {CATEGORY: ["text"]},
    }
