"""The ASGI application of the API; the page is mounted beside it by `app.py`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from assistant.api import chat_completions, completions, errors, feedback, health, models
from assistant.api.guard import Guard
from assistant.feedback.store import FeedbackStore
from assistant.fleet import Fleet

LOCAL_OWNER = "local"  # whoever uses the API on this machine while there are no keys


def build(fleet: Fleet, store: FeedbackStore) -> FastAPI:
    """The API over these engines and this store; engines start and stop with it."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await fleet.start()
        try:
            yield
        finally:
            await fleet.stop()
            store.close()

    app = FastAPI(title="assistant", lifespan=lifespan, docs_url=None, redoc_url=None)
    errors.install(app)
    app.add_middleware(Guard)
    app.include_router(health.router(fleet))
    app.include_router(models.router(fleet))
    app.include_router(chat_completions.router(fleet, store, LOCAL_OWNER))
    app.include_router(completions.router(fleet))
    app.include_router(feedback.router(store, LOCAL_OWNER))
    return app
