"""Keeps other websites from using a program in the name of who visits them."""

from urllib.parse import SplitResult, urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from assistant.api.errors import error_body
from assistant.settings import LOOPBACK

SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}


class Guard:
    """Refuses writes from foreign origins (CSRF), and foreign Host headers (DNS rebinding).

    The latter where it trusts its own machine; elsewhere names are the operator's business.
    """

    def __init__(self, app: ASGIApp, *, loopback: bool) -> None:
        self._app = app
        self._loopback = loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what comes from this machine's own pages and programs."""
        if scope["type"] == "http" and (complaint := self._complaint(scope)):
            response = JSONResponse(error_body(complaint, 403), 403)
            await response(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _complaint(self, scope: Scope) -> str | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self._loopback and _parts(f"//{host}").hostname not in LOOPBACK:
            return f"The host {host!r} is not served here; use http://127.0.0.1."
        origin = headers.get("origin")
        if origin and scope["method"] not in SAFE_METHODS and _parts(origin).netloc != host:
            return f"Requests from the page {origin} are not accepted here."
        return None


def _parts(address: str) -> SplitResult:
    """The parts of an address; nothing at all of one that is none."""
    try:
        return urlsplit(address)
    except ValueError:
        return urlsplit("")
