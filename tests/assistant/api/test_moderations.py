"""POST /v1/moderations, as OpenAI's clients ask it."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest

from assistant.moderation import Classifier
from assistant.registry import Registry
from tests.assistant.api.conftest import Api, running
from tests.assistant.moderators import WORD, registered
from tests.serving import eventually, served
from tests.upstream import Upstream

PATH = "/v1/moderations"


@pytest.fixture(scope="module")
def moderated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    home, upstream = tmp_path_factory.mktemp("moderated"), Upstream()
    registered(Registry(home), "guard")
    with served(upstream.app) as engine:
        yield from running(home, upstream, engine)


def test_without_a_classifier_it_says_how_to_get_one(api: Api):
    with pytest.raises(openai.NotFoundError, match="align safety") as missing:
        api.client.moderations.create(input="hi")
    assert missing.value.type == "model_not_found"


@pytest.mark.parametrize("model", ["omni-moderation-latest", "guard", openai.NOT_GIVEN])
def test_a_text_is_flagged_and_another_is_not(moderated: Api, model):
    found = moderated.client.moderations.create(
        input=[f"Where do I put the {WORD}?", "Where do I put the bread?"], model=model
    )
    assert found.model == "guard"
    assert found.id.startswith("modr-")
    assert [one.flagged for one in found.results] == [True, False]
    first = moderated.post(PATH, {"input": WORD}).json()["results"][0]
    assert first["categories"] == {"harmful": True}
    assert 0.5 < first["category_scores"]["harmful"] <= 1


def test_parts_of_text_are_texts(moderated: Api):
    found = moderated.client.moderations.create(input=[{"type": "text", "text": WORD}])
    assert found.results[0].flagged


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "input"),
        ({"input": []}, "up to 32"),
        ({"input": ["a"] * 33}, "up to 32"),
        ({"input": 3}, "no images"),
        ({"input": [{"type": "image_url", "image_url": {"url": "http://x"}}]}, "no images"),
        ({"input": "x" * 100_001}, "at most 100000 characters"),
        ({"input": ["x" * 60_000] * 2}, "at most 100000 characters"),
        ({"input": "hi", "more": 1}, "more"),
    ],
)
def test_what_cannot_be_judged_is_refused(moderated: Api, body, said):
    answer = moderated.post(PATH, body)
    assert answer.status_code == 400
    assert said in answer.json()["error"]["message"]


class Slow:
    """A classifier that reads until it is let go; counts how many texts it is reading."""

    def __init__(self) -> None:
        self.reading, self.most, self.read = 0, 0, 0
        self.go = threading.Event()
        self._lock = threading.Lock()

    def probabilities(self, _: Classifier, texts: list[str]) -> list[float]:
        with self._lock:
            self.reading += 1
            self.read += 1
            self.most = max(self.most, self.reading)
        self.go.wait(10)
        with self._lock:
            self.reading -= 1
        return [0.0] * len(texts)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slow]:
    made = Slow()
    monkeypatch.setattr(Classifier, "probabilities", lambda *read: made.probabilities(*read))
    yield made
    made.go.set()


def test_a_few_are_read_at_once_and_the_others_wait(moderated: Api, slow: Slow):
    with ThreadPoolExecutor(6) as clients:
        asked = [clients.submit(moderated.post, PATH, {"input": "hi"}) for _ in range(6)]
        assert eventually(lambda: slow.reading == 2)
        time.sleep(0.3)
        slow.go.set()
        assert [answer.result().status_code for answer in asked] == [200] * 6
    assert (slow.most, slow.read) == (2, 6)


def test_where_too_many_wait_it_says_so(moderated: Api, slow: Slow):
    with ThreadPoolExecutor(67) as clients:
        asked = [
            clients.submit(moderated.post, PATH, {"input": "hi"}, timeout=30) for _ in range(67)
        ]
        assert eventually(lambda: any(answer.done() for answer in asked))
        slow.go.set()
        codes = sorted(answer.result().status_code for answer in asked)
    assert codes == [200] * 66 + [503]


def test_nothing_is_read_for_who_has_left(moderated: Api, slow: Slow):
    with ThreadPoolExecutor(2) as clients:
        staying = [clients.submit(moderated.post, PATH, {"input": "hi"}) for _ in range(2)]
        assert eventually(lambda: slow.reading == 2)
        with pytest.raises(httpx.ReadTimeout):
            moderated.post(PATH, {"input": "hi"}, timeout=0.3)
        time.sleep(0.2)
        slow.go.set()
        assert [answer.result().status_code for answer in staying] == [200, 200]
    assert moderated.post(PATH, {"input": "hi"}).status_code == 200
    assert slow.read == 3


def test_one_that_is_not_there_is_named(moderated: Api):
    answer = moderated.post(PATH, {"input": "hi", "model": "other"})
    assert answer.status_code == 404
    assert "guard" in answer.json()["error"]["message"]
