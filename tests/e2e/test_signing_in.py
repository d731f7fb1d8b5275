"""The page where it can be reached from elsewhere: a key opens it, and only as far as it goes."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.browsing import ask, button
from tests.e2e.product import ROOT, Product, running
from tests.serving import served
from tests.upstream import Upstream


@pytest.fixture(scope="module")
def open_product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """A program that listens on every address, over a scripted engine."""
    folder = tmp_path_factory.mktemp("open")
    made_key(folder / "home", "first")
    with (
        served(Upstream().app) as engine,
        running(folder, ASSISTANT_HOST="0.0.0.0", ASSISTANT_ENGINE_URL=engine) as started,
    ):
        started.wait_until_ready()
        yield started


def made_key(home: Path, *arguments: str) -> str:
    """The secret of a new key, as the operator reads it."""
    said = subprocess.run(
        [sys.executable, "-m", "assistant", "keys", "create", *arguments],
        env={"ASSISTANT_HOME": str(home), "PATH": "/usr/bin:/bin"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return next(word for word in said.stdout.split() if word.startswith("sk-assistant-"))


@pytest.fixture
def stranger(browser: Browser, open_product: Product) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-US")
    page = context.new_page()
    page.goto(open_product.url)
    yield page
    context.close()


def sign_in(page: Page, key: str) -> None:
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()


def test_a_stranger_sees_nothing_but_the_form(
    stranger: Page, open_product: Product, pictures: Path
):
    expect(stranger).to_have_url(f"{open_product.url}/sign-in")
    sign_in(stranger, "sk-assistant-00000000.wrong")
    expect(stranger.get_by_role("alert")).to_contain_text("There is no such API key")
    stranger.screenshot(path=pictures / "sign-in.png")
    for path in ("/en/", "/en/config", "/zh/gradio_api/info", "/en/assets/x.js", "/docs"):
        assert httpx.get(open_product.url + path).status_code == 401, path
    joined = httpx.post(f"{open_product.url}/en/gradio_api/queue/join", json={"data": []})
    assert joined.status_code == 401


def test_a_key_opens_the_page_until_it_is_revoked(stranger: Page, open_product: Product):
    key = made_key(open_product.home, "Ann", "--scope", "chat")
    sign_in(stranger, key)
    expect(stranger.locator("#status")).to_contain_text("answers")
    ask(stranger, "hi")
    expect(stranger.locator("#chat .bot.message").last).to_contain_text("one two three")
    assert key not in str(stranger.context.cookies())  # the cookie names the key, not its secret
    stranger.get_by_role("tab", name="Align").click()
    stranger.locator("#start-round").click()
    expect(stranger.get_by_text("This key has no scope 'admin'")).to_be_visible()
    said = subprocess.run(
        [sys.executable, "-m", "assistant", "keys", "revoke", key.split("-")[2].split(".")[0]],
        env={"ASSISTANT_HOME": str(open_product.home), "PATH": "/usr/bin:/bin"},
        cwd=ROOT,
        check=False,
    )
    assert said.returncode == 0
    stranger.wait_for_timeout(5000)
    stranger.reload()
    expect(stranger).to_have_url(f"{open_product.url}/sign-in")


def test_what_a_key_may_not_judge_on_the_page_it_may_not(stranger: Page, open_product: Product):
    sign_in(stranger, made_key(open_product.home, "Bob", "--scope", "chat"))
    ask(stranger, "hi")
    button(stranger, "Like").click()
    expect(stranger.get_by_text("This key has no scope 'feedback'")).to_be_visible()


def test_no_other_sites_page_signs_anyone_in(open_product: Product):
    key = made_key(open_product.home, "Eve")
    foreign = httpx.post(
        f"{open_product.url}/sign-in", data={"key": key}, headers={"Origin": "http://evil.example"}
    )
    assert foreign.status_code == 403
    mine = httpx.post(f"{open_product.url}/sign-in", data={"key": key})
    assert mine.status_code == 303
    cookie = mine.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert httpx.post(f"{open_product.url}/sign-in", data={"key": "x" * 9999}).status_code == 401
