"""Two versions served side by side: by name for programs, blind for people."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.browsing import ANSWER_MS, SHORT, rows
from tests.e2e.product import Product, running

CURRENT = "smollm2-135m-instruct-q4"


@pytest.fixture(scope="module")
def duo(tmp_path_factory: pytest.TempPathFactory, product: Product) -> Iterator[Product]:
    """A product that serves the embedded model, and a folder with the same weights beside it."""
    folder = tmp_path_factory.mktemp("duo")
    made = product.home / "versions" / CURRENT
    shutil.copytree(made, folder / "Challenger", ignore=shutil.ignore_patterns("card.json"))
    shutil.copytree(made, folder / "home" / "versions" / CURRENT)
    with running(folder, ASSISTANT_CANDIDATE=str(folder / "Challenger")) as started:
        started.wait_until_ready()
        started.wait_until_ready("challenger")
        yield started


def test_each_is_served_by_its_own_name(duo: Product):
    assert [m.id for m in duo.client.models.list()] == ["assistant", CURRENT, "challenger"]
    for name in ("assistant", CURRENT, "challenger"):
        answer = duo.client.chat.completions.create(
            model=name,
            messages=[{"role": "user", "content": SHORT}],
            max_tokens=30,
            temperature=0,
            store=True,
        )
        kept = duo.client.chat.completions.retrieve(answer.id)
        assert kept.model == (CURRENT if name == "assistant" else name)


def test_they_are_judged_blind(duo: Product, browser: Browser, pictures: Path):
    page = browser.new_context(viewport={"width": 1280, "height": 760}, locale="en-US").new_page()
    page.goto(duo.url)
    page.get_by_role("tab", name="Compare").click()
    page.get_by_label("the two served versions").check()
    page.locator("#compare-question textarea").fill(SHORT)
    page.locator("#compare-question textarea").press("Enter")
    page.locator("#vote-first").wait_for(timeout=ANSWER_MS)
    shown = page.locator("#answer-a").inner_text() + page.locator("#answer-b").inner_text()
    assert "challenger" not in shown
    page.screenshot(path=pictures / "two-versions.png")
    page.locator("#vote-first").click()
    revealed = page.locator("#revealed")
    expect(revealed).to_contain_text("challenger")
    expect(revealed).to_contain_text(CURRENT)
    assert rows(duo, "select drawn, blind from comparison") == [("versions", 1)]
    first = rows(
        duo,
        """select g.version from judged d join generation g on g.message_id = d.message_id
        where d.position = 0""",
    )[0][0]
    expect(revealed).to_contain_text(f"A was {first}")
    page.context.close()
