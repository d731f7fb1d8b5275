"""What operators see: numbers, a line per request, traces; and never what was said."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI, Request, Response
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families

from assistant.errors import Invalid, StoreError
from assistant.tracing import Tracing, endpoint
from tests.assistant.api.conftest import Api, gateway_over, running
from tests.serving import eventually, served
from tests.upstream import Upstream

CHAT = "/v1/chat/completions"
SECRET = "kumquat-secret"
ASKED = {"messages": [{"role": "user", "content": SECRET}]}


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Api]:
    upstream = Upstream()
    with served(upstream.app) as engine:
        yield from running(tmp_path, upstream, engine)


def numbers(api: Api) -> dict[tuple[str, ...], float]:
    """Every sample of /metrics, by its name and its labels' values."""
    found = {}
    for family in text_string_to_metric_families(api.get("/metrics").text):
        for sample in family.samples:
            found[sample.name, *sorted(sample.labels.values())] = sample.value
    return found


def lines(home: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (home / "logs/requests.jsonl").read_text().splitlines()]


def test_numbers_of_requests_tokens_and_engines(own: Api):
    own.post(CHAT, ASKED)
    own.post(CHAT, ASKED | {"stream": True})
    own.post(CHAT, {})
    own.get(f"/v1/{SECRET}")
    assert eventually(lambda: ("assistant_tokens_total", "completion", "tiny") in numbers(own))
    found = numbers(own)
    assert found["assistant_requests_total", CHAT, "200", "POST"] == 2
    assert found["assistant_requests_total", CHAT, "400", "POST"] == 1
    assert found["assistant_requests_total", "(unknown)", "404", "GET"] == 1
    assert found["assistant_tokens_total", "prompt", "tiny"] == 10
    assert found["assistant_tokens_total", "completion", "tiny"] == 6
    assert found["assistant_answer_ends_seconds_count", CHAT] == 2
    assert found["assistant_engines", "ready", "tiny"] == 1
    assert found["assistant_engines", "failed", "tiny"] == 0
    engine = own.fleet.engine().url
    assert found["vllm:generation_tokens_total", engine, "tiny"] == 3
    assert SECRET not in own.get("/metrics").text


def test_an_engine_that_does_not_count_hides_no_other_number(own: Api):
    own.upstream.healthy = False
    assert eventually(lambda: ("assistant_engines", "failed", "tiny") in numbers(own))


def test_each_request_is_a_line_without_what_was_said(own: Api, tmp_path: Path):
    answered = own.post(CHAT, ASKED, headers={"Authorization": "Bearer sk-of-somebody"})
    own.post(CHAT, ASKED | {"stream": True, "store": True})
    own.get(f"/v1/{SECRET}")
    assert eventually(lambda: len(lines(tmp_path)) == 3)
    whole, streamed, unknown = lines(tmp_path)
    assert whole["id"] == answered.headers["x-request-id"]
    assert (whole["who"], whole["version"], whole["status"]) == ("local", "tiny", 200)
    assert (whole["prompt_tokens"], whole["completion_tokens"], whole["finished"]) == (5, 3, True)
    assert streamed["ms"] >= streamed["ms_until_answer"] >= 0
    assert (unknown["status"], unknown["route"], unknown["who"]) == (404, "(unknown)", "")
    file = tmp_path / "logs/requests.jsonl"
    assert SECRET not in file.read_text()
    assert "sk-of-somebody" not in file.read_text()
    assert file.parent.stat().st_mode & 0o077 == 0


def test_who_leaves_early_is_noted_as_such(own: Api, tmp_path: Path):
    stall = {"messages": [{"role": "user", "content": "stall"}]}
    with pytest.raises(Exception, match="timed out"):
        own.post(CHAT, stall, timeout=0.3)
    assert eventually(lambda: len(lines(tmp_path)) == 1)
    assert lines(tmp_path)[0]["status"] == 499


def test_a_failure_of_our_own_is_told_counted_and_has_an_id(
    own: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(own.fleet, "served", lambda: 1 / 0)
    failed = own.get("/v1/models")
    assert failed.status_code == 500
    assert failed.json()["error"]["type"] == "server_error"
    assert failed.headers["x-request-id"].startswith("req_")
    assert eventually(lambda: [line["status"] for line in lines(tmp_path)] == [500])


def test_a_store_that_is_down_is_a_503_that_does_not_say_where_it_is(
    own: Api, monkeypatch: pytest.MonkeyPatch
):
    def down(*_: object) -> None:
        raise StoreError("The feedback store postgresql://db.internal/x is full of trouble.")

    monkeypatch.setattr(own.store.completions, "page", down)
    refused = own.get(CHAT)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    assert "internal" not in refused.text
    assert refused.json()["error"]["code"] == "store_unavailable"


class Collector:
    """Takes OTLP over HTTP, as a collector of traces does."""

    def __init__(self) -> None:
        self.spans: list[object] = []
        self.came = threading.Event()
        self.app = FastAPI()
        self.app.post("/v1/traces")(self._take)

    async def _take(self, request: Request) -> Response:
        sent = ExportTraceServiceRequest.FromString(await request.body())
        for resource in sent.resource_spans:
            for scope in resource.scope_spans:
                self.spans += scope.spans
        self.came.set()
        return Response(b"", media_type="application/x-protobuf")


def test_traces_go_where_the_environment_says_and_on_to_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    collector, upstream = Collector(), Upstream()
    trace = "0af7651916cd43dd8448eb211c80319c"
    with served(collector.app) as url, served(upstream.app) as engine:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        with gateway_over(tmp_path, upstream, engine) as api:
            assert eventually(lambda: api.get("/readyz").status_code == 200)
            sent = {"traceparent": f"00-{trace}-b7ad6b7169203331-01"}
            assert api.post(CHAT, ASKED, headers=sent).status_code == 200
        assert collector.came.wait(10)  # what is left is sent when the program stops
    (span,) = collector.spans
    assert span.trace_id.hex() == trace
    assert span.name == f"POST {CHAT}"
    assert SECRET not in str(span)
    told = {a.key: a.value for a in span.attributes}
    assert told["completion_tokens"].int_value == 3
    assert upstream.traces[-1].split("-")[1] == trace
    assert upstream.traces[-1].split("-")[2] == span.span_id.hex()


@pytest.mark.parametrize(
    ("environ", "where"),
    [
        ({}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318/"}, "http://c:4318/v1/traces"),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "x", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t"},
            "http://t",
        ),
    ],
)
def test_opentelemetrys_own_variables_say_where(environ: dict[str, str], where: str | None):
    assert endpoint(environ) == where


def test_traces_that_cannot_be_made_are_explained(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(Invalid, match="unset it"):
        Tracing("http://nowhere")
