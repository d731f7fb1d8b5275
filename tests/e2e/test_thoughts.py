"""A model that thinks before it answers: its thoughts are told apart, for programs and people.

Random weights under a template that begins with a thought; the tokens of its marks are borrowed.
"""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from playwright.sync_api import Browser, Page, expect

from assistant.dialect import TEMPLATE
from tests.align.conftest import END, NO, TOKENIZER, WELL, YES, tiny_model
from tests.e2e.browsing import idle
from tests.e2e.conftest import watch
from tests.e2e.product import Product, running

pytestmark = pytest.mark.long

MARKS, THOUGHT_ENDS = ("<think>", "</think>"), 4  # the second one's token
CHOICES, WORDS = 4, {"yes", "no", "well"}
ANSWERED = re.compile(r"\byes\b|no answer within this length")  # as chance will have it
TRIES, THOUGHT_MS = 3, 20_000
SPARE = ("<repo_name>", "<reponame>")  # tokens of the embedded model that no text here needs


@pytest.fixture(scope="module")
def thinking(embedded_version, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    folder = tmp_path_factory.mktemp("thinking")
    with running(folder, ASSISTANT_MODEL=str(model(embedded_version.path, folder))) as started:
        started.wait_until_ready()
        yield started


def model(embedded: Path, folder: Path) -> Path:
    """The tiny model, talkative, with two of its tokens spelt as the marks of a thought."""
    made = folder / "thinker"
    tiny = tiny_model()
    with torch.no_grad():
        embeddings = tiny.get_input_embeddings().weight
        embeddings[END, 0] = 0
        embeddings[[YES, NO, WELL], 0] = 5
        embeddings[THOUGHT_ENDS, 0] = 4.65
    tiny.to(torch.bfloat16).save_pretrained(made)
    for name in TOKENIZER:
        shutil.copyfile(embedded / name, made / name)
    tokenizer = json.loads((made / TOKENIZER[0]).read_text(encoding="utf-8"))
    for token in tokenizer["added_tokens"]:
        if token["content"] in SPARE:
            mark = MARKS[SPARE.index(token["content"])]
            tokenizer["model"]["vocab"][mark] = tokenizer["model"]["vocab"].pop(token["content"])
            token |= {"content": mark, "special": False}  # such that it is in the text
    (made / TOKENIZER[0]).write_text(json.dumps(tokenizer), encoding="utf-8")
    begins = "assistant\\n' }}\n{%- endif"
    template = (made / TEMPLATE).read_text(encoding="utf-8")
    assert begins in template
    template = template.replace(begins, begins.replace("\\n'", "\\n<think>\\n'"))
    (made / TEMPLATE).write_text(template + "{#- until </think> -#}", encoding="utf-8")
    return made


@pytest.mark.parametrize("stream", [False, True])
def test_a_program_gets_thought_and_answer_apart(thinking: Product, stream: bool):
    asked = [{"role": "user", "content": "Well?"}]
    ask = thinking.client.chat.completions.create
    made = ask(model="assistant", messages=asked, n=CHOICES, max_tokens=200, stream=stream)
    thoughts, answers = [""] * CHOICES, [""] * CHOICES
    for chunk in made if stream else [made]:
        for choice in chunk.choices:
            said = choice.delta if stream else choice.message
            thought = getattr(said, "reasoning", None)
            assert getattr(said, "reasoning_content", None) == thought
            thoughts[choice.index] += thought or ""
            answers[choice.index] += said.content or ""
    both = [pair for pair in zip(thoughts, answers, strict=True) if all(pair)]
    assert both, (thoughts, answers)  # now and then one begins with the end of its thought
    for thought, answer in both:
        assert set(thought.split()) <= WORDS
        assert set(answer.replace(MARKS[1], "").split()) <= WORDS  # it may say that once more


def test_a_thought_is_shown_until_the_answer_is_whole(
    thinking: Product, browser: Browser, pictures: Path
):
    context = browser.new_context(locale="en-US")
    left = watch(context)
    page = context.new_page()
    page.goto(f"{thinking.url}/en/")
    assert any(thought_seen(page) for _ in range(TRIES))
    page.screenshot(path=pictures / "thinking.png")
    idle(page)
    expect(page.locator("#chat .bot.message").last).to_contain_text(ANSWERED)
    expect(page.get_by_text("Thinking")).to_have_count(0)
    context.close()
    assert left == []


def thought_seen(page: Page) -> bool:
    """Ask; whether a thought came first, as it does but now and then."""
    page.locator("#question textarea").fill("Well?")
    page.locator("#question textarea").press("Enter")
    try:
        expect(page.get_by_text("Thinking")).to_be_visible(timeout=THOUGHT_MS)
    except AssertionError:
        idle(page)
        return False
    return True
