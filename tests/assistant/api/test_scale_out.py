"""Several engines elsewhere: shared work, none missed when it goes, new versions one by one."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.assistant.api.conftest import Api, gateway_over
from tests.serving import eventually, served
from tests.upstream import Upstream

CHAT = "/v1/chat/completions"


class Replicas:
    """Two engines of one version, behind one gateway."""

    def __init__(self, home: Path, stack: ExitStack) -> None:
        self.one, self.two = Upstream(), Upstream()
        self._down = [ExitStack(), ExitStack()]
        for down in self._down:
            stack.push(down)
        urls = [
            down.enter_context(served(upstream.app))
            for down, upstream in zip(self._down, (self.one, self.two), strict=True)
        ]
        self.api: Api = stack.enter_context(gateway_over(home, self.one, *urls))
        assert eventually(lambda: len(self.api.fleet.engines) == 2)
        assert eventually(lambda: self.states == ["ready", "ready"])

    @property
    def states(self) -> list[str]:
        return [engine.status.state for engine in self.api.fleet.engines]

    def lose(self, which: int) -> None:
        """The server of an engine goes away."""
        self._down[which].close()

    def ask(self, about: str, **more: object) -> httpx.Response:
        asked = {"messages": [{"role": "user", "content": about}]}
        return self.api.post(CHAT, asked | more)


@pytest.fixture
def replicas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Replicas]:
    monkeypatch.setattr("assistant.remote_engine.WATCH_SECONDS", 0.2)
    with ExitStack() as stack:
        yield Replicas(tmp_path, stack)


def test_conversations_are_shared_and_each_keeps_to_its_engine(replicas: Replicas):
    for number in range(40):
        assert replicas.ask(f"about {number % 20}").status_code == 200
    asked = [
        [body["messages"][-1]["content"] for body in engine.asked if "messages" in body]
        for engine in (replicas.one, replicas.two)
    ]
    assert not set(asked[0]) & set(asked[1])
    assert min(map(len, asked)) >= 8


def test_an_engine_that_goes_is_not_missed(replicas: Replicas, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("assistant.remote_engine.WATCH_SECONDS", 60)  # nobody notices by looking
    replicas.lose(1)
    for number in range(20):
        answered = replicas.ask(f"about {number}", stream=number % 2 == 0)
        assert answered.status_code == 200, answered.text
        assert "three" in answered.text


def test_an_engine_that_only_fails_is_asked_nothing_until_it_answers_a_test(replicas: Replicas):
    replicas.two.script = "unwell"
    for number in range(20):
        assert replicas.ask(f"about {number}").status_code == 200
    assert replicas.two.refused >= 3
    replicas.two.script = None
    assert eventually(lambda: replicas.states == ["ready", "ready"])
    before = len(replicas.two.asked)
    for number in range(20):
        assert replicas.ask(f"about {number}").status_code == 200
    assert len(replicas.two.asked) > before


def test_an_answer_that_has_begun_is_never_asked_for_again(replicas: Replicas):
    for engine in (replicas.one, replicas.two):
        engine.script = "complain"
    broken = replicas.ask("about it", stream=True)
    assert "out of memory" in broken.text
    chats = [body for e in (replicas.one, replicas.two) for body in e.asked if "messages" in body]
    assert len(chats) == 1


def test_what_is_refused_is_not_asked_elsewhere(replicas: Replicas):
    refused = replicas.ask("refuse")
    assert refused.json()["error"]["code"] == "context_length_exceeded"
    chats = [body for e in (replicas.one, replicas.two) for body in e.asked if "messages" in body]
    assert len(chats) == 1


def test_a_new_version_comes_one_engine_at_a_time(replicas: Replicas):
    def served_as() -> str:
        return replicas.ask("which").json()["model"]

    assert served_as() == "tiny"
    replicas.one.healthy = False  # the first is restarted with another version
    assert eventually(lambda: replicas.states == ["failed", "ready"])
    assert served_as() == "tiny"
    replicas.one.name, replicas.one.healthy = "round-001", True
    assert eventually(lambda: served_as() == "round-001")
    assert [m.id for m in replicas.api.client.models.list()] == ["assistant", "round-001", "tiny"]
    replicas.two.name = "round-001"
    assert eventually(lambda: len(replicas.api.fleet.served()) == 1)
    assert served_as() == "round-001"


def test_one_that_comes_late_joins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("assistant.fleet.RECONNECT_SECONDS", 0.1)
    monkeypatch.setattr("assistant.remote_engine.WATCH_SECONDS", 0.1)
    early, late = Upstream(), Upstream()
    with served(late.app) as url:
        late_url = url
    with served(early.app) as url, gateway_over(tmp_path, early, late_url, url) as api:
        assert eventually(lambda: api.get("/readyz").status_code == 200)
        assert api.post(CHAT, {"messages": [{"role": "user", "content": "hi"}]}).status_code == 200
        port = int(late_url.rsplit(":", 1)[1])
        with served(late.app, port):
            assert eventually(lambda: len(api.fleet.engines) == 2)
            assert [engine.url for engine in api.fleet.engines] == [late_url, url]
