"""What clients may send: every field is honoured or refused, none is ignored."""

import pytest

from assistant.access.ledger import estimated
from assistant.api.schemas.text import TextRequest
from tests.assistant.api.conftest import Api

CHAT, PLAIN = "/v1/chat/completions", "/v1/completions"
HI = [{"role": "user", "content": "hi"}]
IMAGE = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]
SCHEMA = "response_format.json_schema"


def as_schema(schema: dict) -> dict:
    return {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}


def nested(levels: int) -> dict:
    return {"a": nested(levels - 1)} if levels else {}


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({}, "messages", "is required"),
        ({"messages": []}, "messages", "at least 1 entries"),
        ({"messages": HI * 2049}, "messages", "at most 2048 entries"),
        ({"messages": "hi"}, "messages", "must be a list"),
        ({"messages": ["hi"]}, "messages[0]", "an object"),
        ({"messages": [*HI, {"role": "robot", "content": "x"}]}, "messages[1].role", "one of"),
        ({"messages": [{"role": "user"}]}, "messages[0]", "'content' is required"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content", "a string"),
        ({"messages": [{"role": "user", "content": "a", "x": 1}]}, "messages[0].x", "Unrecognized"),
        ({"messages": IMAGE}, "messages[0].content", "'text'"),
        ({"messages": HI, "seed": 1.5}, "seed", "whole number"),
        ({"messages": HI, "seed": True}, "seed", "whole number"),
        ({"messages": HI, "seed": 2**63}, "seed", "less than"),
        ({"messages": HI, "functions": []}, "functions", "'tools'"),
        ({"messages": HI, "service_tier": "flex"}, "service_tier", "only one"),
        ({"messages": HI, "best_of": 2}, "best_of", "Unrecognized"),
        ({"messages": HI, "vllm_xargs": {}}, "vllm_xargs", "Unrecognized"),
        ({"messages": HI, "chat_template": "x"}, "chat_template", "Unrecognized"),
        ({"messages": HI, "model": 7}, "model", "must be a string"),
        ({"messages": HI, "n": 5}, "n", "at most 4"),
        ({"messages": HI, "n": "2"}, "n", "whole number"),
        ({"messages": HI, "temperature": 2.5}, "temperature", "at most 2"),
        ({"messages": HI, "top_p": 0}, "top_p", "more than 0"),
        ({"messages": HI, "max_tokens": 0}, "max_tokens", "at least 1"),
        ({"messages": HI, "presence_penalty": -3}, "presence_penalty", "at least -2"),
        ({"messages": HI, "top_logprobs": 6}, "top_logprobs", "at most 5"),
        ({"messages": HI, "stop": [""]}, "stop", "up to 16"),
        ({"messages": HI, "stop": ["x"] * 17}, "stop", "up to 16"),
        ({"messages": HI, "logit_bias": {"a": 1}}, "logit_bias", "a token id"),
        ({"messages": HI, "logit_bias": {"1": 101}}, "logit_bias", "-100 to 100"),
        ({"messages": HI, "logit_bias": {str(i): 1 for i in range(301)}}, "logit_bias", "300"),
        ({"messages": HI, "stream": "yes"}, "stream", "true or false"),
        ({"messages": HI, "stream_options": {}}, "stream_options", "'stream' is true"),
        ({"messages": HI, "store": 1}, "store", "true or false"),
        ({"messages": HI, "metadata": {"a": 1}}, "metadata.a", "must be a string"),
        ({"messages": HI, "metadata": {str(i): "" for i in range(17)}}, "metadata", "at most 16"),
        ({"messages": HI, "metadata": {"a": "x" * 513}}, "metadata.a", "512 characters"),
        ({"messages": HI, "response_format": {"type": "xml"}}, "response_format.type", "one of"),
        ({"messages": HI, "response_format": {"type": "json_schema"}}, SCHEMA, "json_schema"),
        ({"messages": HI, "response_format": as_schema(nested(40))}, f"{SCHEMA}.schema", "levels"),
        ({"messages": HI, "response_format": as_schema({"a": "x" * 40_000})}, None, "32 KiB"),
    ],
)
def test_a_chat_request_that_cannot_be_honoured(api: Api, body, param, words):
    refused = api.post(CHAT, body)
    error = refused.json()["error"]
    assert refused.status_code == 400
    assert words in error["message"]
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param or param is None


OF_VLLM = (  # none may pass: they cost memory, run code, read others' texts, or jump the queue
    *(
        "prompt_embeds",
        "prompt_logprobs",
        "structured_outputs",
        "guided_regex",
        "kv_transfer_params",
    ),
    *("cache_salt", "priority", "ignore_eos", "min_tokens", "stop_token_ids", "bad_words"),
    *("allowed_token_ids", "logits_processors", "vllm_xargs", "mm_processor_kwargs", "documents"),
    *("chat_template", "chat_template_kwargs", "add_generation_prompt", "continue_final_message"),
    *("truncate_prompt_tokens", "return_token_ids", "request_id", "use_beam_search", "best_of"),
    *("min_p", "top_k", "repetition_penalty", "skip_special_tokens", "media_io_kwargs", "echo"),
)


