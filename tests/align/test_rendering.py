"""Rendering: what training sees of a conversation is what the server would show the model."""

from collections import Counter
from pathlib import Path

import pytest
import trl

from align.data.tokens import tokenized
from align.rendering import render, render_prompt, tokenizer_of
from assistant.errors import ModelError
from assistant.feedback.rows import Row
from assistant.version import Version

NOTHING = "<think>\n\n</think>\n\n"
TEMPLATES = Path(trl.__file__).parent / "chat_templates"

SYSTEM = {"role": "system", "content": "Be brief."}
QUESTION = {"role": "user", "content": "Name a color."}
ANSWER = {"role": "assistant", "content": "Red.\n"}
TALK = [SYSTEM, QUESTION, ANSWER, {"role": "user", "content": "Another?"}, ANSWER]


@pytest.fixture(scope="module")
def tokenizer(embedded_version: Version):
    return tokenizer_of(embedded_version.path)


def test_only_answers_with_their_end_are_trained(tokenizer):
    rendered = render(tokenizer, TALK)
    assert len(rendered.ids) == len(rendered.trained)
    trained = [i for i, learnt in zip(rendered.ids, rendered.trained, strict=True) if learnt]
    assert tokenizer.decode(trained) == "Red.\n<|im_end|>" * 2
    assert trained.count(tokenizer.eos_token_id) == 2


def test_training_continues_exactly_the_prompt_that_is_served(tokenizer):
    for end in (2, 4):
        prompt = render_prompt(tokenizer, TALK[:end])
        rendered = render(tokenizer, TALK[: end + 1])
        assert rendered.ids[: len(prompt)] == prompt
        assert rendered.trained[len(prompt)] is True
        assert rendered.trained[len(prompt) - 1] is False


def test_nothing_is_doubled_or_added(tokenizer):
    text = tokenizer.decode(render(tokenizer, [QUESTION, ANSWER]).ids)
    assert text == (
        "<|im_start|>user\nName a color.<|im_end|>\n<|im_start|>assistant\nRed.\n<|im_end|>\n"
    )


CALL = {"id": "c", "type": "function", "function": {"name": "add", "arguments": {"a": "é"}}}
CALLING = {"role": "assistant", "content": "", "tool_calls": [CALL, CALL]}
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}


def test_calls_are_part_of_what_an_answer_is_trained_on(tokenizer):
    outcome = {"role": "tool", "content": "3", "tool_call_id": "c"}
    rendered = render(tokenizer, [QUESTION, CALLING, outcome])
    trained = [i for i, learnt in zip(rendered.ids, rendered.trained, strict=True) if learnt]
    call = '<tool_call>\n{"name": "add", "arguments": {"a": "é"}}\n</tool_call>'
    assert tokenizer.decode(trained) == f"{call}\n{call}<|im_end|>"
    assert tokenizer.decode(rendered.ids).endswith("<|im_start|>tool\n3<|im_end|>\n")


@pytest.mark.parametrize("before", [[], [SYSTEM]])
def test_tools_stand_at_the_end_of_the_system_message(tokenizer, before):
    said = [*before, QUESTION]
    text = tokenizer.apply_chat_template(said, tools=[TOOL], tokenize=False)
    system = text.split("<|im_end|>")[0]
    assert system.startswith("<|im_start|>system\n" + ("Be brief.\n\n" if before else "You may"))
    assert '<tools>\n{"name": "add", "parameters": {"type": "object"}}\n</tools>' in system
    assert text.count("<tools>") == 1
    plain = tokenizer.apply_chat_template(said, tokenize=False)
    assert text.endswith(plain.split("<|im_end|>", 1)[1] if before else plain)


def test_a_developer_speaks_as_the_system(tokenizer):
    developer = {"role": "developer", "content": "Be brief."}
    assert render_prompt(tokenizer, [developer, QUESTION]) == render_prompt(
        tokenizer, [SYSTEM, QUESTION]
    )


def test_the_last_answer_is_split_from_everything_before_it(tokenizer):
    prompt, answer = render(tokenizer, TALK).split()
    assert prompt == render_prompt(tokenizer, TALK[:-1])
    assert tokenizer.decode(answer) == "Red.\n<|im_end|>"
    earlier = render(tokenizer, TALK[:3])
    assert earlier.split() == (render_prompt(tokenizer, TALK[:2]), answer)


def test_turns_after_the_last_answer_are_no_part_of_it(tokenizer):
    prompt, answer = render(tokenizer, TALK[:4]).split()
    assert tokenizer.decode(answer) == "Red.\n<|im_end|>"
    assert prompt == render_prompt(tokenizer, TALK[:2])


def test_a_template_without_marks_learns_the_same(tokenizer, monkeypatch):
    marked = [render(tokenizer, talk) for talk in (TALK, [QUESTION, CALLING])]
    unmarked = tokenizer.chat_template.replace("{% generation %}", "").replace(
        "{% endgeneration %}", ""
    )
    monkeypatch.setattr(tokenizer, "chat_template", unmarked)
    assert [render(tokenizer, talk) for talk in (TALK, [QUESTION, CALLING])] == marked


def learnt(tokenizer, talk) -> str:
    rendered = render(tokenizer, talk)
    prompt = render_prompt(tokenizer, talk[:-1])
    assert rendered.ids[: len(prompt)] == prompt  # what is served is gone on from
    assert rendered.trained[len(prompt)] is True
    return tokenizer.decode([i for i, t in zip(rendered.ids, rendered.trained, strict=True) if t])


@pytest.mark.parametrize(
    ("name", "one", "two"),
    [
        ("qwen2_5", "Red.\n<|im_end|>", "Red.\n<|im_end|>" * 2),
        ("lfm2", "Red.\n<|im_end|>", "Red.\n<|im_end|>" * 2),
        # the last answer alone is written as it is asked for
        (
            "qwen3",
            "<think>\n\n</think>\n\nRed.\n<|im_end|>",
            "<think>\n\n</think>\n\nRed.\n<|im_end|>",
        ),
        ("qwen3_5_nothink", "Red.<|im_end|>", "Red.<|im_end|>"),
        ("qwen3_5_think", "\n</think>\n\nRed.<|im_end|>", "\n</think>\n\nRed.<|im_end|>"),
    ],
)
def test_templates_of_others_learn_what_they_are_asked_for(
    tokenizer, monkeypatch, name: str, one: str, two: str
):
    monkeypatch.setattr(tokenizer, "chat_template", (TEMPLATES / f"{name}.jinja").read_text())
    assert learnt(tokenizer, TALK[:3]) == one
    assert learnt(tokenizer, TALK) == two


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("glm4moe", "writes no end after an answer"),
        ("deepseekv3", "does not mark what an answer is"),
        (None, "has no chat template"),
    ],
)
def test_templates_that_nothing_can_be_learnt_with_are_refused_in_words(
    tokenizer, monkeypatch, name: str | None, why: str
):
    template = (TEMPLATES / f"{name}.jinja").read_text() if name else None
    monkeypatch.setattr(tokenizer, "chat_template", template)
    with pytest.raises(ModelError, match=rf"{why}.*chat_template\.jinja"):
        render(tokenizer, TALK)


def test_conversations_that_a_template_refuses_are_counted_with_its_reason(tokenizer, monkeypatch):
    monkeypatch.setattr(tokenizer, "chat_template", (TEMPLATES / "gemma.jinja").read_text())
    row = Row({"messages": [SYSTEM, QUESTION, ANSWER]}, "c", ())
    refused = "The chat template refuses a conversation (System role not supported)."
    assert tokenized(tokenizer, [row], 99) == ([], Counter({refused: 1}))
