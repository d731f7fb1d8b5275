"""One request to one engine, from the check of what its caller may do to the count of its use."""

import secrets
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import aiohttp
from fastapi import Request

from assistant.access.callers import Caller
from assistant.access.door import Door
from assistant.access.ledger import Used, estimated
from assistant.api.notes import note_of
from assistant.engine import Engine
from assistant.errors import Invalid, NotServed
from assistant.fleet import ALIAS, Fleet
from assistant.routing import Asking, ask
from assistant.version import Version

ASKS_FOR_ENGINE_FIELDS = "x-engine-fields"
NO_TOOLS = "The chat template of {!r} shows its model no tools; leave them out."
TURNS_THAT_STAY = 2  # a system message and the first question, as a rule


class Asked(Protocol):
    """What a call needs to know of a request."""

    model: str

    def expected(self) -> int:
        """About how many tokens prompt and answers may have together."""

    def texts(self) -> list[str | None]:
        """What the prompt consists of."""

    def upstream(self) -> dict[str, Any]:
        """What the engine is asked, field by field."""


@dataclass
class Call:
    """One request to one engine, for a caller; `used` counts what it used."""

    request: Request
    engines: list[Engine]
    """Those that serve the version, in the order in which to ask them; the first one answers."""
    path: str
    body: dict[str, Any]
    caller: Caller
    used: Used
    prompt_tokens: int
    """About how many, until the engine says."""
    request_id: str = field(default_factory=lambda: secrets.token_hex(16))
    """The engine's id is chatcmpl-<this>, or cmpl-<this>."""
    began: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return time.monotonic() - self.began

    @property
    def engine(self) -> Engine:
        """Who answers, or is asked first."""
        return self.engines[0]

    @asynccontextmanager
    async def post(self) -> AsyncIterator[aiohttp.ClientResponse]:
        """Ask, in turn; where an engine cannot be reached, the next one."""
        async with AsyncExitStack() as around:
            asking = Asking(self.path, self.body, self.caller, self.request_id)
            engine, response = await ask(around, self.engines, asking)
            self.engines = [engine]
            self.used.prompt_tokens = self.prompt_tokens
            yield response

    @property
    def wants_everything(self) -> bool:
        """Whether the client asked for the engine's own fields, too."""
        return self.request.headers.get(ASKS_FOR_ENGINE_FIELDS, "").lower() in ("1", "true")


class Calls:
    """Begins calls: finds the engine, and holds the caller to what their key allows."""

    def __init__(self, fleet: Fleet, door: Door) -> None:
        self._fleet = fleet
        self._door = door

    async def begin(
        self, around: AsyncExitStack, request: Request, caller: Caller, path: str, asked: Asked
    ) -> Call:
        """A call that is counted until what is `around` it ends."""
        engines = engines_for(self._fleet, caller, asked.model, _talk(caller, asked))
        version = engines[0].version.name
        engines[0].require_ready()
        body = _as_engines_take_it(asked.upstream())
        if body.get("tools") and not engines[0].calls_tools:
            raise Invalid(NO_TOOLS.format(version), "tools")
        visit = self._door.visit(caller, version, asked.expected())
        used = await around.enter_async_context(visit)
        note = note_of(request.scope)
        note.version, note.used = version, used
        note.headers.update(used.headers)
        prompt = estimated(asked.texts())
        return Call(request, engines, path, body, caller, used, prompt)


def engines_for(fleet: Fleet, caller: Caller, model: str, talk: str = "") -> list[Engine]:
    """Those that serve a model, in the order in which to ask them.

    Raises NotReady, or NotServed, which names nothing that the caller may not ask.
    """
    try:
        engines = fleet.engines_of(model, talk)
    except NotServed:
        engines = []
    if not engines or not caller.may_ask(model, engines[0].version.name):
        raise NotServed(_not_served(fleet, caller, model))
    return engines


def names_for(fleet: Fleet, caller: Caller) -> dict[str, Version]:
    """What a caller may ask now, the alias first, and the version behind each name."""
    served = [one.version for one in fleet.served()]
    named = [(ALIAS, version) for version in served[:1]]
    named += [(version.name, version) for version in served]
    return {name: version for name, version in named if caller.may_ask(name, version.name)}


def _not_served(fleet: Fleet, caller: Caller, model: str) -> str:
    names = names_for(fleet, caller)
    if not names:
        return f"The model {model!r} is not served to this key, nor is any other."
    known = (
        f"{ALIAS} (= {version.name})" if name == ALIAS else name for name, version in names.items()
    )
    where = "here" if caller.key is None else "to this key"
    return f"The model {model!r} is not served {where}; served are: {', '.join(known)}."


def _as_engines_take_it(body: dict[str, Any]) -> dict[str, Any]:
    """Several answers of likeliest tokens, which vLLM refuses, are drawn from one token each."""
    if (body.get("n") or 1) == 1 or body.get("temperature") != 0:
        return body
    return {**body, "temperature": 1, "top_k": 1}


def _talk(caller: Caller, asked: Asked) -> str:
    """What stays the same over a conversation: who has it, and how it began."""
    return f"{caller.owner} {asked.texts()[:TURNS_THAT_STAY]}"
