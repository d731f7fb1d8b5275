"""GET /healthz (the process runs) and /readyz (a token can be produced)."""

from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from assistant.api.schemas.answers import Readiness
from assistant.fleet import Fleet


def router(fleet: Fleet) -> APIRouter:
    """Routes for whoever watches this program."""
    routes = APIRouter()

    @routes.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @routes.get("/readyz", responses={200: {"model": Readiness}, 503: {"model": Readiness}})
    async def readyz() -> JSONResponse:
        status = fleet.status
        body: dict[str, Any] = {"ready": status.state == "ready", "detail": status.detail}
        if body["ready"]:
            return JSONResponse(body)
        return JSONResponse(body, 503, {"Retry-After": "5"})

    return routes
