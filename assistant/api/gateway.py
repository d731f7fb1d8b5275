"""The ASGI application of the API; the page is mounted beside it by `app.py`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from assistant.api import (
    chat_completions,
    comparisons,
    completions,
    errors,
    feedback,
    health,
    kept,
    models,
    moderations,
    responses,
)
from assistant.api.authorization import Gate
from assistant.api.calls import Calls
from assistant.api.guard import Guard
from assistant.api.observing import Observer
from assistant.api.openapi import describe
from assistant.api.schemas.chat import ChatRequest, Labels
from assistant.api.schemas.comparisons import ComparisonRequest
from assistant.api.schemas.feedback import FORMS
from assistant.api.schemas.moderations import ModerationRequest
from assistant.api.schemas.responses import ResponseRequest
from assistant.api.schemas.text import TextRequest
from assistant.api.stamp import Stamp
from assistant.moderation import Moderators
from assistant.pairs import Pairs
from assistant.rollout import Rollout

BODIES = (
    *(ChatRequest, Labels, TextRequest, ResponseRequest, ComparisonRequest, ModerationRequest),
    *FORMS.values(),
)


def build(pairs: Pairs, rollout: Rollout, observer: Observer, moderators: Moderators) -> FastAPI:
    """The API over the engines and the store behind `pairs`; engines start and stop with it."""
    background = responses.Background()
    fleet, store, door = pairs.chat.fleet, pairs.chat.store, pairs.chat.door

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await door.start()
        await fleet.start()
        await rollout.start()
        try:
            yield
        finally:
            await rollout.stop()
            await background.stop()
            await fleet.stop()
            await door.stop()
            store.close()
            observer.stop()

    app = FastAPI(title="assistant", lifespan=lifespan, docs_url=None, redoc_url=None)
    errors.install(app)
    app.add_middleware(Guard, loopback=door.free)
    app.add_middleware(Stamp, observer=observer)
    gate, calls = Gate(door), Calls(fleet, door)
    app.include_router(health.router(fleet, observer.metrics, gate))
    app.include_router(models.router(fleet, gate))
    app.include_router(chat_completions.router(calls, store, gate))
    app.include_router(kept.router(store, gate))
    app.include_router(responses.router(calls, store, gate, background))
    app.include_router(completions.router(calls, gate))
    app.include_router(moderations.router(moderators, door, gate))
    app.include_router(comparisons.router(pairs, gate))
    app.include_router(feedback.router(store, gate))
    describe(app, BODIES)
    return app
