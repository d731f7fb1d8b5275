"""Responses: made in every way, gone on from, read, cancelled, deleted; as the official client."""

import sqlite3
from pathlib import Path

import httpx
import openai
import pytest

from assistant.api import responses
from assistant.feedback import responses as kept_responses
from assistant.feedback.rows import build
from tests.assistant.api.conftest import Api, gateway_over
from tests.serving import eventually, served
from tests.upstream import Upstream

PATH = "/v1/responses"
TOOL = {"type": "function", "name": "add", "parameters": {"type": "object", "properties": {}}}


def events(api: Api, **asked: object) -> list[object]:
    return list(api.client.responses.create(model="assistant", stream=True, **asked))


def test_a_response_has_the_answer_and_what_was_asked(api: Api):
    made = api.client.responses.create(
        model="assistant",
        input="hi",
        instructions="Be kind.",
        temperature=0.5,
        max_output_tokens=9,
        metadata={"a": "b"},
    )
    assert made.id.startswith("resp_")
    assert (made.object, made.status) == ("response", "completed")
    assert made.output_text == "one two three"
    assert (made.usage.input_tokens, made.usage.output_tokens) == (5, 3)
    assert (made.instructions, made.temperature, made.max_output_tokens) == ("Be kind.", 0.5, 9)
    assert (made.model, made.metadata, made.error) == ("tiny", {"a": "b"}, None)
    assert api.upstream.asked[-1] == {
        "model": "tiny",
        "messages": [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "hi"},
        ],
        "temperature": 0.5,
        "max_completion_tokens": 9,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert api.client.responses.retrieve(made.id) == made


def test_a_stream_tells_each_step_in_order(api: Api):
    found = events(api, input="hi")
    assert [event.type for event in found] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        *["response.output_text.delta"] * 3,
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in found] == list(range(11))
    assert "".join(e.delta for e in found if e.type.endswith("delta")) == "one two three"
    last = found[-1].response
    assert last.output_text == "one two three"
    assert last.usage.total_tokens == 8
    assert {e.item_id for e in found[3:9]} == {last.output[0].id}
    assert api.client.responses.retrieve(last.id) == last
    raw = api.post(PATH, {"input": "hi", "stream": True})
    assert raw.headers["content-type"].startswith("text/event-stream")
    assert raw.text.startswith("event: response.created\ndata: {")
    assert "[DONE]" not in raw.text


def test_the_clients_own_stream_helper_understands_it(api: Api):
    with api.client.responses.stream(model="assistant", input="hi") as stream:
        assert stream.get_final_response().output_text == "one two three"


def test_calls_are_items_of_their_own(api: Api):
    found = events(api, input="call", tools=[TOOL], tool_choice="required")
    assert [e.type for e in found if "arguments" in e.type] == [
        "response.function_call_arguments.delta",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
    ]
    one, two = found[-1].response.output
    assert (one.type, one.name, one.call_id, one.arguments) == (
        *("function_call", "add", "call-1", '{"a": 1}'),
    )
    assert (two.name, two.call_id, two.status) == ("sub", "call-2", "completed")
    asked = api.upstream.asked[-1]
    assert asked["tools"][0]["function"]["name"] == "add"
    assert (asked["tool_choice"], asked["parallel_tool_calls"]) == ("required", True)


def test_a_conversation_goes_on_from_a_response_or_from_its_items(api: Api):
    first = api.client.responses.create(
        model="assistant", input="call", instructions="Once.", tools=[TOOL]
    )
    outcome = {"type": "function_call_output", "call_id": "call-1", "output": "3"}
    api.client.responses.create(
        model="assistant", input=[outcome], previous_response_id=first.id, instructions="Anew."
    )
    by_id = api.upstream.asked[-1]["messages"]
    assert [turn["role"] for turn in by_id] == ["system", "user", "assistant", "tool"]
    assert by_id[0]["content"] == "Anew."
    assert [call["id"] for call in by_id[2]["tool_calls"]] == ["call-1", "call-2"]
    items = [{"role": "user", "content": "call"}, *first.output, outcome]
    api.client.responses.create(model="assistant", input=items, instructions="Anew.")
    assert api.upstream.asked[-1]["messages"] == by_id


def test_text_keeps_to_a_schema_and_parts_are_text(api: Api):
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    parts = [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]
    api.client.responses.create(
        model="assistant",
        input=[{"role": "user", "content": parts}],
        text={"format": {"type": "json_schema", "name": "x", "schema": schema, "strict": True}},
        include=["message.output_text.logprobs"],
        top_logprobs=2,
    )
    asked = api.upstream.asked[-1]
    assert asked["messages"] == [{"role": "user", "content": "ab"}]
    assert asked["response_format"]["json_schema"] == {"name": "x", "schema": schema}
    assert (asked["logprobs"], asked["top_logprobs"]) == (True, 2)


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({}, "input", "required"),
        ({"input": ""}, "input", "at least 1"),
        ({"input": []}, "input", "at least 1"),
        ({"input": [{"type": "image"}]}, "input[0]", "must be an item of type"),
        ({"input": [{"role": "user"}]}, "input[0].content", "required"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, None, "input_text"),
        ({"input": "a", "reasoning": {"effort": "low"}}, "reasoning", "as long as it wants"),
        ({"input": "a", "conversation": "c"}, "conversation", "previous_response_id"),
        ({"input": "a", "truncation": "auto"}, "truncation", "disabled"),
        ({"input": "a", "tool_choice": "required"}, "tool_choice", "only allowed with 'tools'"),
        ({"input": "a", "background": True, "store": False}, "store", "must be stored"),
        ({"input": "a", "background": True, "stream": True}, "background", "streamed, or"),
        ({"input": "a", "n": 2}, "n", "Unrecognized"),
        ({"input": "a", "tools": [{"type": "web_search"}]}, "tools[0].type", "function"),
        ({"input": "a", "previous_response_id": "resp_x"}, None, "no stored response"),
    ],
)
def test_what_cannot_be_honoured_is_refused(api: Api, body: dict, param: str | None, words: str):
    refused = api.post(PATH, body)
    error = refused.json()["error"]
    assert refused.status_code in (400, 404)
    assert words in error["message"]
    assert param is None or error["param"] == param


