"""Formats: the usual ways to write a row all mean the same example."""

import contextlib
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.errors import Invalid
from assistant.feedback.formats import FORMATS, understand
from tests.assistant.feedback.said import assistant, user

SYSTEM = {"role": "system", "content": "Be kind."}
ADD = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}

CHATS = {
    "messages": {"messages": [SYSTEM, user("Q?"), assistant("A")]},
    "messages with parts and a developer": {
        "messages": [
            {"role": "developer", "content": "Be kind."},
            {"role": "user", "content": [{"type": "text", "text": "Q?"}]},
            assistant("A"),
        ]
    },
    "ShareGPT": {
        "system": "Be kind.",
        "conversations": [{"from": "human", "value": "Q?"}, {"from": "gpt", "value": "A"}],
    },
    "Alpaca": {"system": "Be kind.", "instruction": "Q?", "input": "", "output": "A"},
    "prompt/completion": {"prompt": [SYSTEM, user("Q?")], "completion": "A"},
}
PAIRS = {
    "chosen/rejected": {"prompt": "Q?", "chosen": "A", "rejected": "B"},
    "chosen/rejected, prompt within": {
        "chosen": [user("Q?"), assistant("A")],
        "rejected": [user("Q?"), assistant("B")],
    },
    "chosen/rejected, prompt within and beside": {
        "prompt": "Q?",
        "chosen": [user("Q?"), assistant("A")],
        "rejected": [user("Q?"), assistant("B")],
    },
    "chosen/rejected, written down": {
        "chosen": "\n\nHuman: Q?\n\nAssistant: A",
        "rejected": "\n\nHuman: Q?\n\nAssistant: B",
    },
    "OpenAI preference": {
        "input": {"messages": [user("Q?")], "tools": [], "parallel_tool_calls": True},
        "preferred_output": [assistant("A")],
        "non_preferred_output": [assistant("B")],
    },
    "ShareGPT": {
        "conversations": [{"from": "human", "value": "Q?"}],
        "chosen": {"from": "gpt", "value": "A"},
        "rejected": {"from": "gpt", "value": "B"},
    },
    "Alpaca": {"instruction": "Q?", "chosen": "A", "rejected": "B"},
}
THUMBS = {
    "prompt/completion/label": {"prompt": "Q?", "completion": "A", "label": False},
    "from a table": {"prompt": "Q?", "completion": "A", "label": "False"},
    "ShareGPT": {
        "conversations": [{"from": "human", "value": "Q?"}, {"from": "gpt", "value": "A"}],
        "kto_tag": False,
    },
    "Alpaca": {"instruction": "Q?", "output": "A", "kto_tag": False},
}


@pytest.mark.parametrize("name", CHATS)
def test_a_chat(name: str):
    found = understand(CHATS[name])
    assert (found.kind, found.prompt, found.texts) == ("chat", [SYSTEM, user("Q?")], ("A",))


@pytest.mark.parametrize("name", PAIRS)
def test_a_pair(name: str):
    found = understand(PAIRS[name])
    assert (found.kind, found.prompt, found.texts) == ("pair", [user("Q?")], ("A", "B"))
    assert found.margin == 0
    assert understand(PAIRS[name] | {"margin": "1.5"}).margin == 1.5


@pytest.mark.parametrize("name", THUMBS)
def test_a_thumb(name: str):
    found = understand(THUMBS[name])
    assert (found.kind, found.prompt, found.texts, found.liked) == (
        *("thumb", [user("Q?")], ("A",)), False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("said", "ranks"), [({}, (0, 1, 2)), ({"ranks": [1, 0, 1]}, (1, 0, 1)),
                        ({"scores": [0.5, 2, 0.5]}, (-0.5, -2, -0.5))]
)  # fmt: skip
def test_a_ranking_by_order_rank_or_score(said: dict, ranks: tuple):
    found = understand({"prompt": "Q?", "completions": ["A", "B", "C"], **said})
    assert (found.kind, found.texts, found.ranks) == ("ranking", ("A", "B", "C"), ranks)


def test_a_text():
    assert understand({"text": "Once upon a time."}).text == "Once upon a time."


def test_alpacas_input_and_history_come_before_the_question():
    row = {"instruction": "Add.", "input": "1 2", "output": "3", "history": [["Hi", "Hello"]]}
    assert understand(row).prompt == [user("Hi"), assistant("Hello"), user("Add.\n1 2")]


