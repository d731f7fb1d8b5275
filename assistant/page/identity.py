"""Who a browser is: an anonymous signed cookie, and the pseudonym stored in its place."""

import hashlib
import hmac
import secrets

from itsdangerous import BadSignature, Signer
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "assistant_browser"
YEAR = 365 * 24 * 3600


class Identity:
    """Signs and reads the cookie with this home's own secret."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._signer = Signer(self._secret, salt="browser")

    def owner(self, cookie: str | None) -> str | None:
        """The pseudonym of a signed cookie's browser; None for a missing or forged one."""
        try:
            browser = self._signer.unsign(cookie or "")
        except BadSignature:
            return None
        return "browser_" + hmac.new(self._secret, browser, hashlib.sha256).hexdigest()[:24]

    def fresh(self) -> str:
        """A new browser's signed cookie."""
        return self._signer.sign(secrets.token_hex(16)).decode()


class CookieMiddleware:
    """Gives every browser that opens a page without a valid cookie one of its own."""

    def __init__(self, app: ASGIApp, identity: Identity) -> None:
        self._app = app
        self._identity = identity

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add Set-Cookie to pages; leave everything else alone."""
        if not self._wants_page(scope) or self._identity.owner(_cookie(scope)):
            await self._app(scope, receive, send)
            return

        async def send_with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start":
                value = self._identity.fresh()
                MutableHeaders(scope=message).append(
                    "Set-Cookie",
                    f"{COOKIE}={value}; Path=/; Max-Age={YEAR}; HttpOnly; SameSite=Lax",
                )
            await send(message)

        await self._app(scope, receive, send_with_cookie)

    @staticmethod
    def _wants_page(scope: Scope) -> bool:
        if scope["type"] != "http" or scope["method"] != "GET":
            return False
        return "text/html" in Headers(scope=scope).get("accept", "")


def _cookie(scope: Scope) -> str | None:
    return HTTPConnection(scope).cookies.get(COOKIE)
