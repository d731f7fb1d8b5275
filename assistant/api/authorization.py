"""Who sends a request, by the key in its headers; the one place of the API that looks for it."""

from collections.abc import AsyncIterator, Awaitable, Callable

from fastapi import Request

from assistant.access.callers import Caller
from assistant.access.door import Door
from assistant.access.keys import Scope
from assistant.api.notes import note_of


class Gate:
    """Makes FastAPI dependencies that give a route its caller."""

    def __init__(self, door: Door) -> None:
        self._door = door

    def __call__(self, scope: Scope | None = None) -> Callable[[Request], Awaitable[Caller]]:
        """For `Depends`: the caller, whose key must have that scope, or be a key at all."""

        async def caller(request: Request) -> Caller:
            found = await self._door.program(secret_of(request))
            note_of(request.scope).who = found.who
            if scope:
                found.require(scope)
            return found

        return caller

    def writing(self, scope: Scope) -> Callable[[Request], AsyncIterator[Caller]]:
        """The same, for a route that writes to the store: counted as one of the key's requests."""
        known = self(scope)

        async def caller(request: Request) -> AsyncIterator[Caller]:
            found = await known(request)
            async with self._door.errand(found) as used:
                note_of(request.scope).headers.update(used.headers)
                yield found

        return caller


def secret_of(request: Request) -> str | None:
    """The key a program sent, in either header that clients use."""
    kind, _, secret = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and secret.strip():
        return secret.strip()
    return request.headers.get("x-api-key") or None
