"""The API over a scripted engine and a real store, on real sockets."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import openai
import pytest

from assistant.api import gateway
from assistant.api.observing import Observer, request_log
from assistant.chat import Chat
from assistant.feedback.store import FeedbackStore
from assistant.fleet import Fleet
from assistant.metrics import Metrics
from assistant.moderation import Moderators
from assistant.page import signing_in
from assistant.page.signing_in import SignedIn
from assistant.pairs import Pairs
from assistant.registry import Registry
from assistant.rollout import Rollout
from assistant.settings import Settings
from assistant.tracing import Tracing, endpoint
from assistant.trials import Trials
from tests.assistant.doors import opened
from tests.serving import eventually, served
from tests.upstream import Upstream


@dataclass
class Api:
    """One running gateway: its address, its store, and the engine behind it."""

    url: str
    store: FeedbackStore
    trials: Trials
    upstream: Upstream
    fleet: Fleet

    @property
    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=10)

    def post(self, path: str, body: object = None, **more: object) -> httpx.Response:
        return httpx.post(self.url + path, json=body, **more)

    def get(self, path: str, **more: object) -> httpx.Response:
        return httpx.get(self.url + path, **more)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    home = tmp_path_factory.mktemp("home")
    upstream = Upstream()
    with served(upstream.app) as engine:
        yield from running(home, upstream, engine)


def running(home: Path, upstream: Upstream, *engines: str) -> Iterator[Api]:
    with gateway_over(home, upstream, *engines) as started:
        assert eventually(lambda: started.get("/readyz").status_code == 200)
        yield started


@contextmanager
def gateway_over(
    home: Path,
    upstream: Upstream,
    *engines: str,
    free: bool = True,
    database: str | None = None,
    gated: bool = False,
) -> Iterator[Api]:
    """A gateway that may not be ready yet; before a `gated` one stands what guards the page."""
    home.mkdir(exist_ok=True)
    settings = Settings(home=home, engine_url=engines, database_url=database)
    store = FeedbackStore(settings.database)
    registry, trials = Registry(home), Trials(home)
    fleet = Fleet(settings, registry, report=str)
    chat = Chat(store, fleet, opened(settings.database, free=free))
    rollout = Rollout(fleet, registry, trials, store, report=str)
    observer = Observer(Metrics(fleet), request_log("file", home / "logs"), Tracing(endpoint()))
    app = gateway.build(Pairs(chat, trials), rollout, observer, Moderators(registry))
    if gated:
        signing_in.mount(app, chat.door, SignedIn(b"a secret of tests", chat.door))
    with served(app) as url:
        yield Api(url, store, trials, upstream, fleet)
