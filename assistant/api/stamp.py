"""What every answer of the API carries: an id to ask about, and how long it took."""

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from assistant.access.addresses import API, mended
from assistant.api.errors import error_body
from assistant.api.notes import NOTE, Note
from assistant.api.observing import Observer

VERSION = "2020-10-01"  # of OpenAI's API, as its own server says


class Stamp:
    """Adds `x-request-id`, `openai-processing-ms` and `openai-version`; mends doubled slashes."""

    def __init__(self, app: ASGIApp, observer: Observer) -> None:
        self._app = app
        self._observer = observer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request; the time is that until the answer begins."""
        path = mended(scope.get("path", ""))
        if scope["type"] != "http" or not path.startswith(API):
            await self._app(scope, receive, send)
            return
        note = Note(scope["method"], path)
        scope = {**scope, "path": path, "raw_path": path.encode(), NOTE: note}

        async def stamped(message: Message) -> None:
            if message["type"] == "http.response.start":
                note.status, note.answering_after = message["status"], note.seconds
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = note.id
                headers["openai-processing-ms"] = str(round(note.answering_after * 1000))
                headers["openai-version"] = VERSION
                headers.update(note.headers)
            await send(message)

        with self._observer.request(note, Headers(scope=scope)):
            try:
                await self._app(scope, receive, stamped)
            except Exception:
                if note.answering_after is None:
                    body = error_body("The server failed; its log says why.", 500)
                    await JSONResponse(body, 500)(scope, receive, stamped)
                note.status = 500
                raise
            finally:
                note.route = getattr(scope.get("route"), "path", "")
