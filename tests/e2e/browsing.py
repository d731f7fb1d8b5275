"""What people do on the page, and what the store then holds."""

import sqlite3

from playwright.sync_api import Locator, Page, expect

from tests.e2e.product import Product

ANSWER_MS = 120_000
SHORT = "Name three colors."


def ask(page: Page, text: str) -> None:
    """Ask and wait until the whole answer is there."""
    before = page.locator("#chat .bot.message").count()
    page.locator("#question textarea").fill(text)
    page.locator("#question textarea").press("Enter")
    expect(page.locator("#question textarea")).to_have_value("", timeout=ANSWER_MS)  # it was taken
    expect(page.locator("#chat .bot.message")).to_have_count(before + 1, timeout=ANSWER_MS)
    idle(page)


def idle(page: Page) -> None:
    expect(page.locator("#question button.submit-button")).to_be_visible(timeout=ANSWER_MS)


def button(page: Page, name: str) -> Locator:
    return page.locator("#chat").get_by_role("button", name=name, exact=True).last


def rows(product: Product, query: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(product.home / "feedback.db") as database:
        return database.execute(query).fetchall()
