"""What clients may send: every field is honoured or refused, none is ignored."""

import pytest

from tests.assistant.api.conftest import Api

CHAT, PLAIN = "/v1/chat/completions", "/v1/completions"
HI = [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({}, "messages", "non-empty list"),
        ({"messages": []}, "messages", "non-empty list"),
        ({"messages": ["hi"]}, "messages[0]", "an object"),
        ({"messages": [*HI, {"role": "tool", "content": "x"}]}, "messages[1]", "tool calls"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0]", "must be one of"),
        ({"messages": [{"role": "user"}]}, "messages[0]", "must be text"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, None, "'text'"),
        ({"messages": HI, "seed": 1}, "seed", "not supported yet"),
        ({"messages": HI, "tools": []}, "tools", "not supported yet"),
        ({"messages": HI, "best_of": 2}, "best_of", "Unrecognized"),
        ({"messages": HI, "vllm_xargs": {}}, "vllm_xargs", "Unrecognized"),
        ({"messages": HI, "chat_template": "x"}, "chat_template", "Unrecognized"),
        ({"messages": HI, "model": 7}, "model", "must be a string"),
        ({"messages": HI, "n": 5}, "n", "at most 4"),
        ({"messages": HI, "top_logprobs": 6}, "top_logprobs", "at most 5"),
        ({"messages": HI, "stream": "yes"}, "stream", "true or false"),
        ({"messages": HI, "store": 1}, "store", "true or false"),
        ({"messages": HI, "metadata": {"a": 1}}, "metadata", "16 strings"),
        ({"messages": HI, "metadata": {str(i): "" for i in range(17)}}, "metadata", "16 strings"),
    ],
)
def test_a_chat_request_that_cannot_be_honoured(api: Api, body, param, words):
    refused = api.post(CHAT, body)
    error = refused.json()["error"]
    assert refused.status_code == 400
    assert words in error["message"]
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param or param is None


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


def test_a_body_that_is_too_large(api: Api):
    refused = api.post(CHAT, {"messages": [{"role": "user", "content": "x" * 5_000_000}]})
    assert refused.status_code == 400
    assert "too large" in refused.json()["error"]["message"]