@pytest.mark.parametrize("name", OF_VLLM)
def test_no_field_of_vllm_passes_that_we_did_not_decide_to_pass(api: Api, name: str):
    refused = api.post(CHAT, {"messages": HI, name: 1})
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == name
    if name != "echo":
        assert api.post(PLAIN, {"prompt": "one", name: 1}).json()["error"]["param"] == name
    assert not any(name in asked for asked in api.upstream.asked)


def test_what_a_continuation_can_and_cannot_be_asked(api: Api):
    assert api.post(PLAIN, {"prompt": "one", "echo": True}).status_code == 200
    assert api.upstream.asked[-1]["echo"] is True
    refused = api.post(PLAIN, {"prompt": "one", "suffix": "end"})
    assert refused.status_code == 400
    assert "cannot fill in the middle" in refused.json()["error"]["message"]


def test_a_text_may_only_be_echoed(api: Api):
    asked = {"prompt": "one", "max_tokens": 0}
    refused = api.post(PLAIN, asked)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "max_tokens")
    assert "'echo' true" in refused.json()["error"]["message"]
    assert api.post(PLAIN, asked | {"echo": True}).status_code == 200
    assert (api.upstream.asked[-1]["max_tokens"], api.upstream.asked[-1]["echo"]) == (0, True)


@pytest.mark.parametrize(
    ("more", "tokens"),
    [({}, 16), ({"prompt": ["abc"] * 4}, 64), ({"n": 2}, 32), ({"max_tokens": 5}, 5)],
)
def test_a_continuation_is_expected_to_be_as_short_as_vllm_makes_it(more: dict, tokens: int):
    asked = TextRequest.read({"prompt": "abc"} | more)
    assert asked.expected() == estimated(asked.texts()) + tokens
    described = TextRequest.model_json_schema()["properties"]["max_tokens"]["description"]
    assert "16 if not given" in described


@pytest.mark.parametrize("prompt", [None, "", [], [1, 2], ["a", ""], {"a": 1}])
def test_a_text_to_continue_is_a_text(api: Api, prompt):
    assert api.post(PLAIN, {"prompt": prompt}).status_code == 400


def test_a_text_is_continued_in_openais_fields(api: Api):
    answer = api.post(PLAIN, {"prompt": "one", "user": "u"}).json()
    assert answer["choices"] == [{"index": 0, "text": " two", "finish_reason": "length"}]
    assert "kv_transfer_params" not in answer
    assert api.upstream.asked[-1] == {"prompt": "one", "model": "tiny"}


@pytest.mark.parametrize("path", [CHAT, PLAIN, "/v1/feedback"])
def test_a_body_that_is_no_json_object(api: Api, path: str):
    headers = {"Content-Type": "application/json"}
    for content, words in ((b"{", "not valid JSON"), (b"[]", "JSON object"), (b"\xff", "JSON")):
        refused = api.post(path, content=content, headers=headers)
        assert refused.status_code == 400
        assert words in refused.json()["error"]["message"]
    plain = api.post(path, content=b"{}", headers={"Content-Type": "text/plain"})
    assert "Content-Type" in plain.json()["error"]["message"]


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"a":' * 100_000])
def test_a_body_that_is_nested_without_end(api: Api, content: bytes):
    refused = api.post(CHAT, content=content, headers={"Content-Type": "application/json"})
    assert refused.status_code == 400
    assert "nested too deeply" in refused.json()["error"]["message"]


def test_every_field_that_is_honoured_reaches_the_engine_as_it_was_sent(api: Api):
    honoured = {
        "max_tokens": 9,
        "max_completion_tokens": 8,
        "temperature": 0.5,
        "top_p": 0.9,
        "n": 2,
        "stop": ["."],
        "seed": -7,
        "presence_penalty": 1.0,
        "frequency_penalty": -1.0,
        "logit_bias": {"17": 3.0},
        "logprobs": True,
        "top_logprobs": 2,
        "response_format": as_schema({"type": "object"}),
    }
    ours = {"user": "u", "safety_identifier": "s", "prompt_cache_key": "k", "metadata": {"a": "b"}}
    assert api.post(CHAT, {"messages": HI} | honoured | ours).status_code == 200
    assert api.upstream.asked[-1] == {"model": "tiny", "messages": HI} | honoured


@pytest.mark.parametrize("stop", ["end", ["end"]])
def test_one_text_to_stop_at_may_come_alone(api: Api, stop):
    assert api.post(CHAT, {"messages": HI, "stop": stop}).status_code == 200
    assert api.upstream.asked[-1]["stop"] == ["end"]


def test_an_answer_can_be_sent_back_as_it_came(api: Api):
    answer = api.client.chat.completions.create(model="assistant", messages=HI).choices[0].message
    talk = [*HI, answer.model_dump(), *HI]
    assert api.post(CHAT, {"messages": talk}).status_code == 200
    assert api.upstream.asked[-1]["messages"][1] == {
        "role": "assistant",
        "content": "one two three",
    }


def test_a_body_that_is_too_large(api: Api):
    refused = api.post(CHAT, {"messages": [{"role": "user", "content": "x" * 5_000_000}]})
    assert refused.status_code == 413
    assert "too large" in refused.json()["error"]["message"]
