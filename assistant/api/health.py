"""GET /healthz (the process runs), /readyz (a token can be produced) and /metrics."""

from typing import Any

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse, Response

from assistant.api.authorization import Gate
from assistant.api.openapi import fails
from assistant.api.schemas.answers import Readiness
from assistant.fleet import Fleet
from assistant.metrics import CONTENT_TYPE_LATEST, Metrics


def router(fleet: Fleet, metrics: Metrics, gate: Gate) -> APIRouter:
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

    @routes.get(
        "/metrics",
        dependencies=[Depends(gate("admin"))],
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **fails()},
        response_class=Response,
    )
    async def numbers() -> Response:
        return Response(await metrics.text(), media_type=CONTENT_TYPE_LATEST)

    return routes
