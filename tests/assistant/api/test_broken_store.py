"""A store that fails: strangers are not told where it is, and nothing is kept by halves."""

import asyncio
from typing import Any

import gradio as gr
import pytest
import sqlalchemy as sa

from assistant.errors import StoreError
from assistant.feedback import completions
from assistant.feedback.schema import response
from assistant.page.visitor import attempt
from tests.assistant.api.conftest import Api
from tests.serving import eventually

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
ASKED = {"messages": [{"role": "user", "content": "hi"}], "store": True}
SECRET = "The feedback store postgresql://ann@db.inside/feedback cannot be used: gone."
TOLD = "The server's store cannot be used now; nothing of this was stored."


def broken(*_: Any, **__: Any) -> Any:
    raise StoreError(SECRET)


@pytest.fixture
def halting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that is lost in the middle of keeping an answer."""
    monkeypatch.setattr(completions, "insert_message", broken)


def statuses(api: Api) -> list[str]:
    with api.store.engine.connect() as connection:
        return list(connection.scalars(sa.select(response.c.status).order_by(response.c.id)))


@pytest.mark.usefixtures("halting")
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("path", "asked"), [(CHAT, ASKED), (RESPONSES, {"input": "hi"})])
def test_strangers_are_not_told_where_the_store_is(
    api: Api, path: str, asked: dict[str, Any], stream: bool
):
    said = api.post(path, asked | {"stream": stream}).text
    assert TOLD in said
    assert "db.inside" not in said


@pytest.mark.usefixtures("halting")
def test_nor_by_a_response_in_the_background(api: Api):
    made = api.client.responses.create(model="assistant", input="hi", background=True)
    find = api.client.responses.retrieve
    assert eventually(lambda: find(made.id).status == "failed")
    assert find(made.id).error.message == TOLD


def test_nor_by_the_page():
    with pytest.raises(gr.Error, match="store cannot be used now") as shown:
        asyncio.run(attempt(broken))
    assert "db.inside" not in str(shown.value)


@pytest.mark.usefixtures("halting")
def test_a_response_is_not_complete_before_its_answer_is_kept(api: Api):
    before = statuses(api)
    assert api.post(RESPONSES, {"input": "hi"}).status_code == 503
    assert statuses(api) == before
