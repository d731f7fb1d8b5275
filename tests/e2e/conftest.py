"""One running product and one browser for all end-to-end tests."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Error, Page, Request, sync_playwright

from tests.e2e.product import ROOT, Product, running

RESULTS = ROOT / "test-results"
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


CHATTER = 20  # newest lines of the browser's console that are shown


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Beside a failure, say what the pages showed when it came."""
    report: Any = yield
    if report.when == "call" and report.failed:
        pages = [one for one in getattr(item, "funcargs", {}).values() if isinstance(one, Page)]
        report.sections += [(f"page {page.url}", last_seen(page, item.name)) for page in pages]
    return report


def last_seen(page: Page, name: str) -> str:
    """What a page shows, and what its console said; the picture lies among the results."""
    try:
        page.screenshot(path=RESULTS / f"failed-{name}.png", full_page=True)
        chatter = [f"{line.type}: {line.text}" for line in page.console_messages()]
        return "\n".join([page.locator("body").inner_text(), *chatter[-CHATTER:]])
    except Error as error:
        return f"It could not be looked at: {error}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "e2e" in item.path.parts:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    with running(tmp_path_factory.mktemp("product")) as started:
        started.wait_until_ready()
        yield started


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        if os.environ.get("CI"):
            pytest.fail("Chromium is not installed: apt-get install chromium")
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=QUIET)
        yield started
        started.close()


@pytest.fixture
def visitor(browser: Browser, product: Product) -> Iterator[Page]:
    """A fresh browser on the English page; any request that leaves this machine fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-US")
    left = watch(context)
    page = context.new_page()
    page.goto(product.url)
    yield page
    context.close()
    assert left == []


def watch(context: BrowserContext) -> list[str]:
    """The addresses of requests that did not stay on this machine, as they are made."""
    left: list[str] = []
    local = ("http://127.0.0.1:", "data:", "blob:")
    context.on("request", lambda r: None if r.url.startswith(local) else left.append(r.url))

    def stopped(request: Request) -> None:
        if "csp" in (request.failure or "").lower():  # by the page's own policy: it never left
            left.remove(request.url)

    context.on("requestfailed", stopped)
    return left


@pytest.fixture(scope="session")
def pictures() -> Path:
    """Where tests leave screenshots for people to look at."""
    RESULTS.mkdir(exist_ok=True)
    return RESULTS
