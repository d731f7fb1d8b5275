"""/openapi.json describes every endpoint, and means what it says."""

import json
import re

import jsonschema
import pytest

from assistant.api import openapi
from tests.assistant.api.conftest import Api

CHAT = "/v1/chat/completions"
HI = [{"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
def described(api: Api) -> dict:
    return api.get("/openapi.json").json()


def fits(described: dict, name: str, value: object) -> bool:
    schema = {"$ref": f"#/components/schemas/{name}", "components": described["components"]}
    return jsonschema.Draft202012Validator(schema).is_valid(value)


def test_every_reference_leads_somewhere(described):
    names = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(described)))
    assert names
    assert names <= set(described["components"]["schemas"])


def test_every_body_and_every_answer_is_described(described):
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            if method == "post" and not path.endswith("cancel"):
                content = operation["requestBody"]["content"]
                assert content["application/json"]["schema"], path
            answers = [answer for status, answer in operation["responses"].items() if status < "3"]
            if path.startswith("/v1/") and not path.endswith("cancel"):
                assert all("$ref" in a["content"]["application/json"]["schema"] for a in answers)
                assert "4XX" in operation["responses"]
            assert "422" not in operation["responses"]


def test_keys_and_headers_are_described(api: Api, described):
    assert described["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    for path in (CHAT, "/metrics"):
        operation = described["paths"][path]["post" if path == CHAT else "get"]
        assert {"key": []} in operation["security"]
    told = described["paths"][CHAT]["post"]["responses"]
    answered = api.post(CHAT, {"messages": HI})
    assert set(told["200"]["headers"]) <= {*answered.headers, *openapi.LIMITS}
    assert "Retry-After" in told["5XX"]["headers"]


@pytest.mark.parametrize(
    "body",
    [
        {"messages": HI},
        {"messages": HI, "stop": "x", "seed": 3, "logit_bias": {"1": 2}},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]},
        {"messages": []},
        {"messages": HI, "n": 5},
        {"messages": HI, "tools": []},
        {"messages": [{"role": "robot", "content": "hi"}]},
        {"messages": HI, "temperature": "hot"},
        {"messages": HI, "metadata": {"a": 1}},
    ],
)
def test_a_body_fits_its_description_if_it_is_accepted(api: Api, described, body):
    accepted = api.post(CHAT, body).status_code == 200
    assert fits(described, "ChatRequest", body) == accepted


def test_answers_fit_their_description(api: Api, described):
    made = api.post(CHAT, {"messages": HI, "store": True, "n": 2}).json()
    answers = api.post("/v1/completions", {"prompt": "one"}).json()
    rated = api.post("/v1/feedback", {"completion_id": f"{made['id']}#0", "rating": "up"}).json()
    drawn = api.post("/v1/comparisons", {"messages": HI}).json()
    for name, value in (
        ("ChatCompletion", api.get(f"{CHAT}/{made['id']}").json()),
        ("ChatCompletions", api.get(CHAT).json()),
        ("AskedTurns", api.get(f"{CHAT}/{made['id']}/messages").json()),
        ("TextCompletion", answers),
        ("Feedback", rated),
        ("Feedbacks", api.get("/v1/feedback").json()),
        ("Comparison", drawn),
        ("Models", api.get("/v1/models").json()),
        ("Model", api.get("/v1/models/assistant").json()),
        ("Readiness", api.get("/readyz").json()),
        ("ErrorBody", api.get("/v1/models/gone").json()),
        ("Deleted", api.client.chat.completions.delete(made["id"]).model_dump()),
    ):
        schema = {"$ref": f"#/components/schemas/{name}", "components": described["components"]}
        jsonschema.validate(value, schema, jsonschema.Draft202012Validator)
