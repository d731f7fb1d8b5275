"""GET /v1/models and /v1/models/{id}: what is served now."""

import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends

from assistant.access.callers import Caller
from assistant.api.authorization import Gate
from assistant.api.calls import engines_for, names_for
from assistant.api.openapi import gives
from assistant.api.schemas.answers import Model, Models
from assistant.fleet import ALIAS, Fleet
from assistant.version import Version


def router(fleet: Fleet, gate: Gate) -> APIRouter:
    """Routes about models; a key sees those that it may ask."""
    Asking = Annotated[Caller, Depends(gate())]  # noqa: N806 - a type
    routes = APIRouter(prefix="/v1/models")

    @routes.get("", response_model=None, responses=gives(Models))
    async def list_models(caller: Asking) -> dict[str, Any]:
        names = names_for(fleet, caller)
        return {"object": "list", "data": [_model(name, v) for name, v in names.items()]}

    @routes.get("/{model:path}", response_model=None, responses=gives(Model))
    async def get_model(model: str, caller: Asking) -> dict[str, Any]:
        return _model(model, engines_for(fleet, caller, model)[0].version)

    return routes


def _model(name: str, version: Version) -> dict[str, Any]:
    model = {"id": name, "object": "model", "created": _created(version), "owned_by": "assistant"}
    return model | ({"root": version.name} if name == ALIAS else {})


def _created(version: Version) -> int:
    if not version.created_at:
        return 0
    return int(datetime.datetime.fromisoformat(version.created_at).timestamp())
