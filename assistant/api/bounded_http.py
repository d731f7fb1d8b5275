"""uvicorn's HTTP, with an end: requests are bounded, and so is the wait for slow readers."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from assistant.api import requests

HEAD_BYTES = 64 * 2**10
BODY_BYTES = requests.BODY_BYTES + 2**20  # the API's own limit comes first, in its own words
HEAD_SECONDS = 30
MESSAGE_SECONDS = 120
UNREAD_SECONDS = 60  # for a client to read what was sent; it holds a place that others wait for
UNSEEN_BYTES = 4 * 2**20
TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"connection: close\r\ncontent-length: 0\r\n\r\n"
)
LONG_BODY = b"HTTP/1.1 413 Content Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class BoundedHttp(HttpToolsProtocol):
    """Closes connections whose requests are too large, or do not come to an end.

    uvicorn's faster parser has no such bounds of its own (its slower one bounds heads).
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._head_bytes = 0
        self._in_head = True
        self._body_bytes = 0
        self._unseen = 0  # bytes after a head that are in no body
        self._deadline: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client came."""
        super().connection_made(transport)
        self._begin_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """A client left."""
        self._end_head()
        self._stop_waiting()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """More was sent than the client reads."""
        self._unread = self.loop.call_later(UNREAD_SECONDS, self.transport.abort)
        super().pause_writing()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._stop_waiting()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        """Some bytes came."""
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES and not self._ends_within(data):
                self.transport.write(TOO_LARGE)
                self.transport.close()
                return
        else:
            self._unseen += len(data)
            if self._unseen > UNSEEN_BYTES:  # trailers, say, which nobody asked for
                self.transport.close()
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        """The first byte of a request came."""
        if not self._in_head:
            self._begin_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head of a request is whole."""
        self._end_head()
        self._unseen = self._body_bytes = 0
        self._deadline = self.loop.call_later(MESSAGE_SECONDS, self._close)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of a body came; the page would read it to whatever end."""
        self._unseen -= len(body)
        self._body_bytes += len(body)
        if self._body_bytes > BODY_BYTES:
            self._refuse_body()
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is whole."""
        self._stop_clock()
        super().on_message_complete()

    def _refuse_body(self) -> None:
        if self.transport.is_closing():
            return
        if self.cycle and not self.cycle.response_started and not self.pipeline:
            self.transport.write(LONG_BODY)
        self.transport.close()

    def _ends_within(self, data: bytes) -> bool:
        """Whether the head ends early enough, and what makes the data long is a body."""
        before = self._head_bytes - len(data)
        end = data.find(b"\r\n\r\n")
        return 0 <= end <= HEAD_BYTES - before

    def _begin_head(self) -> None:
        self._stop_clock()
        self._in_head, self._head_bytes = True, 0
        self._deadline = self.loop.call_later(HEAD_SECONDS, self._close)

    def _end_head(self) -> None:
        self._in_head = False
        self._stop_clock()

    def _stop_clock(self) -> None:
        if self._deadline:
            self._deadline.cancel()

    def _stop_waiting(self) -> None:
        if self._unread:
            self._unread.cancel()

    def _close(self) -> None:
        self.transport.close()
