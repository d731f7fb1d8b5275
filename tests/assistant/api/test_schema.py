"""Whatever is sent, the API answers as /openapi.json says, and never with a failure of its own."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.assistant.api.conftest import Api, running
from tests.serving import served
from tests.upstream import Upstream

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
EXAMPLES = 25


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    upstream = Upstream()
    with served(upstream.app) as engine:
        yield from running(tmp_path_factory.mktemp("schema"), upstream, engine)


def test_every_operation_does_what_its_description_says(own: Api):
    described = schemathesis.openapi.from_url(f"{own.url}/openapi.json")
    operations = [found.ok() for found in described.get_all_operations()]
    assert len(operations) >= 20
    for operation in operations:

        @given(case=operation.as_strategy())
        @settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
        def check(case: schemathesis.Case) -> None:
            case.call_and_validate(checks=CHECKS)

        check()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Q?"}]}),
        ("/v1/completions", {"prompt": "Once"}),
        ("/v1/responses", {"input": "Q?"}),
    ],
)
def test_streams_are_events_as_described(own: Api, path: str, body: dict[str, Any]):
    described = schemathesis.openapi.from_url(f"{own.url}/openapi.json")
    case = described[path]["POST"].Case(body=body | {"model": "assistant", "stream": True})
    answer = case.call_and_validate(checks=CHECKS)
    assert answer.headers["content-type"][0].startswith("text/event-stream")
