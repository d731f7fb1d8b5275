"""Numbers for Prometheus: our own, and those of the engines on this machine."""

from collections.abc import Iterable, Iterator

import aiohttp
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from assistant.engine import Engine
from assistant.fleet import Fleet

__all__ = ["CONTENT_TYPE_LATEST", "Metrics"]
SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)
STATES = ("loading", "ready", "failed", "stopped")


class Metrics:
    """Counts requests as they end, and looks at the engines when it is asked."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._registry = registry = CollectorRegistry()
        registry.register(_Engines(fleet))
        self.requests = Counter(
            "assistant_requests",
            "Requests to the API.",
            ("route", "method", "status"),
            registry=registry,
        )
        self.answering = Histogram(
            "assistant_answer_begins_seconds",
            "Time until an answer begins, waiting included.",
            ("route",),
            buckets=SECONDS,
            registry=registry,
        )
        self.lasting = Histogram(
            "assistant_answer_ends_seconds",
            "Time until an answer is whole.",
            ("route",),
            buckets=SECONDS,
            registry=registry,
        )
        self.tokens = Counter(
            "assistant_tokens",
            "Tokens of prompts and answers.",
            ("version", "kind"),
            registry=registry,
        )

    async def text(self) -> bytes:
        """Everything in Prometheus' text format."""
        own = generate_latest(self._registry)
        return own + generate_latest(_Given(await _of_engines(self._fleet.engines)))


class _Engines(Collector):
    """How the engines are, and how many ask them."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def collect(self) -> Iterator[Metric]:
        state = GaugeMetricFamily(
            "assistant_engines", "Engines in each state.", labels=("version", "state")
        )
        inside = GaugeMetricFamily(
            "assistant_engine_answering", "Requests being answered.", labels=("version",)
        )
        queued = GaugeMetricFamily(
            "assistant_engine_waiting", "Requests waiting for their turn.", labels=("version",)
        )
        for name, engines in _by_version(self._fleet.engines).items():
            for known in STATES:
                state.add_metric((name, known), sum(e.status.state == known for e in engines))
            inside.add_metric((name,), sum(e.turnstile.inside for e in engines))
            queued.add_metric((name,), sum(e.turnstile.queued for e in engines))
        yield from (state, inside, queued)


def _by_version(engines: Iterable[Engine]) -> dict[str, list[Engine]]:
    found: dict[str, list[Engine]] = {}
    for engine in engines:
        found.setdefault(engine.version.name, []).append(engine)
    return found


class _Given(CollectorRegistry):
    """Metrics that were collected elsewhere."""

    def __init__(self, families: Iterable[Metric]) -> None:
        super().__init__()
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


async def _of_engines(engines: Iterable[Engine]) -> list[Metric]:
    """VLLM's own metrics, one family for all engines; they name their version as `model_name`."""
    merged: dict[str, Metric] = {}
    for engine in engines:
        try:
            families = list(text_string_to_metric_families(await engine.metrics()))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            continue  # that it is not well is told by its state
        for family in families:
            if family.name.startswith("vllm:"):
                named = [s._replace(labels={**s.labels, "at": engine.url}) for s in family.samples]
                family.samples = []
                merged.setdefault(family.name, family).samples += named
    return list(merged.values())
