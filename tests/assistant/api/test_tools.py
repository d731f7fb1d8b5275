"""Tools over the API: offered, called, answered, kept, and learnt with what was offered."""

import json

import openai
import pytest

from assistant.feedback.turns import BROKEN_CALL, OTHER_TOOLS
from tests.assistant.api.conftest import Api
from tests.assistant.feedback.said import rows
from tests.upstream import CALLING

PATH = "/v1/chat/completions"
ADD = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
ASKED = [{"role": "user", "content": "call"}]
CALLS = CALLING["tool_calls"]
DONE = [
    *ASKED,
    {"role": "assistant", "content": None, "tool_calls": CALLS},
    {"role": "tool", "tool_call_id": "call-1", "content": "2"},
    {"role": "tool", "tool_call_id": "call-2", "content": [{"type": "text", "text": "0"}]},
]


def asked(messages: list[dict], **more: object) -> dict[str, object]:
    return {"model": "assistant", "messages": messages, "tools": [ADD], **more}


def called(arguments: str) -> list[dict]:
    call = {"id": "c", "type": "function", "function": {"name": "add", "arguments": arguments}}
    return [*ASKED, {"role": "assistant", "content": None, "tool_calls": [call]}]


@pytest.mark.parametrize("choice", [None, "auto", "none", "required", "named"])
def test_tools_reach_the_engine_as_they_were_sent(api: Api, choice: str | None):
    named = {"type": "function", "function": {"name": "add"}} if choice == "named" else choice
    more = {} if choice is None else {"tool_choice": named, "parallel_tool_calls": False}
    assert api.post(PATH, asked(ASKED, **more)).status_code == 200
    assert api.upstream.asked[-1] == {"model": "tiny", "messages": ASKED, "tools": [ADD], **more}


def test_calls_and_their_outcomes_reach_the_engine(api: Api):
    assert api.post(PATH, asked(DONE)).status_code == 200
    said = api.upstream.asked[-1]["messages"]
    assert said[1] == {"role": "assistant", "content": "", "tool_calls": CALLS}
    assert said[2:] == [
        {"role": "tool", "tool_call_id": "call-1", "content": "2"},
        {"role": "tool", "tool_call_id": "call-2", "content": "0"},
    ]


@pytest.mark.parametrize("stream", [False, True])
def test_calls_come_back_and_are_kept(api: Api, stream: bool):
    client = api.client
    made = client.chat.completions.create(**asked(ASKED, store=True, stream=stream))
    if stream:
        chunks = list(made)
        pieces = [c.choices[0].delta.tool_calls for c in chunks if c.choices[0].delta.tool_calls]
        assert [piece[0].index for piece in pieces] == [0, 0, 0, 1]
        made = chunks[-1]
    else:
        assert made.choices[0].message.content is None
        assert [call.model_dump() for call in made.choices[0].message.tool_calls] == CALLS
    kept = client.chat.completions.retrieve(made.id).choices[0].message
    assert kept.content is None
    assert [call.model_dump() for call in kept.tool_calls] == CALLS


def test_what_was_asked_is_kept_with_its_calls(api: Api):
    made = api.client.chat.completions.create(**asked(DONE, store=True))
    turns = api.get(f"{PATH}/{made.id}/messages").json()["data"]
    assert [turn["role"] for turn in turns] == ["user", "assistant", "tool", "tool"]
    assert turns[1]["tool_calls"] == CALLS
    assert turns[2]["tool_call_id"] == "call-1"


def learnt(api: Api, shape: str = "unpaired") -> dict:
    """The newest row of a shape."""
    return rows(api.store, shape).rows[-1].data


def liked(api: Api, messages: list[dict], **more: object) -> None:
    made = api.client.chat.completions.create(**asked(messages, store=True, **more))
    assert api.post("/v1/feedback", {"completion_id": made.id, "rating": "up"}).status_code == 201


def test_answers_that_call_tools_are_learnt_with_the_tools(api: Api):
    liked(api, ASKED)
    for shape, answer in (("unpaired", "completion"), ("messages", "messages")):
        row = learnt(api, shape)
        assert row["tools"] == [ADD]
        calls = row[answer][-1]["tool_calls"]
        assert [call["function"]["arguments"] for call in calls] == [{"a": 1}, {}]


def test_the_outcomes_of_calls_are_part_of_the_prompt(api: Api):
    liked(api, DONE)
    prompt = learnt(api)["prompt"]
    assert [turn["role"] for turn in prompt] == ["user", "assistant", "tool", "tool"]
    assert prompt[1]["tool_calls"][0]["function"]["arguments"] == {"a": 1}


