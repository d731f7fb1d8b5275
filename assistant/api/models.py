"""GET /v1/models and /v1/models/{id}: what is served now."""

import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends

from assistant.access.callers import Caller
from assistant.api.authorization import Gate
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
        served = [s.version for s in fleet.served()]
        named = [(ALIAS, served[0])] if served else []
        named += [(version.name, version) for version in served]
        data = [_model(name, v) for name, v in named if caller.may_ask(name, v.name)]
        return {"object": "list", "data": data}

    @routes.get("/{model:path}", response_model=None, responses=gives(Model))
    async def get_model(model: str, caller: Asking) -> dict[str, Any]:
        version = fleet.engine(model).version
        caller.require_version(model, version.name)
        return _model(model, version)

    return routes


def _model(name: str, version: Version) -> dict[str, Any]:
    model = {"id": name, "object": "model", "created": _created(version), "owned_by": "assistant"}
    return model | ({"root": version.name} if name == ALIAS else {})


def _created(version: Version) -> int:
    if not version.created_at:
        return 0
    return int(datetime.datetime.fromisoformat(version.created_at).timestamp())
