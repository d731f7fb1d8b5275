"""OpenTelemetry traces of requests, where the environment names a collector for them.

Read are OpenTelemetry's own variables, OTEL_EXPORTER_OTLP_ENDPOINT and the like; without an
endpoint nothing is loaded and nothing is sent. Spans hold no content.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from assistant.errors import Invalid

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
TRACES = "/v1/traces"
SERVICE = "assistant"


def endpoint(environ: Mapping[str, str] = os.environ) -> str | None:
    """Where traces go, for OTLP over HTTP; None if nowhere."""
    traces, everything = (environ.get(name, "").strip() for name in ENDPOINTS)
    return traces or (everything.rstrip("/") + TRACES if everything else None)


class Tracing:
    """Makes a span per request and hands the trace on to the engine; or does nothing."""

    def __init__(self, where: str | None) -> None:
        self._provider: Any = None
        if where is None:
            return
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
                OTLPSpanExporter,
            )
            from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
            from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
            from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        except ImportError as error:
            raise Invalid(
                f"Traces were asked for by {ENDPOINTS[1]}, but {error.name} is not installed; "
                "install opentelemetry-sdk and opentelemetry-exporter-otlp-proto-http, or unset it."
            ) from None
        name = os.environ.get("OTEL_SERVICE_NAME", SERVICE)
        self._provider = TracerProvider(resource=Resource.create({"service.name": name}))
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=where)))

    @contextmanager
    def request(self, name: str, headers: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        """A span around one request, part of the client's trace; what is put in is told by it."""
        told: dict[str, Any] = {}
        if self._provider is None:
            yield told
            return
        from opentelemetry.propagate import extract  # noqa: PLC0415 - only where traces are wanted
        from opentelemetry.trace import SpanKind  # noqa: PLC0415

        tracer = self._provider.get_tracer(SERVICE)
        parent = extract(headers)
        with tracer.start_as_current_span(name, context=parent, kind=SpanKind.SERVER) as span:
            try:
                yield told
            finally:
                span.set_attributes({k: v for k, v in told.items() if v not in (None, "")})

    def stop(self) -> None:
        """Send what is left."""
        if self._provider is not None:
            self._provider.shutdown()


def handed_on() -> dict[str, str]:
    """The headers that make a request to an engine part of the current trace."""
    if endpoint() is None:
        return {}
    from opentelemetry.propagate import inject  # noqa: PLC0415 - only where traces are wanted

    headers: dict[str, str] = {}
    inject(headers)
    return headers
