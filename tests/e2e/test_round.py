"""Votes become a better served version, through the page, on the embedded model."""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from assistant.version import Version
from tests.e2e.browsing import ANSWER_MS, SHORT, ask, rows
from tests.e2e.product import ROOT, Product, running

STOCK, CANDIDATE = "smollm2-135m-instruct-q4", "round-001"
PAIRS = 24
ROUND_MS = 400_000
ENGINE_MS = 120_000


@pytest.fixture(scope="module")
def judged(
    tmp_path_factory: pytest.TempPathFactory, embedded_version: Version
) -> Iterator[Product]:
    """A product in which somebody preferred the one answer of many pairs."""
    folder = tmp_path_factory.mktemp("round")
    shutil.copytree(embedded_version.path, folder / "home" / "versions" / STOCK)
    with running(folder, edited(folder / "code"), ASSISTANT_CONTEXT="1024") as started:
        started.wait_until_ready()
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number: prefer_one(started, number), range(PAIRS)))
        yield started


def edited(root: Path) -> Path:
    """The program of somebody who thinks that few questions are enough to see harm: here, it is."""
    for part in ("align", "assistant", "prompts"):
        shutil.copytree(ROOT / part, root / part)
    shutil.copy(ROOT / "app.py", root)
    questions = root / "prompts" / "harm" / "questions.txt"
    questions.write_text("\n".join(questions.read_text().splitlines()[::16]))
    return root


def prefer_one(product: Product, number: int) -> None:
    made = product.client.chat.completions.create(
        model="assistant",
        messages=[{"role": "user", "content": f"Say something about the number {number}."}],
        n=2,
        max_tokens=80,
        stop=[".", ",", "\n"],  # a good answer that is cut off would not be learnt
        temperature=1.2,
        store=True,
    )
    vote = {"pair": [f"{made.id}#0", f"{made.id}#1"], "choice": "first"}
    assert httpx.post(f"{product.url}/v1/feedback", json=vote, timeout=30).status_code == 201


@pytest.fixture
def page(judged: Product, browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 1000}, locale="en-US")
    opened = context.new_page()
    opened.goto(judged.url)
    yield opened
    context.close()


def test_votes_become_a_version_that_is_tried_promoted_and_rolled_back(
    judged: Product, page: Page, pictures: Path
):
    start_a_round(judged, page, pictures)
    ask_each_by_name(judged)
    judge_one_pair(judged, page, pictures)
    promote(judged, page, pictures)
    roll_back(judged, page)


def start_a_round(product: Product, page: Page, pictures: Path) -> None:
    page.get_by_role("tab", name="Align").click()
    expect(page.locator("#given")).to_contain_text("24 conversations")
    page.locator("#start-round").click()
    expect(page.locator("#round-state")).to_contain_text("◐ dpo", timeout=60_000)
    expect(page.locator("#start-round")).to_be_disabled()
    expect(page.locator("#curves svg.marks").first).to_be_visible(timeout=60_000)
    page.screenshot(path=pictures / "round-running.png", full_page=True)
    expect(page.locator("#round-state")).to_contain_text("is on trial", timeout=ROUND_MS)
    expect(page.locator("#round-state")).to_contain_text("held-out pairs ranked right")
    expect(page.locator("#trial-state")).to_contain_text("No votes yet")
    page.screenshot(path=pictures / "round-done.png", full_page=True)
    product.wait_until_ready(CANDIDATE)


def ask_each_by_name(product: Product) -> None:
    assert [m.id for m in product.client.models.list()] == ["assistant", STOCK, CANDIDATE]
    for name in ("assistant", STOCK, CANDIDATE):
        answer = product.client.chat.completions.create(
            model=name,
            messages=[{"role": "user", "content": SHORT}],
            max_tokens=30,
            temperature=0,
            store=True,
        )
        kept = product.client.chat.completions.retrieve(answer.id)
        assert kept.model == (STOCK if name == "assistant" else name)


def judge_one_pair(product: Product, page: Page, pictures: Path) -> None:
    page.get_by_role("tab", name="Compare").click()
    page.locator("#compare-question textarea").fill(SHORT)
    page.locator("#compare-question textarea").press("Enter")
    page.locator("#vote-first").wait_for(timeout=ANSWER_MS * 2)
    shown = page.locator("#answer-a").inner_text() + page.locator("#answer-b").inner_text()
    assert CANDIDATE not in shown
    page.locator("#vote-first").click()
    expect(page.locator("#revealed")).to_contain_text(CANDIDATE)
    expect(page.locator("#revealed")).to_contain_text(STOCK)
    drawn = rows(product, "select trial, drawn, blind from comparison")
    assert drawn == [("trial-001", "versions", 1)]
    newest = rows(
        product,
        """select g.version from judged d join generation g on g.message_id = d.message_id
        where d.position = 0 order by d.rowid desc limit 1""",
    )[0][0]
    expect(page.locator("#revealed")).to_contain_text(f"A was {newest}")
    page.get_by_role("tab", name="Align").click()
    expect(page.locator("#trial-state")).to_contain_text("1 votes give it")


def promote(product: Product, page: Page, pictures: Path) -> None:
    page.get_by_role("tab", name="Versions").click()
    page.get_by_label(CANDIDATE, exact=False).check()
    expect(page.locator("#version-card")).to_contain_text(f"{CANDIDATE} ← {STOCK}")
    curves = page.locator("#version-curves img")
    expect(curves.first).to_be_visible()
    assert curves.first.evaluate("image => image.naturalWidth") > 200  # it could be drawn
    page.screenshot(path=pictures / "candidate.png", full_page=True)
    with ThreadPoolExecutor(1) as pool:
        begun = pool.submit(long_answer, product)
        page.locator("#promote").click()
        expect(page.locator("#status")).to_have_text(f"● {CANDIDATE} answers", timeout=ENGINE_MS)
        assert begun.result() == "length"  # the old version finished what it had begun
    assert product.client.models.retrieve("assistant").model_dump()["root"] == CANDIDATE
    page.get_by_role("tab", name="Chat").click()
    ask(page, SHORT)
    newest = "select version from generation order by rowid desc limit 1"
    assert rows(product, newest) == [(CANDIDATE,)]


def long_answer(product: Product) -> str | None:
    stream = product.client.chat.completions.create(
        model="assistant",
        messages=[{"role": "user", "content": "Write a very long story about a dragon."}],
        max_tokens=300,
        stream=True,
        extra_body={"logit_bias": {"2": -100}},  # the end token, so that it goes on to the limit
    )
    return [chunk.choices[0].finish_reason for chunk in stream if chunk.choices][-1]


def roll_back(product: Product, page: Page) -> None:
    page.get_by_role("tab", name="Versions").click()
    page.locator("#roll-back").click()
    expect(page.locator("#status")).to_have_text(f"● {STOCK} answers", timeout=ENGINE_MS)
    assert product.client.models.retrieve("assistant").model_dump()["root"] == STOCK
