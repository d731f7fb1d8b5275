"""POST /v1/moderations, as OpenAI's clients ask it."""

from collections.abc import Iterator

import openai
import pytest

from assistant.registry import Registry
from tests.assistant.api.conftest import Api, running
from tests.assistant.moderators import WORD, registered
from tests.serving import served
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


def test_one_that_is_not_there_is_named(moderated: Api):
    answer = moderated.post(PATH, {"input": "hi", "model": "other"})
    assert answer.status_code == 404
    assert "guard" in answer.json()["error"]["message"]
