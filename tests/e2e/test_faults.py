"""What happens when things are killed, taken, or wrong."""

import re
import shutil
import signal
import socket
import threading
import time
from contextlib import closing

import httpx
import openai
import psutil
import pytest
from playwright.sync_api import Browser, expect

from assistant.version import Version
from tests.e2e.browsing import ANSWER_MS, ask, button, rows
from tests.e2e.product import Product, running
from tests.serving import eventually

QUESTION = [{"role": "user", "content": "Name three colors."}]
LOADED_MS = 120_000
STORY = [{"role": "user", "content": "Write a very long story."}]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, embedded_version: Version):
    """A product to do harm to."""
    folder = tmp_path_factory.mktemp("faults")
    shutil.copytree(embedded_version.path, folder / "home" / "versions" / embedded_version.name)
    with running(folder) as started:
        yield started


def test_page_and_api_are_up_at_once_and_say_loading(own: Product):
    own.wait_for_page()
    ready = httpx.get(f"{own.url}/readyz")
    assert ready.status_code == 503
    assert ready.json()["ready"] is False
    assert int(ready.headers["Retry-After"]) > 0
    with pytest.raises(openai.InternalServerError, match="not ready") as refused:
        own.client.chat.completions.create(model="assistant", messages=QUESTION)
    assert refused.value.status_code == 503
    assert refused.value.response.headers["Retry-After"]
    assert httpx.get(f"{own.url}/en/").status_code == 200
    own.wait_until_ready()


def test_a_killed_engine_comes_back_and_the_page_says_so(own: Product, browser: Browser):
    own.wait_until_ready()
    context = browser.new_context(locale="en-US")
    page = context.new_page()
    page.goto(own.url)
    expect(page.locator("#status")).to_contain_text("answers")
    stream = own.client.chat.completions.create(
        model="assistant", messages=STORY, max_tokens=1500, temperature=0, stream=True
    )
    next(iter(stream))
    engine = own.engine()
    family = [engine, *engine.children(recursive=True)]
    engine.kill()
    with pytest.raises((openai.APIError, httpx.HTTPError)):
        list(stream)
    with pytest.raises(openai.InternalServerError) as refused:
        own.client.chat.completions.create(model="assistant", messages=QUESTION)
    assert refused.value.status_code == 503
    assert eventually(lambda: httpx.get(f"{own.url}/readyz").status_code == 503)  # not at once
    expect(page.locator("#status")).to_contain_text("the engine is loading")
    own.wait_until_ready()
    ask(page, "Name three colors.")  # nobody reloaded it
    expect(page.locator("#status")).to_contain_text("answers")
    context.close()
    answer = own.client.chat.completions.create(model="assistant", messages=QUESTION)
    assert answer.choices[0].message.content
    assert not any(process.is_running() for process in family)  # nothing of it was left behind
    assert list((own.home / "engine").glob("*.log"))


def test_every_acknowledged_judgement_survives_a_killed_app(own: Product):
    own.wait_until_ready()
    made = own.client.chat.completions.create(
        model="assistant", messages=QUESTION, max_tokens=5, store=True
    )
    acknowledged: list[str] = []

    def judge() -> None:
        body = {"completion_id": made.id, "rating": "up"}
        try:
            while True:
                given = httpx.post(f"{own.url}/v1/feedback", json=body)
                acknowledged.append(given.json()["id"])
        except httpx.TransportError:
            return

    judges = [threading.Thread(target=judge) for _ in range(4)]
    for thread in judges:
        thread.start()
    time.sleep(1)
    engine = own.engine()
    own.kill()
    for thread in judges:
        thread.join()
    assert len(acknowledged) > 10
    assert gone(engine)  # a killed app takes its engine with it
    own.start()
    own.wait_for_page()
    with httpx.Client(base_url=f"{own.url}/v1/feedback") as client:
        missing = [i for i in acknowledged if client.get(f"/{i}").status_code != 200]
    assert missing == []
    kept = own.client.chat.completions.retrieve(made.id)
    assert kept.choices[0].message.content == made.choices[0].message.content


@pytest.mark.long
def test_a_thumb_survives_a_killed_app_and_questions_wait_for_the_next_one(
    own: Product, browser: Browser
):
    own.wait_until_ready()
    with closing(browser.new_context(locale="en-US")) as context:
        page = context.new_page()
        page.goto(own.url)
        ask(page, "Name three colors.")
        said = page.locator("#chat .bot.message").inner_text()
        button(page, "Dislike").click()
        expect(page.locator("#judging")).to_contain_text("Noted")
        own.kill()
        page.goto("about:blank")  # an open page would reload itself just when we come back
        own.start()
        own.wait_for_page()
        assert rows(own, "select choice from judgement order by seq desc limit 1") == [("down",)]
        page.goto(own.url)
        expect(page.locator("#chat .bot.message")).to_have_text(said, use_inner_text=True)
        question = page.locator("#question textarea")
        question.fill("Are you there?")
        question.press("Enter")
        answers = page.locator("#chat .bot.message")
        expect(answers.last).to_contain_text("The model is loading (")
        beside = context.new_page()
        beside.goto(own.url)
        beside.get_by_role("tab", name="Compare").click()
        beside.locator("#compare-question textarea").fill("Name three colors.")
        beside.locator("#compare-question textarea").press("Enter")
        expect(beside.locator("#answer-b")).to_contain_text("The model is loading (")
        expect(answers.last).not_to_contain_text("is loading", timeout=LOADED_MS)
        expect(answers.last).to_have_text(re.compile(r"\w"), timeout=ANSWER_MS)
        expect(answers).to_have_count(2)
        beside.locator("#vote-first").wait_for(timeout=ANSWER_MS * 2)


def test_a_stopped_program_ends_what_it_began_and_leaves_nothing_running(own: Product):
    own.wait_until_ready()
    engine, process = own.engine(), own.process
    assert process is not None
    stream = own.client.chat.completions.create(
        model="assistant", messages=STORY, max_tokens=40, stream=True
    )
    next(iter(stream))
    process.send_signal(signal.SIGTERM)
    assert eventually(lambda: not listens(own))  # nothing new is taken
    assert [c.choices[0].finish_reason for c in stream if c.choices][-1] in ("length", "stop")
    assert process.wait(timeout=60) == 0
    assert gone(engine)
    assert "Traceback" not in own.log.read_text()


def listens(product: Product) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", product.port)) == 0


def gone(process: psutil.Process, seconds: float = 25) -> bool:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    return False
