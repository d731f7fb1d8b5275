"""What stands before the page where it can be reached from elsewhere."""

from collections.abc import Iterator

import pytest

from tests.assistant.api.conftest import Api, gateway_over
from tests.serving import served
from tests.upstream import Upstream


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    upstream = Upstream()
    with (
        served(upstream.app) as engine,
        gateway_over(
            tmp_path_factory.mktemp("gated"), upstream, engine, free=False, gated=True
        ) as api,
    ):
        yield api


@pytest.mark.parametrize("path", ["/v1/models", "//v1/models", "/v1//models", "///v1/models"])
def test_the_api_answers_for_itself_however_its_address_is_joined(gated: Api, path: str):
    refused = gated.get(path)
    assert refused.status_code == 401
    assert refused.json()["error"]["code"] == "invalid_api_key"
    assert refused.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize("path", ["/en/", "//en/", "/", "//", "/docs", "//healthz"])
def test_what_is_not_the_apis_stays_shut(gated: Api, path: str):
    refused = gated.get(path)
    assert (refused.status_code, refused.text) == (401, "Sign in first, at /sign-in.")
