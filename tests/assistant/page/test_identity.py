"""Identity: a signed cookie per browser, a pseudonym in the store."""

from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from assistant.home import secret
from assistant.page.identity import COOKIE, CookieMiddleware, Identity
from tests.serving import served


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    return Identity(secret(tmp_path / "secret"))


def test_a_browser_keeps_its_pseudonym_over_restarts(identity: Identity, tmp_path: Path):
    cookie = identity.fresh()
    owner = identity.owner(cookie)
    assert owner is not None
    assert Identity(secret(tmp_path / "secret")).owner(cookie) == owner
    assert cookie.split(".")[0] not in owner  # what is stored cannot be turned into a cookie
    assert identity.owner(identity.fresh()) != owner


@pytest.mark.parametrize("forged", [None, "", "a.b", "x" * 40])
def test_what_we_did_not_sign_is_nobody(identity: Identity, forged: str | None):
    assert identity.owner(forged) is None


def test_another_homes_cookie_is_nobody(identity: Identity, tmp_path: Path):
    (tmp_path / "other").mkdir()
    assert identity.owner(Identity(secret(tmp_path / "other/secret")).fresh()) is None


def test_the_secret_is_private(identity: Identity, tmp_path: Path):
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600


def test_pages_set_the_cookie_once_and_only_pages_do(identity: Identity):
    app = Starlette(routes=[Route("/", lambda _: PlainTextResponse("hi"))])
    html = {"Accept": "text/html"}
    with served(CookieMiddleware(app, identity)) as url, httpx.Client(base_url=url) as client:
        assert "set-cookie" not in client.get("/").headers
        first = client.get("/", headers=html).headers["set-cookie"]
        assert all(part in first for part in (COOKIE, "HttpOnly", "SameSite=Lax", "Max-Age="))
        assert "set-cookie" not in client.get("/", headers=html).headers
        client.cookies.set(COOKIE, "forged")
        assert "set-cookie" in client.get("/", headers=html | {"Cookie": f"{COOKIE}=x"}).headers
