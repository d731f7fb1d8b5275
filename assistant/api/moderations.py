"""POST /v1/moderations: needs a version that was trained to classify, and there is none yet."""

from fastapi import APIRouter, Depends

from assistant.api.authorization import Gate
from assistant.api.openapi import fails
from assistant.errors import NotServed

PATH = "/v1/moderations"


def router(gate: Gate) -> APIRouter:
    """The route of moderations."""
    routes = APIRouter()

    @routes.post(PATH, dependencies=[Depends(gate("chat"))], responses=fails())
    async def create() -> None:
        raise NotServed(
            "No moderation version is registered here. One will be trained by `align safety`, "
            "which this release does not have yet."
        )

    return routes