def test_what_breaks_off_is_a_failed_response(api: Api):
    broken = events(api, input="complain")
    assert broken[-1].type == "response.failed"
    assert broken[-1].response.error.message == "out of memory"
    refused = api.post(PATH, {"input": "refuse"})
    assert refused.json()["error"]["code"] == "context_length_exceeded"
    assert api.post(PATH, {"input": "complain"}).status_code == 502


def test_what_is_not_to_be_kept_is_not(api: Api):
    made = api.client.responses.create(model="assistant", input="hi", store=False)
    with pytest.raises(openai.NotFoundError, match="no stored response"):
        api.client.responses.retrieve(made.id)


def test_a_deleted_response_is_gone_and_what_it_said(api: Api):
    made = api.client.responses.create(model="assistant", input="kumquat-deleted")
    assert api.client.delete(f"/responses/{made.id}", cast_to=httpx.Response).status_code == 200
    for gone in (
        api.get(f"{PATH}/{made.id}"),
        api.post(PATH, {"input": "a", "previous_response_id": made.id}),
        api.post(f"{PATH}/{made.id}/cancel"),
    ):
        assert gone.status_code == 404
    file = api.store.url.removeprefix("sqlite:///")
    with sqlite3.connect(file) as database:
        left = database.execute("select count(*) from response where body like '%kumquat%'")
        assert left.fetchone() == (0,)


def test_a_response_can_be_judged_and_learnt_from(api: Api):
    made = api.client.responses.create(model="assistant", input="judge me")
    assert made.id not in [c.id for c in api.client.chat.completions.list()]
    corrected = {"completion_id": made.id, "correction": "Better."}
    assert api.post("/v1/feedback", corrected).status_code == 201
    rows = build("messages", api.store.snapshot()).rows
    assert [
        {"role": "user", "content": "judge me"},
        {"role": "assistant", "content": "Better."},
    ] in [row.data["messages"] for row in rows]


def test_one_in_the_background_is_asked_for_until_it_is_done(api: Api):
    api.upstream.pause = 0.2
    made = api.client.responses.create(model="assistant", input="slow", background=True)
    assert (made.status, made.output) == ("queued", [])
    find = api.client.responses.retrieve
    assert eventually(lambda: find(made.id).status == "in_progress")
    assert eventually(lambda: find(made.id).status == "completed")
    assert find(made.id).output_text == "one two three"
    assert api.client.responses.cancel(made.id).status == "completed"


def test_one_in_the_background_can_be_cancelled(api: Api, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(responses, "LOOK_SECONDS", 0.05)
    made = api.client.responses.create(model="assistant", input="stall", background=True)
    assert eventually(lambda: api.upstream.running == 1)
    assert api.client.responses.cancel(made.id).status == "cancelled"
    assert eventually(lambda: api.upstream.running == 0)
    assert api.client.responses.retrieve(made.id).status == "cancelled"
    whole = api.client.responses.create(model="assistant", input="hi")
    with pytest.raises(openai.BadRequestError, match="in the background"):
        api.client.responses.cancel(whole.id)
    refused = api.post(PATH, {"input": "a", "previous_response_id": made.id})
    assert "is cancelled" in refused.json()["error"]["message"]


def test_one_in_the_background_that_fails_says_so(api: Api):
    made = api.client.responses.create(model="assistant", input="refuse", background=True)
    assert eventually(lambda: api.client.responses.retrieve(made.id).status == "failed")
    assert "context length" in api.client.responses.retrieve(made.id).error.message


def test_one_whose_program_died_is_not_waited_for_for_ever(
    api: Api, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(kept_responses, "LOST_AFTER", -1)
    made = api.client.responses.create(model="assistant", input="stall", background=True)
    found = api.client.responses.retrieve(made.id)
    assert (found.status, "server was stopped" in found.error.message) == ("failed", True)
    api.client.responses.cancel(made.id)


def test_one_in_the_background_is_given_up_when_the_program_stops(tmp_path: Path):
    upstream = Upstream()
    with served(upstream.app) as engine:
        with gateway_over(tmp_path, upstream, engine) as api:
            assert eventually(lambda: api.get("/readyz").status_code == 200)
            made = api.client.responses.create(model="assistant", input="stall", background=True)
            assert eventually(lambda: upstream.running == 1)
        with gateway_over(tmp_path, upstream, engine) as again:
            found = again.client.responses.retrieve(made.id)
        assert (found.status, "was stopped" in found.error.message) == ("failed", True)
