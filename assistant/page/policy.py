"""What a browser may do with the page, told by a header: the last line of defence.

What models and people write is made harmless before it is shown; were that got around, the browser
would still fetch nothing from elsewhere, send nothing there, and show the page in no other one.
"""

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = "Content-Security-Policy"
OURS = "'self' data: blob:"
POLICY = "; ".join(
    (
        *(f"{kind}-src {OURS}" for kind in ("img", "media", "font", "connect")),
        *("frame-src 'none'", "object-src 'none'"),
        *("base-uri 'self'", "form-action 'self'", "frame-ancestors 'self'"),
    )
)


class PolicyMiddleware:
    """Adds the policy to every HTML page."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Leave everything but HTML alone."""

        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                kind = Headers(raw=message["headers"]).get("content-type", "")
                if kind.startswith("text/html"):
                    MutableHeaders(scope=message)[HEADER] = POLICY
            await send(message)

        await self._app(scope, receive, send_with_policy if scope["type"] == "http" else send)
