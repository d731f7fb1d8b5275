"""Signing in to the page with an API key, where the page can be reached from elsewhere."""

from html import escape
from urllib.parse import parse_qs, urlsplit

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from itsdangerous import BadSignature, Signer
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from assistant.access.addresses import API, mended
from assistant.access.door import Door
from assistant.access.keys import Key
from assistant.bodies import at_most
from assistant.errors import AssistantError, StoreError, told
from assistant.page.identity import YEAR
from assistant.page.strings import preferred, words

COOKIE = "assistant_key"
PATH = "/sign-in"
OPEN = (API, "/healthz", "/readyz", "/metrics", "/openapi.json", PATH)
FORM_BYTES = 4096
LOOK = """<!doctype html><html lang="{language}"><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>{title}</title><style>
body {{ font: 1rem ui-sans-serif, system-ui, sans-serif; display: grid; place-items: center;
  min-height: 90vh; background: Canvas; color: CanvasText; color-scheme: light dark; }}
form {{ display: grid; gap: .75rem; width: min(26rem, 90vw); }}
input, button {{ font: inherit; padding: .6rem; border-radius: .5rem; border: 1px solid #94a3b8; }}
button {{ background: #0d9488; color: white; border: 0; }} p {{ margin: 0; }}
[role=alert] {{ color: #dc2626; }}
</style><form method="post" action="{path}"><h1>{title}</h1><p>{hint}</p>{complaint}
<input name="key" type="password" autocomplete="current-password" aria-label="{label}"
  placeholder="sk-assistant-…" required autofocus><button>{button}</button></form></html>"""


class SignedIn:
    """Which key a browser signed in with; the cookie names the key, and holds no secret."""

    def __init__(self, secret: bytes, door: Door) -> None:
        self._signer = Signer(secret, salt="key")
        self._door = door

    def cookie(self, key: Key) -> str:
        """The cookie of a browser that showed this key."""
        return self._signer.sign(key.id).decode()

    async def key(self, connection: HTTPConnection) -> Key | None:
        """The key of a signed cookie, as long as it may be used to chat."""
        try:
            key_id = self._signer.unsign(connection.cookies.get(COOKIE, "")).decode()
        except (BadSignature, UnicodeDecodeError):
            return None
        return await self._door.holder(key_id)


class PageGate:
    """Lets nobody see the page, or send it anything, who did not sign in."""

    def __init__(self, app: ASGIApp, signed_in: SignedIn) -> None:
        self._app = app
        self._signed_in = signed_in

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what is open to all, and those who are known."""
        path = scope.get("path", "")
        if path.startswith(OPEN) or mended(path).startswith(API) or scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        try:
            key = await self._signed_in.key(connection)
        except StoreError as error:
            await PlainTextResponse(told(error), 503)(scope, receive, send)
            return
        if key:
            await self._app(scope, receive, send)
            return
        answer: Response = PlainTextResponse("Sign in first, at /sign-in.", 401)
        if "text/html" in connection.headers.get("accept", ""):
            answer = RedirectResponse(PATH, 303)
        await answer(scope, receive, send)


def mount(app: FastAPI, door: Door, signed_in: SignedIn) -> None:
    """Put the gate before the page, and the form beside it."""
    app.add_middleware(PageGate, signed_in=signed_in)

    @app.get(PATH, include_in_schema=False)
    async def form(request: Request) -> Response:
        return _form(request)

    @app.post(PATH, include_in_schema=False)
    async def sign_in(request: Request) -> Response:
        try:
            caller = await door.program(await _sent_key(request))
            caller.require("chat")
        except AssistantError as error:
            return _form(request, told(error))
        assert caller.key is not None  # without keys there is no gate
        answer = RedirectResponse("/", 303)
        answer.set_cookie(
            *(COOKIE, signed_in.cookie(caller.key), YEAR),
            httponly=True,
            samesite="lax",
            secure=urlsplit(str(request.url)).scheme == "https",
        )
        return answer


async def _sent_key(request: Request) -> str:
    raw = await at_most(FORM_BYTES, request.stream())
    return parse_qs(raw.decode(errors="replace")).get("key", [""])[0].strip()


def _form(request: Request, complaint: str = "") -> HTMLResponse:
    language = preferred(request.headers.get("accept-language", ""))
    say = words(language)
    shown = LOOK.format(
        language=language,
        path=PATH,
        title=say("title"),
        hint=say("sign_in_hint"),
        label=say("sign_in_key"),
        button=say("sign_in"),
        complaint=f'<p role="alert">{escape(complaint)}</p>' if complaint else "",
    )
    return HTMLResponse(shown, 401 if complaint else 200)
