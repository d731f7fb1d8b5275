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
)
from assistant.api.guard import Guard
from assistant.api.openapi import describe
from assistant.api.schemas.chat import ChatRequest, Labels
from assistant.api.schemas.comparisons import ComparisonRequest
from assistant.api.schemas.feedback import FORMS
from assistant.api.schemas.text import TextRequest
from assistant.api.stamp import Stamp
from assistant.pairs import Pairs
from assistant.rollout import Rollout

BODIES = (ChatRequest, Labels, TextRequest, ComparisonRequest, *FORMS.values())
LOCAL_OWNER = "local"  # whoever uses the API on this machine while there are no keys


def build(pairs: Pairs, rollout: Rollout) -> FastAPI:
    """The API over the engines and the store behind `pairs`; engines start and stop with it."""
    fleet, store = pairs.chat.fleet, pairs.chat.store

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await fleet.start()
        await rollout.start()
        try:
            yield
        finally:
            await rollout.stop()
            await fleet.stop()
            store.close()

    app = FastAPI(title="assistant", lifespan=lifespan, docs_url=None, redoc_url=None)
    errors.install(app)
    app.add_middleware(Guard)
    app.add_middleware(Stamp)
    app.include_router(health.router(fleet))
    app.include_router(models.router(fleet))
    app.include_router(chat_completions.router(fleet, store, LOCAL_OWNER))
    app.include_router(kept.router(store, LOCAL_OWNER))
    app.include_router(completions.router(fleet))
    app.include_router(moderations.router())
    app.include_router(comparisons.router(pairs, LOCAL_OWNER))
    app.include_router(feedback.router(store, LOCAL_OWNER))
    describe(app, BODIES)
    return app
