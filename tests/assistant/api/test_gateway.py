"""Models, health, unknown addresses, and who is kept out."""

import httpx
import pytest

from tests.assistant.api.conftest import Api, running
from tests.serving import eventually, served
from tests.upstream import Upstream


def test_models_are_listed_and_found_by_name(api: Api):
    assert [m.id for m in api.client.models.list()] == ["assistant", "tiny"]
    assert api.client.models.retrieve("tiny").owned_by == "assistant"
    missing = api.get("/v1/models/gone")
    assert (missing.status_code, missing.json()["error"]["type"]) == (404, "model_not_found")


def test_unknown_addresses_and_methods_are_openai_shaped(api: Api):
    for response, status in (
        (api.get("/v1/nothing"), 404),
        (api.get("/v1/completions"), 405),
        (api.post("/v1/models/x"), 405),
    ):
        error = response.json()["error"]
        assert response.status_code == status
        assert set(error) == {"message", "type", "param", "code"}
        assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/v1/completions", "POST"),
        ("/v1/chat/completions", "GET, POST"),
        ("/v1/chat/completions/chatcmpl-1", "DELETE, GET, POST"),
        ("/v1/models", "GET"),
    ],
)
def test_a_refused_method_is_told_which_are_allowed(api: Api, path: str, methods: str):
    refused = httpx.put(api.url + path)
    assert (refused.status_code, refused.headers["allow"]) == (405, methods)


def test_answers_carry_an_id_and_a_time(api: Api):
    for response in (
        api.get("/v1/models"),
        api.get("/v1/nothing"),
        api.post("/v1/chat/completions", {}),
        api.get("/v1/models", headers={"Host": "evil.example"}),
    ):
        assert response.headers["x-request-id"].startswith("req_")
        assert int(response.headers["openai-processing-ms"]) < 5000
        assert response.headers["openai-version"]
    ids = {api.get("/v1/models").headers["x-request-id"] for _ in range(5)}
    assert len(ids) == 5
    made = api.client.chat.completions.create(
        model="assistant", messages=[{"role": "user", "content": "hi"}]
    )
    assert made._request_id.startswith("req_")
    assert "x-request-id" not in api.get("/healthz").headers


@pytest.mark.parametrize("path", ["/v1//models", "//v1/models", "/v1/models//tiny"])
def test_doubled_slashes_are_one(api: Api, path: str):
    assert api.get(path).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:7860", "127.0.0.1.evil.example"])
def test_foreign_host_names_are_refused(api: Api, host: str):
    assert api.get("/v1/models", headers={"Host": host}).status_code == 403


def test_pages_of_other_sites_may_not_write(api: Api):
    body = {"withdraw": "x"}
    foreign = {"Origin": "http://evil.example"}
    assert api.post("/v1/feedback", body, headers=foreign).status_code == 403
    assert api.post("/v1/feedback", body, headers={"Origin": api.url}).status_code == 404
    assert api.get("/v1/models", headers=foreign).status_code == 200


def test_an_engine_that_goes_away_and_comes_back(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("assistant.remote_engine.WATCH_SECONDS", 0.1)
    upstream = Upstream()
    with served(upstream.app) as engine:
        for api in running(tmp_path, upstream, engine):
            upstream.healthy = False
            assert eventually(lambda: api.get("/readyz").status_code == 503)  # noqa: B023
            refused = api.post("/v1/completions", {"prompt": "one"})
            assert refused.status_code == 503
            assert refused.json()["error"]["code"] == "model_not_ready"
            assert int(refused.headers["Retry-After"]) > 0
            assert api.get("/healthz").status_code == 200
            upstream.healthy = True
            assert eventually(lambda: api.get("/readyz").status_code == 200)  # noqa: B023
