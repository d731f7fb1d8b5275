"""Kept completions over the API: listed, read, labelled, deleted, and never somebody else's."""

from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from tests.assistant.api.conftest import Api, running
from tests.assistant.feedback.said import BOB, keep
from tests.serving import served
from tests.upstream import Upstream

PATH = "/v1/chat/completions"
HI = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """An API that keeps five completions, number 1 to 5, odd and even ones labelled."""
    home: Path = tmp_path_factory.mktemp("home")
    upstream = Upstream()
    with served(upstream.app) as engine:
        for api in running(home, upstream, engine):
            for number in range(1, 6):
                labels = {"parity": "odd" if number % 2 else "even", "number": str(number)}
                model = "tiny" if number == 5 else "assistant"
                api.client.chat.completions.create(
                    model=model, messages=HI, store=True, metadata=labels
                )
            keep(api.store, "chatcmpl-bobs", "Bob's.", owner=BOB)
            yield api


def numbers(page) -> list[str]:
    return [one.metadata["number"] for one in page.data]


def test_kept_completions_are_listed_in_pages(shelf: Api):
    kept = shelf.client.chat.completions
    first = kept.list(limit=2)
    assert (numbers(first), first.has_more) == (["1", "2"], True)
    assert [one.metadata["number"] for one in kept.list(limit=2)] == ["1", "2", "3", "4", "5"]
    assert numbers(kept.list(order="desc", limit=2)) == ["5", "4"]
    last = kept.list(after=first.data[-1].id)
    assert (numbers(last), last.has_more) == (["3", "4", "5"], False)
    newer = kept.list(after=first.data[-1].id, order="desc")
    assert numbers(newer) == ["1"]


def test_kept_completions_are_found_by_model_and_metadata(shelf: Api):
    kept = shelf.client.chat.completions
    assert numbers(kept.list(metadata={"parity": "even"})) == ["2", "4"]
    assert numbers(kept.list(metadata={"parity": "even", "number": "4"})) == ["4"]
    assert numbers(kept.list(metadata={"parity": "round"})) == []
    assert numbers(kept.list(metadata={"'; DROP TABLE completion; --": "x"})) == []
    assert numbers(kept.list(model="tiny")) == ["5"]


def test_what_was_asked_is_read_message_by_message(shelf: Api):
    kept = shelf.client.chat.completions
    completion = kept.list(limit=1).data[0].id
    asked = kept.messages.list(completion)
    assert [(m.role, m.content) for m in asked] == [("system", "Be kind."), ("user", "hi")]
    assert [m.role for m in kept.messages.list(completion, order="desc").data] == ["user", "system"]
    after = kept.messages.list(completion, after=asked.data[0].id)
    assert [m.role for m in after.data] == ["user"]
    with pytest.raises(openai.BadRequestError, match="no message 'gone'"):
        kept.messages.list(completion, after="gone")


def test_labels_are_replaced_and_removed(shelf: Api):
    kept = shelf.client.chat.completions
    made = kept.create(model="assistant", messages=HI, store=True, metadata={"a": "b"})
    assert kept.update(made.id, metadata={"number": "9"}).metadata == {"number": "9"}
    assert kept.retrieve(made.id).metadata == {"number": "9"}
    assert kept.update(made.id, metadata=None).metadata == {}
    with pytest.raises(openai.BadRequestError, match="metadata"):
        kept.update(made.id, metadata={"a": 1})
    assert shelf.post(f"{PATH}/{made.id}", {}).json()["error"]["param"] == "metadata"
    kept.delete(made.id)


def test_what_was_deleted_is_gone_for_good(shelf: Api):
    kept = shelf.client.chat.completions
    made = kept.create(model="assistant", messages=HI, store=True, metadata={"number": "x"})
    assert kept.delete(made.id).deleted
    for gone in (kept.retrieve, kept.delete, kept.messages.list):
        with pytest.raises(openai.NotFoundError):
            gone(made.id)
    with pytest.raises(openai.NotFoundError):
        kept.update(made.id, metadata={})
    assert "x" not in numbers(kept.list(limit=100))


@pytest.mark.parametrize("completion", ["chatcmpl-bobs", "chatcmpl-none", "%2e%2e"])
def test_somebody_elses_completion_is_like_a_missing_one(shelf: Api, completion: str):
    kept = shelf.client.chat.completions
    for ask in (kept.retrieve, kept.delete, kept.messages.list):
        with pytest.raises(openai.NotFoundError, match="no stored completion"):
            ask(completion)
    with pytest.raises(openai.NotFoundError):
        kept.list(after=completion)
    assert shelf.store.completions.get("chatcmpl-bobs", BOB)


@pytest.mark.parametrize(
    ("query", "param"),
    [
        *(("limit=0", "limit"), ("limit=101", "limit"), ("order=up", "order")),
        *(("metadata[a%22b]=x", "metadata"), ("metadata[a%5cb]=x", "metadata")),
    ],
)
def test_a_list_that_cannot_be_given_is_refused(shelf: Api, query: str, param: str):
    refused = shelf.get(f"{PATH}?{query}")
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert (error["param"], error["type"]) == (param, "invalid_request_error")
