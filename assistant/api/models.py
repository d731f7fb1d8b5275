"""GET /v1/models and /v1/models/{id}: what is served now."""

import datetime
from typing import Any

from fastapi import APIRouter

from assistant.api.openapi import gives
from assistant.api.schemas.answers import Model, Models
from assistant.fleet import ALIAS, Fleet
from assistant.registry import Version


def router(fleet: Fleet) -> APIRouter:
    """Routes about models."""
    routes = APIRouter(prefix="/v1/models")

    @routes.get("", response_model=None, responses=gives(Models))
    async def list_models() -> dict[str, Any]:
        served = [s.version for s in fleet.served()]
        alias = [_model(ALIAS, served[0])] if served else []
        return {"object": "list", "data": alias + [_model(v.name, v) for v in served]}

    @routes.get("/{model:path}", response_model=None, responses=gives(Model))
    async def get_model(model: str) -> dict[str, Any]:
        return _model(model, fleet.engine(model).version)

    return routes


def _model(name: str, version: Version) -> dict[str, Any]:
    model = {"id": name, "object": "model", "created": _created(version), "owned_by": "assistant"}
    return model | ({"root": version.name} if name == ALIAS else {})


def _created(version: Version) -> int:
    if not version.created_at:
        return 0
    return int(datetime.datetime.fromisoformat(version.created_at).timestamp())
