"""Two programs over one PostgreSQL: the same conversations, keys and limits, whichever is asked."""

from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
import sqlalchemy as sa

from assistant.access.accounts import Accounts
from assistant.access.keys import Limits
from tests.assistant.api.conftest import Api, gateway_over
from tests.assistant.feedback.postgres import Databases
from tests.serving import eventually, served
from tests.upstream import Upstream

QUESTION = [{"role": "user", "content": "hi"}]


@pytest.fixture
def database(postgres_server: sa.URL) -> Iterator[str]:
    databases = Databases(postgres_server)
    yield databases.new()
    databases.drop()


@pytest.fixture
def two(tmp_path: Path, database: str) -> Iterator[tuple[Api, Api]]:
    upstream = Upstream()
    with (
        served(upstream.app) as engine,
        gateway_over(tmp_path / "a", upstream, engine, free=False, database=database) as one,
        gateway_over(tmp_path / "b", upstream, engine, free=False, database=database) as other,
    ):
        for gateway in (one, other):
            assert eventually(lambda g=gateway: g.get("/readyz").status_code == 200)
        yield one, other


def clients(two: tuple[Api, Api], key: str) -> tuple[openai.OpenAI, openai.OpenAI]:
    one, other = (
        openai.OpenAI(base_url=f"{api.url}/v1", api_key=key, max_retries=0, timeout=10)
        for api in two
    )
    return one, other


def test_what_one_keeps_the_other_knows(two: tuple[Api, Api], database: str):
    with Accounts(database) as accounts:
        _, key = accounts.keys.create("Ann", ("chat", "feedback"))
    one, other = clients(two, key)
    made = one.chat.completions.create(model="assistant", messages=QUESTION, store=True)
    assert other.chat.completions.retrieve(made.id).choices == made.choices
    response = one.responses.create(model="assistant", input="hi")
    going_on = other.responses.create(
        model="assistant", input="and?", previous_response_id=response.id
    )
    assert going_on.previous_response_id == response.id
    judged = other.post("/feedback", body={"completion_id": made.id, "rating": "up"}, cast_to=dict)
    assert one.get(f"/feedback/{judged['id']}", cast_to=dict)["choice"] == "up"


def test_keys_limits_and_usage_are_one(two: tuple[Api, Api], database: str):
    with Accounts(database) as accounts:
        made, key = accounts.keys.create("Ann", ("chat",), limits=Limits(requests_per_minute=3))
        one, other = clients(two, key)
        for client in (one, other, one):
            client.chat.completions.create(model="assistant", messages=QUESTION)
        with pytest.raises(openai.RateLimitError):
            other.chat.completions.create(model="assistant", messages=QUESTION)
        assert eventually(lambda: [r["requests"] for r in accounts.ledger.read()] == [3])
        accounts.keys.revoke(made.id)

    def refused(client: openai.OpenAI) -> bool:
        try:
            client.models.list()
        except openai.AuthenticationError:
            return True
        return False

    for client in (one, other):
        assert eventually(lambda c=client: refused(c))
