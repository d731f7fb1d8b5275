"""People use the page in a real browser, on the real engine."""

import json
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from align.progress import Progress
from align.steps import alone
from tests.e2e.browsing import ANSWER_MS, SHORT, ask, button, idle, rows
from tests.e2e.conftest import watch
from tests.e2e.product import Product

REST = ("second", "tie")  # of what may be said of two answers


def test_an_answer_streams_and_survives_a_reload(visitor: Page, pictures: Path):
    ask(visitor, SHORT)
    said = visitor.locator("#chat .bot.message").inner_text()
    assert said
    visitor.screenshot(path=pictures / "chat.png")
    visitor.reload()
    expect(visitor.locator("#chat .bot.message")).to_have_text(said, use_inner_text=True)
    expect(visitor.locator("#chat .user.message")).to_have_text(SHORT)


def test_a_stopped_answer_is_kept_as_far_as_it_came(visitor: Page, product: Product):
    visitor.locator("#question textarea").fill("Write a very long story about a dragon.")
    visitor.locator("#question textarea").press("Enter")
    expect(visitor.locator("#chat .bot.message")).to_contain_text(" ", timeout=ANSWER_MS)
    judged = rows(product, "select count(*) from judgement")
    button(visitor, "Dislike").click()
    expect(visitor.get_by_text("This answer is still being written")).to_be_visible()
    visitor.locator("#question button.stop-button").click()
    expect(visitor.locator("#chat .bot.message")).to_contain_text("(stopped)")
    expect(button(visitor, "Dislike")).to_be_visible()  # not pressed: it was not counted
    assert rows(product, "select count(*) from judgement") == judged
    newest = "select finish_reason from generation order by rowid desc limit 1"
    assert rows(product, newest) == [("interrupted",)]
    ask(visitor, SHORT)  # the next turn is not held up
    expect(visitor.locator("#chat .bot.message")).to_have_count(2)


def test_an_earlier_answer_can_be_gone_back_to(visitor: Page):
    ask(visitor, "What is your name?")
    first = visitor.locator("#chat .bot.message").inner_text()
    button(visitor, "Retry").click()
    expect(visitor.locator("#forks")).to_contain_text("Answer 1: version 2 of 2", timeout=ANSWER_MS)
    idle(visitor)
    visitor.get_by_role("button", name="Earlier version").click()
    expect(visitor.locator("#forks")).to_contain_text("version 1 of 2")
    expect(visitor.locator("#chat .bot.message")).to_have_text(first, use_inner_text=True)
    visitor.locator("#sidebar button").first.click()
    visitor.locator("#new-chat").click()
    expect(visitor.locator("#chat .message")).to_have_count(0)
    expect(visitor.locator("#forks")).not_to_contain_text("version")
    visitor.locator("#conversations label").first.click()
    expect(visitor.locator("#forks")).to_contain_text("version 2 of 2")


def test_an_edited_question_is_answered_beside_the_original(visitor: Page):
    ask(visitor, SHORT)
    button(visitor, "Edit").click()
    changed = "Name <b>two</b> animals ``` ![x](http://elsewhere.example/x.png)"
    visitor.locator("#chat textarea").fill(changed)
    visitor.get_by_role("button", name="Submit", exact=True).first.click()
    expect(visitor.locator("#forks")).to_contain_text("Question 1: version 2 of 2")
    idle(visitor)
    expect(visitor.locator("#chat .user.message")).to_contain_text("Name <b>two</b> animals")
    assert visitor.locator("#chat b").count() == 0  # tags are shown, not obeyed
    assert visitor.locator("#chat .message img[src*=elsewhere]").count() == 0
    visitor.get_by_role("button", name="Earlier version").click()
    expect(visitor.locator("#chat .user.message")).to_have_text(SHORT)


def test_a_thumb_asks_why_and_for_consent(visitor: Page, product: Product, pictures: Path):
    ask(visitor, SHORT)
    button(visitor, "Dislike").click()
    visitor.get_by_label("wrong", exact=True).check()
    visitor.locator("#comment textarea").fill("not <i>these</i>")
    expect(visitor.locator("#chat-consent")).to_contain_text("May we learn")
    visitor.screenshot(path=pictures / "judging.png", full_page=True)
    visitor.locator("#save-thumb").click()
    expect(visitor.locator("#judging")).to_be_hidden()
    visitor.get_by_role("button", name="Yes, this conversation").first.click()
    expect(visitor.locator("#chat-consent")).to_be_hidden()
    newest = "select kind, choice, reasons, comment from judgement order by seq desc limit 1"
    assert rows(product, newest) == [("thumb", "down", '["wrong"]', "not <i>these</i>")]
    assert rows(product, "select given from consent order by seq desc limit 1") == [(1,)]
    visitor.reload()
    expect(button(visitor, "Disliked")).to_be_visible()
    button(visitor, "Disliked").click()  # taken back
    expect(button(visitor, "Dislike")).to_be_visible()
    expect(visitor.get_by_text("Your judgement was taken back.")).to_be_visible()
    assert rows(product, "select kind from judgement order by seq desc limit 1") == [
        ("withdrawal",)
    ]


def test_a_better_answer_is_kept_beside_the_models(visitor: Page, product: Product):
    ask(visitor, SHORT)
    button(visitor, "Like").click()
    visitor.locator("#write-better").click()
    visitor.locator("#better-answer textarea").fill("Red, green and blue.")
    visitor.locator("#save-better").click()
    expect(visitor.locator("#chat .bot.message")).to_contain_text("Red, green and blue.")
    expect(visitor.locator("#forks")).to_contain_text("Answer 1: version 2 of 2")
    newest = "select kind, surface from judgement order by seq desc limit 1"
    assert rows(product, newest) == [("correction", "chat")]


