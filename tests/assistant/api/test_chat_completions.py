"""Chat completions through the gateway: passed on, kept, given up, and broken off."""

import contextlib
import json

import httpx
import openai
import pytest

from tests.assistant.api.conftest import Api
from tests.serving import eventually
from tests.upstream import USAGE

PATH = "/v1/chat/completions"


def says(text: str, **more: object) -> dict[str, object]:
    return {"model": "assistant", "messages": [{"role": "user", "content": text}], **more}


def test_only_openais_fields_come_back(api: Api):
    answer = api.post(PATH, says("hi")).json()
    assert set(answer) == {"id", "object", "created", "model", "choices", "usage"}
    assert answer["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "one two three"},
            "finish_reason": "stop",
        }
    ]
    assert answer["usage"] == USAGE


def test_the_engine_gets_what_was_decided_to_pass_and_nothing_else(api: Api):
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    messages = [
        {"role": "developer", "content": "c", "name": "x"},
        {"role": "user", "content": parts},
    ]
    body = {"messages": messages, "temperature": 0.5, "user": "u", "metadata": {"a": "b"}}
    assert api.post(PATH, body | {"store": False, "top_p": None}).status_code == 200
    assert api.upstream.asked[-1] == {
        "model": "tiny",
        "temperature": 0.5,
        "messages": [{"role": "developer", "content": "c"}, {"role": "user", "content": "ab"}],
    }


def test_a_stream_is_passed_on_piece_by_piece(api: Api):
    stream = api.client.chat.completions.create(
        **says("hi"), stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert [c.choices[0].delta.content for c in chunks[:3]] == ["one ", "two ", "three"]
    assert chunks[-1].usage.total_tokens == 8


@pytest.mark.parametrize("store", [False, True])
def test_streams_hold_only_openais_fields_unless_asked_for_more(api: Api, store: bool, monkeypatch):
    told = 'it said: ,"token_ids":null'
    monkeypatch.setattr(api.upstream, "words", [told, "."])

    def chunks(**headers: str) -> list[dict]:
        body = says("hi", stream=True, store=store)
        lines = api.post(PATH, body, headers=headers).text.split("\n\n")
        return [json.loads(line[6:]) for line in lines if line and line != "data: [DONE]"]

    plain = chunks()
    assert all(set(c) == {"id", "object", "created", "model", "choices"} for c in plain)
    assert all(set(c["choices"][0]) == {"index", "delta", "finish_reason"} for c in plain)
    assert plain[0]["choices"][0]["delta"]["content"] == told
    assert plain[-1]["choices"][0]["finish_reason"] == "stop"
    more = chunks(**{"x-engine-fields": "true"})
    assert more[-1]["choices"][0]["stop_reason"] == 'a"b'
    assert more[0]["prompt_token_ids"] is None


def test_whole_answers_hold_the_engines_fields_if_asked_for(api: Api):
    answer = api.post(PATH, says("hi"), headers={"x-engine-fields": "true"}).json()
    assert answer["prompt_logprobs"] is None
    assert "stop_reason" in answer["choices"][0]


@pytest.mark.parametrize("stream", [False, True])
def test_a_kept_answer_is_stored_with_what_made_it(api: Api, stream: bool):
    client = api.client
    made = client.chat.completions.create(
        **says("hi", temperature=0.5, store=True, metadata={"job": "7"}, stream=stream)
    )
    if stream:
        chunks = list(made)
        assert not any(c.usage for c in chunks)  # the client did not ask for it
        made = chunks[-1]
    kept = client.chat.completions.retrieve(made.id)
    assert kept.choices[0].message.content == "one two three"
    assert kept.choices[0].finish_reason == "stop"
    assert kept.usage.completion_tokens == 3
    assert kept.metadata == {"job": "7"}
    (_, choice) = api.store.completions.get(made.id, "local").choices[0]
    assert choice.generation.version == "tiny"
    assert choice.generation.sampling == {"temperature": 0.5}
    assert (choice.generation.prompt_tokens, choice.generation.completion_tokens) == (5, 3)


def test_the_count_of_several_choices_is_not_taken_for_one(api: Api):
    made = api.client.chat.completions.create(**says("hi", n=2, store=True))
    kept = api.store.completions.get(made.id, "local")
    assert [c.generation.completion_tokens for _, c in kept.choices] == [None, None]
    assert kept.usage == USAGE


def test_several_likeliest_answers_are_asked_for_in_a_way_that_vllm_takes(api: Api):
    made = api.client.chat.completions.create(**says("hi", n=2, temperature=0, store=True))
    assert len(made.choices) == 2
    assert (api.upstream.asked[-1]["temperature"], api.upstream.asked[-1]["top_k"]) == (1, 1)
    (_, choice), _ = api.store.completions.get(made.id, "local").choices
    assert choice.generation.sampling == {"temperature": 0, "n": 2}
    api.client.chat.completions.create(**says("hi", n=1, temperature=0))
    assert "top_k" not in api.upstream.asked[-1]


def test_what_is_not_to_be_kept_is_not(api: Api):
    made = api.client.chat.completions.create(**says("hi"))
    with pytest.raises(openai.NotFoundError, match='"store": true'):
        api.client.chat.completions.retrieve(made.id)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("script", "status", "code"),
    [("refuse", 400, "context_length_exceeded"), ("overload", 429, None), ("crash", 500, None)],
)
def test_an_engines_refusal_keeps_its_status(
    api: Api, script: str, status: int, code: str | None, stream: bool
):
    refused = api.post(PATH, says(script, stream=stream, store=True))
    assert refused.status_code == status
    error = refused.json()["error"]
    assert error["code"] == code
    assert error["message"]
    assert ("Retry-After" in refused.headers) == (status == 429)
    if script == "refuse":
        assert (error["type"], error["param"]) == ("invalid_request_error", "messages")


@pytest.mark.parametrize(("script", "words"), [("break", "broke off"), ("complain", "memory")])
def test_a_stream_that_breaks_off_says_so_and_is_not_kept(api: Api, script: str, words: str):
    before = len(api.store.conversations.everything())
    stream = api.client.chat.completions.create(**says(script, store=True), stream=True)
    with pytest.raises(openai.APIError, match=words):
        list(stream)
    assert len(api.store.conversations.everything()) == before


def test_an_engines_complaint_in_a_stream_is_told_in_openais_fields_and_ends_it(api: Api):
    *said, complaint, end = api.post(PATH, says("complain", stream=True)).text.split("\n\n")
    assert json.loads(complaint.removeprefix("data: "))["error"] == {
        "message": "out of memory",
        "type": "server_error",
        "param": None,
        "code": None,
    }
    assert end == ""
    assert [json.loads(one[6:])["choices"][0]["delta"]["content"] for one in said] == ["one "]


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_frees_the_engine(api: Api, stream: bool):
    with (
        contextlib.suppress(httpx.ReadTimeout),
        httpx.stream("POST", api.url + PATH, json=says("stall", stream=stream), timeout=0.5) as r,
    ):
        lines = r.iter_lines()  # kept: httpx hangs up when its iterator is collected
        next(lines)
        assert eventually(lambda: api.upstream.running == 1)
    assert eventually(lambda: api.upstream.running == 0)


def test_an_unknown_model_is_told_what_is_served(api: Api):
    with pytest.raises(openai.NotFoundError, match=r"served are: assistant \(= tiny\), tiny") as e:
        api.client.chat.completions.create(**says("hi") | {"model": "gpt"})
    assert (e.value.type, e.value.code, e.value.param) == (
        *("model_not_found", "model_not_found", "model"),
    )
