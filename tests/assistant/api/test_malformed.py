"""What no client of ours sends: broken HTTP, endless bodies, odd bytes, names that climb."""

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest

from assistant.api import bounded_http, requests
from tests.assistant.api.conftest import Api
from tests.serving import eventually

CHAT = "/v1/chat/completions"
ASKED = {"messages": [{"role": "user", "content": "hi"}]}
JSON = {"Content-Type": "application/json"}


@contextlib.contextmanager
def connection(api: Api) -> Iterator[socket.socket]:
    parts = urlsplit(api.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as opened:
        yield opened


def answer_to(api: Api, sent: bytes) -> bytes:
    """The first bytes that come back; none where the connection is closed."""
    with connection(api) as opened:
        opened.sendall(sent)
        with contextlib.suppress(ConnectionError):
            return opened.recv(4096)
    return b""


@pytest.mark.parametrize(
    "sent",
    [
        b"GET\r\n\r\n",
        b"\x00\x01\x02\x03\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: x\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
    ],
)
def test_broken_http_is_refused_and_harms_nobody(api: Api, sent: bytes):
    answered = answer_to(api, sent)
    assert not answered or answered.split(b" ")[1][:1] == b"4"
    assert api.get("/v1/models").status_code == 200


def test_two_lengths_are_not_believed(api: Api):
    body = json.dumps(ASKED).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        "Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    before = len(api.upstream.asked)
    answered = answer_to(api, head.encode() + body)
    assert b" 200 " not in answered.split(b"\r\n")[0]
    assert len(api.upstream.asked) == before


def test_an_endless_body_is_cut_off_early(api: Api):
    sent = 0

    def pieces() -> Iterator[bytes]:
        nonlocal sent
        yield b'{"messages": "'
        while sent < 100 * 2**20:
            sent += 2**16
            yield b"a" * 2**16

    with contextlib.suppress(httpx.TransportError):  # it may close while we still send
        refused = httpx.post(api.url + CHAT, content=pieces(), headers=JSON)
        assert refused.status_code == 413
        assert refused.json()["error"]["code"] == "request_too_large"
    assert sent < 50 * 2**20
    assert api.get("/v1/models").status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b'{"messages": "\xff\xfe"}',
        b"\xef\xbb\xbf{}",
        b'{"messages": [{"role": "user", "content": "\\ud800"}]}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"temperature": 1e999, "messages": [{"role": "user", "content": "x"}]}',
        b'{"temperature": NaN, "messages": [{"role": "user", "content": "x"}]}',
        b'{"max_tokens": ' + b"9" * 5000 + b', "messages": [{"role": "user", "content": "x"}]}',
        b"null",
        b"",
    ],
)
def test_odd_bytes_are_a_clear_refusal_or_a_clear_answer(api: Api, body: bytes):
    for more in ({}, {"store": True}):
        answered = httpx.post(api.url + CHAT, content=body, headers=JSON, params=more)
        assert answered.status_code in (200, 400)
        if answered.status_code == 400:
            assert set(answered.json()["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "..%2f..%2fetc%2fpasswd",
        "%2e%2e/%2e%2e/secret",
        "/etc/passwd",
        "a\x00b",
        "a%00b",
        "x" * 5000,
        "card.json",
    ],
)
def test_names_that_climb_lead_nowhere(api: Api, name: str):
    path = f"/v1/models/{name}".replace("\x00", "%00")
    found = api.get(path)
    assert found.status_code in (400, 403, 404)
    asked = api.post(CHAT, ASKED | {"model": name})
    assert asked.status_code in (400, 404)
    assert "root:" not in found.text + asked.text


def test_a_long_body_is_not_taken_for_a_long_head(api: Api):
    long = {"messages": [{"role": "user", "content": "x" * 300_000}]}
    with httpx.Client(base_url=api.url) as client:
        for _ in range(3):
            assert client.post(CHAT, json=long).status_code == 200


def test_a_head_or_a_body_that_does_not_end_is_given_up(api: Api, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bounded_http, "HEAD_SECONDS", 0.3)
    monkeypatch.setattr(requests, "BODY_SECONDS", 0.3)
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    with connection(api) as opened:
        opened.sendall(head)
        assert opened.recv(4096) == b""  # closed
    with connection(api) as opened:
        opened.sendall(head + b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
        answered = opened.recv(4096)
        assert b" 408 " in answered.split(b"\r\n")[0]


def test_slow_clients_keep_nobody_waiting(api: Api):
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            slow = stack.enter_context(connection(api))
            slow.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        began = time.monotonic()
        assert api.post(CHAT, ASKED).status_code == 200
        assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"},
        {"X-Original-URL": "/metrics"},
        {"X-HTTP-Method-Override": "DELETE"},
        {"Authorization": "Basic YTpi"},
        {"Authorization": "Bearer " + "x" * 8000},
        {"x-request-id": "a\tb"},
    ],
)
def test_headers_that_pretend_change_nothing(api: Api, headers: dict[str, str]):
    answered = api.post(CHAT, ASKED, headers=headers)
    assert answered.status_code == 200
    assert answered.headers["x-request-id"].startswith("req_")


def test_trailers_without_end_are_cut_off(api: Api, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bounded_http, "UNSEEN_BYTES", 100_000)
    head = b"POST /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    head += b"0\r\n"
    sent = 0
    with connection(api) as opened, contextlib.suppress(ConnectionError):
        opened.sendall(head)
        for _ in range(1000):
            opened.sendall(b"a: " + b"b" * 10_000 + b"\r\n")
            sent += 10_000
            time.sleep(0.001)
    assert sent < 5_000_000


@pytest.mark.parametrize("headers", [{"Origin": "http://["}, {"Cookie": "a/b=1; x@y=2"}])
def test_headers_that_cannot_be_read_are_no_failure(api: Api, headers: dict[str, str]):
    answered = api.post(CHAT, ASKED, headers=headers)
    assert answered.status_code == (403 if "Origin" in headers else 200)


def test_who_does_not_read_the_answer_loses_the_place(api: Api, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bounded_http, "UNREAD_SECONDS", 0.3)
    monkeypatch.setattr(api.upstream, "words", ["x" * 100_000] * 400)
    asked = json.dumps(ASKED | {"stream": True}).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(asked)}\r\n\r\n"
    )
    turnstile = api.fleet.engine().turnstile
    with connection(api) as opened:
        opened.sendall(head.encode() + asked)
        assert eventually(lambda: turnstile.inside == 1)
        assert eventually(lambda: turnstile.inside == 0)
    assert eventually(lambda: api.upstream.running == 0)