def test_a_pair_offered_different_tools_teaches_nothing(api: Api):
    other = {"type": "function", "function": {"name": "sub", "parameters": {"type": "object"}}}
    ids = [
        api.client.chat.completions.create(**asked(ASKED, store=True) | {"tools": [tool]}).id
        for tool in (ADD, other)
    ]
    api.post("/v1/feedback", {"pair": ids, "choice": "first"})
    assert rows(api.store, "preference").left_out[OTHER_TOOLS] == 1


def test_a_call_that_is_not_json_is_counted_and_not_learnt(api: Api):
    broken = {"name": "add", "arguments": '{"a": '}
    call = {"id": "c", "type": "function", "function": broken}
    api.upstream.calling = {"content": None, "tool_calls": [call]}
    liked(api, ASKED)
    assert rows(api.store, "unpaired").left_out[BROKEN_CALL] == 1


def test_prompts_that_differ_only_in_a_call_are_different(api: Api):
    other = json.loads(json.dumps(DONE))
    other[1]["tool_calls"][0]["function"]["arguments"] = "{}"
    ids = [
        api.client.chat.completions.create(**asked(messages, store=True)).id
        for messages in (DONE, other)
    ]
    refused = api.post("/v1/feedback", {"pair": ids, "choice": "first"})
    assert "different prompts" in refused.json()["error"]["message"]


def test_deleting_a_completion_deletes_its_calls(api: Api):
    secret = [{**CALLS[0], "function": {"name": "add", "arguments": '{"a": "very secret"}'}}]
    talk = [*ASKED, {"role": "assistant", "content": None, "tool_calls": secret}]
    made = api.client.chat.completions.create(**asked([*talk, *ASKED], store=True))
    api.client.chat.completions.delete(made.id)
    with api.store.engine.connect() as connection:
        found = connection.exec_driver_sql("SELECT tool_calls FROM message").all()
    assert "very secret" not in str(found)


def test_a_model_that_is_shown_no_tools_is_not_asked_to_call_any(
    api: Api, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(api.fleet.engine(), "calls_tools", False)
    with pytest.raises(openai.BadRequestError, match="shows its model no tools") as refused:
        api.client.chat.completions.create(**asked(ASKED, tools=[ADD]))
    assert refused.value.param == "tools"


@pytest.mark.parametrize("stream", [False, True])
def test_what_a_model_thinks_comes_under_both_names(api: Api, stream: bool):
    thinking = [{"role": "user", "content": "think"}]
    made = api.client.chat.completions.create(model="tiny", messages=thinking, stream=stream)
    said = next(iter(made)).choices[0].delta if stream else made.choices[0].message
    assert (said.reasoning, said.reasoning_content) == ("Hm.", "Hm.")


def test_a_thought_that_never_ended_though_the_model_did_is_the_answer(
    api: Api, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(api.upstream, "words", [])
    thinking = [{"role": "user", "content": "think"}]
    made = api.client.chat.completions.create(model="tiny", messages=thinking)
    assert made.choices[0].message.content == "Hm."
    assert not hasattr(made.choices[0].message, "reasoning")


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({"tools": []}, "tools", "at least 1"),
        ({"tools": [ADD] * 129}, "tools", "at most 128"),
        ({"tools": [{"type": "custom", "custom": {}}]}, "tools[0].type", "'function'"),
        ({"tools": [{"type": "function"}]}, "tools[0].function", "is required"),
        ({"tools": [{**ADD, "function": {"name": "a b"}}]}, "tools[0].function.name", "pattern"),
        ({"tool_choice": "maybe"}, "tool_choice", "must be one of"),
        (
            {"tool_choice": {"type": "function", "function": {"name": "sub"}}},
            "tool_choice",
            "'sub'",
        ),
        ({"tool_choice": {"type": "function"}}, "tool_choice.function", "is required"),
        ({"tool_choice": {"type": "allowed_tools"}}, "tool_choice.type", "'function'"),
        ({"tools": None, "tool_choice": "auto"}, "tool_choice", "only allowed with 'tools'"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0]", "'tool_call_id'"),
        ({"messages": [{"role": "user", "content": "x", "tool_call_id": "c"}]}, None, "role tool"),
        ({"messages": [{"role": "user", "tool_calls": CALLS}]}, "messages[0]", "the assistant"),
        ({"messages": [{"role": "assistant"}]}, "messages[0]", "'content' is required"),
        ({"messages": called("add(1)")}, None, "a JSON object"),
        ({"messages": called("[1]")}, None, "a JSON object"),
        ({"messages": called("[" * 100_000)}, None, "a JSON object"),
    ],
)
def test_tools_that_cannot_be_honoured_are_refused(api: Api, body, param, words):
    refused = api.post(PATH, asked(ASKED) | body)
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert words in error["message"]
    assert error["param"] == param or param is None