@pytest.mark.parametrize(
    "choice", ["first", "both_bad", *(pytest.param(c, marks=pytest.mark.long) for c in REST)]
)
def test_two_answers_are_judged_blind(visitor: Page, product: Product, pictures: Path, choice: str):
    visitor.get_by_role("tab", name="Compare").click()
    visitor.locator("#compare-question textarea").fill(SHORT)
    visitor.locator("#compare-question textarea").press("Enter")
    vote = visitor.locator(f"#vote-{choice}")
    vote.wait_for(timeout=ANSWER_MS)
    assert "smollm2" not in visitor.locator("#answer-a, #answer-b").all_inner_texts()
    expect(visitor.locator("#revealed")).to_be_hidden()
    vote.click()
    expect(visitor.locator("#revealed")).to_contain_text("A was smollm2-135m-instruct-q4")
    visitor.screenshot(path=pictures / "compare.png", full_page=True)
    newest = """select j.choice, c.blind, d.message_id = c.first_id from judgement j
        join comparison c on c.id = j.comparison_id
        join judged d on d.judgement_id = j.id and d.position = 0
        order by j.seq desc limit 1"""
    assert rows(product, newest) == [(choice, 1, 1)]


def test_versions_show_their_cards(visitor: Page, pictures: Path):
    visitor.get_by_role("tab", name="Versions").click()
    card = visitor.locator("#version-card")
    expect(card).to_contain_text("Not a base model")
    expect(card).to_contain_text("model.safetensors")
    visitor.screenshot(path=pictures / "versions.png", full_page=True)


def test_what_a_command_makes_is_followed(visitor: Page, product: Product):
    folder = product.home / "making" / "rlhf-001"
    made = folder / ".rlhf" / "model" / "made"
    made.mkdir(parents=True)
    curve = [{"step": step, "loss": 0.1, "reward": step / 10} for step in range(3)]
    (made / "curve.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in curve))
    with alone(folder):
        Progress(folder / ".rlhf").update(2, 20)
        visitor.get_by_role("tab", name="Align").click()
        expect(visitor.locator("#making")).to_contain_text("rlhf-001")
        expect(visitor.locator("#making")).to_contain_text("rlhf · 2 of 20 steps")
        expect(visitor.locator("#curves svg.marks")).to_have_count(2)
    expect(visitor.locator("#making")).to_contain_text(
        "was interrupted. Given once more, it goes on"
    )
    shutil.rmtree(folder)
    expect(visitor.locator("#making")).not_to_contain_text("rlhf-001")


def test_a_page_that_nobody_touches_opens_no_stream(visitor: Page):
    expect(visitor.locator("#status")).to_contain_text("answers")
    visitor.wait_for_timeout(2_000)  # what opening it took is over
    asked: list[str] = []
    visitor.on("request", lambda request: asked.append(request.url.partition("/gradio_api/")[2]))
    visitor.wait_for_timeout(5_000)
    assert asked, "the status is not refreshed"
    assert not [path for path in asked if path.startswith("queue/")], asked


def test_a_browser_fetches_nothing_from_elsewhere(browser: Browser, product: Product):
    context = browser.new_context()
    page = context.new_page()
    page.goto(product.url)
    refused = page.evaluate(
        """() => new Promise(told => {
            document.addEventListener("securitypolicyviolation", e => told(e.effectiveDirective));
            new Image().src = "http://elsewhere.example/x.png";
        })"""
    )
    assert refused == "img-src"
    context.close()


def test_two_browsers_do_not_see_each_other(visitor: Page, browser: Browser, product: Product):
    ask(visitor, "My secret word is kumquat.")
    other = browser.new_context(locale="en-US")
    page = other.new_page()
    page.goto(product.url)
    page.locator("#question textarea").wait_for()
    page.wait_for_timeout(1500)
    assert page.locator("#chat .message").count() == 0
    assert "kumquat" not in page.content()
    other.close()


def test_a_deleted_conversation_is_gone(visitor: Page, product: Product):
    ask(visitor, "Say kumquat-deleted.")
    visitor.locator("#sidebar .toggle-button").click()
    visitor.locator("#delete").click()
    visitor.locator("#delete-yes").click()
    expect(visitor.locator("#chat .message")).to_have_count(0)
    found = "select count(*) from message where content like '%kumquat-deleted%'"
    assert rows(product, found) == [(0,)]


def test_the_page_speaks_chinese_on_a_phone_in_the_dark(
    browser: Browser, product: Product, pictures: Path
):
    phone = browser.new_context(
        viewport={"width": 390, "height": 844},
        locale="zh-CN",
        color_scheme="dark",
        has_touch=True,
        is_mobile=True,
    )
    left = watch(phone)
    page = phone.new_page()
    page.goto(product.url)
    expect(page).to_have_url(f"{product.url}/zh/")
    page.locator("#question textarea").fill("你好")
    page.locator("#question textarea").press("Enter")
    expect(page.locator("#chat .bot.message")).to_have_count(1, timeout=ANSWER_MS)
    page.locator("#question button.stop-button").click()
    idle(page)
    page.locator("#chat").get_by_role("button", name="赞", exact=True).click()
    expect(page.locator("#judging")).to_contain_text("已记录：好回答")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.evaluate("document.body.classList.contains('dark')")
    page.screenshot(path=pictures / "phone.png", full_page=True)
    phone.close()
    assert left == []