@pytest.mark.parametrize(
    "row",
    [
        {
            "messages": [
                user("1 + 1?"),
                {"role": "assistant", "content": None, "tool_calls": [
                    {"id": "c1", "type": "function",
                     "function": {"name": "add", "arguments": '{"a": 1}'}}]},
                {"role": "tool", "tool_call_id": "c1", "content": "2"},
                assistant("Two."),
            ],
            "tools": [ADD],
        },
        {
            "conversations": [
                {"from": "human", "value": "1 + 1?"},
                {"from": "function_call", "value": '{"name": "add", "arguments": {"a": 1}}'},
                {"from": "observation", "value": "2"},
                {"from": "gpt", "value": "Two."},
            ],
            "tools": json.dumps([ADD["function"]]),
        },
    ],
)  # fmt: skip
def test_tools_calls_and_their_results_are_kept(row: dict):
    found = understand(row)
    assert found.tools == (ADD,)
    (call,) = found.prompt[1]["tool_calls"]
    assert {name: call[name] for name in CALL} == CALL
    assert [turn["role"] for turn in found.prompt] == ["user", "assistant", "tool"]
    assert found.texts == ("Two.",)


def test_an_answer_may_be_a_call_alone():
    called = {"role": "assistant", "content": "", "tool_calls": [CALL]}
    assert understand({"messages": [user("1 + 1?"), called]}).answers[0]["tool_calls"] == [CALL]


def test_a_conversation_written_down_has_its_turns():
    spoken = "\n\nHuman: Hi\n\nAssistant: Hello.\nYes?\n\nHuman: Q?\n\nAssistant:"
    read = understand({"chosen": f"{spoken} A", "rejected": f"{spoken} B"})
    assert read.prompt == [user("Hi"), assistant("Hello.\nYes?"), user("Q?")]
    assert read.texts == ("A", "B")


def test_answers_with_the_weight_0_are_told_apart():
    talk = [
        user("Q?"),
        {**assistant("A"), "weight": 0},
        user("R?"),
        {**assistant("B"), "weight": 1},
    ]
    read = understand({"messages": talk})
    assert read.prompt[1] == {**assistant("A"), "weight": 0}
    assert read.answers == (assistant("B"),)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"question": "Q?"}, "no known columns"),
        ({"chosen": "Yes.", "rejected": "No."}, "does not end with a user's turn"),
        ({"messages": [user("Q?"), {**assistant("A"), "weight": 0.5}]}, "neither 0 nor 1"),
        ({"instruction": "Q?"}, "no known columns"),
        ({"messages": [user("Q?"), assistant("A"), user("R?")]}, "does not end with an answer"),
        ({"messages": [user("Q?"), assistant(" ")]}, "one assistant turn with text"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}, assistant("A")]},
         "not text"),
        ({"messages": ["Q?"]}, "not a JSON object"),
        ({"prompt": "Q?", "completions": ["A"]}, "two or more"),
        ({"prompt": "Q?", "completions": ["A", "B"], "ranks": [1]}, "2 completions, but 1 ranks"),
        ({"prompt": "Q?", "completions": ["A", "B"], "ranks": ["x", "y"]}, "not numbers"),
        ({"prompt": "Q?", "completions": ["A", "B"], "scores": [1, math.inf]}, "not numbers"),
        ({**PAIRS["chosen/rejected"], "margin": "much"}, "margin is not a number"),
        ({**PAIRS["chosen/rejected"], "margin": True}, "margin is not a number"),
        ({**PAIRS["chosen/rejected"], "margin": math.nan}, "margin is not a number"),
        ({"text": " "}, "empty"),
        ({**CHATS["messages"], "tools": "add"}, "not JSON"),
        ({"messages": [user("Q?"), {"role": "assistant", "tool_calls": [{"function": {}}]}]},
         "names no function"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(row: dict, words: str):
    with pytest.raises(Invalid, match=words):
        understand(row)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(st.data())
def test_any_json_under_the_known_columns_is_understood_or_refused(data: st.DataObject):
    columns = data.draw(st.sampled_from([sorted(columns) for _, columns, _ in FORMATS]))
    more = ("tools", "ranks", "scores", "input", "history", "system", "kto_tag", "output")
    row = {name: data.draw(json_values) for name in (*columns, *more)}
    with contextlib.suppress(Invalid):
        assert understand(row).columns
