"""Keys at the API: who gets in, what they may do, and what it is told about limits."""

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from assistant.access import door as doors
from assistant.access.accounts import Accounts
from assistant.access.keys import Limits, Scope
from tests.assistant.api.conftest import Api, gateway_over
from tests.serving import eventually, served
from tests.upstream import Upstream

ASKED = {"messages": [{"role": "user", "content": "hi"}]}
CHAT, FEEDBACK, RESPONSES = "/v1/chat/completions", "/v1/feedback", "/v1/responses"


class House:
    """A gateway that wants keys, and the accounts where they are made."""

    def __init__(self, api: Api, accounts: Accounts) -> None:
        self.api = api
        self.accounts = accounts

    def key(self, *scopes: Scope, versions: tuple[str, ...] = ("*",), **more: object) -> str:
        limits = Limits(**{n: v for n, v in more.items() if n != "trains"})  # type: ignore[arg-type]
        made = self.accounts.keys.create(
            "Ann", scopes or ("chat", "feedback"), versions, limits, bool(more.get("trains"))
        )
        return made[1]

    def client(self, key: str, **more: object) -> openai.OpenAI:
        url = f"{self.api.url}/v1"
        return openai.OpenAI(base_url=url, api_key=key, max_retries=0, timeout=10, **more)  # type: ignore[arg-type]

    def ask(self, key: str | None, path: str = CHAT, body: object = ASKED) -> httpx.Response:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return self.api.post(path, body, headers=headers)

    def usage(self, key: str, requests: int) -> tuple[int, ...]:
        """A key's numbers in the ledger, once it has counted so many requests."""
        names = ("requests", "unfinished", "prompt_tokens", "completion_tokens")
        who = self.accounts.keys.of(key).id

        def numbers() -> tuple[int, ...]:
            rows = [row for row in self.accounts.ledger.read() if row["who"] == who]
            return tuple(sum(row[name] for row in rows) for name in names)

        assert eventually(lambda: numbers()[0] == requests), numbers()
        return numbers()


def house_in(home: Path, *, free: bool = False) -> Iterator[House]:
    upstream = Upstream()
    with (
        served(upstream.app) as engine,
        gateway_over(home, upstream, engine, free=free) as api,
        Accounts(f"sqlite:///{home.resolve() / 'feedback.db'}") as accounts,
    ):
        assert eventually(lambda: api.get("/readyz").status_code == 200)
        yield House(api, accounts)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    yield from house_in(tmp_path_factory.mktemp("house"))


@pytest.fixture
def free_house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setattr(doors, "REMEMBERED_SECONDS", 0.05)
    yield from house_in(tmp_path, free=True)


def test_without_a_key_nothing_but_health_is_told(house: House):
    for path in (CHAT, FEEDBACK, "/v1/completions", "/v1/comparisons", "/v1/moderations"):
        refused = house.ask(None, path)
        assert refused.status_code == 401, path
        assert refused.headers["www-authenticate"] == "Bearer"
        assert refused.json()["error"]["code"] == "invalid_api_key"
    assert house.api.get("/v1/models").status_code == 401
    assert house.api.get(f"{CHAT}/chatcmpl-1").status_code == 401
    assert house.api.get("/healthz").status_code == 200
    with pytest.raises(openai.AuthenticationError, match="no such API key"):
        house.client("sk-assistant-1.x").models.list()


@pytest.mark.parametrize("header", ["Authorization", "authorization", "x-api-key", "X-API-Key"])
def test_either_header_carries_the_key_with_the_same_rights(house: House, header: str):
    key = house.key("feedback")
    value = key if "x-api" in header.lower() else f"bearer {key}"
    refused = house.api.post(CHAT, ASKED, headers={header: value})
    assert refused.status_code == 403
    assert refused.json()["error"]["type"] == "permission_error"
    assert house.api.get(FEEDBACK, headers={header: value}).status_code == 200


def test_scopes_open_what_they_name_and_admin_all(house: House):
    chat, admin = house.client(house.key("chat")), house.client(house.key("admin"))
    made = chat.chat.completions.create(model="assistant", messages=ASKED["messages"], store=True)
    assert chat.chat.completions.retrieve(made.id).id == made.id
    with pytest.raises(openai.PermissionDeniedError, match="keys create NAME --scope feedback"):
        chat.post("/feedback", body={"completion_id": made.id, "rating": "up"}, cast_to=object)
    assert admin.chat.completions.create(model="assistant", messages=ASKED["messages"]).id
    with pytest.raises(openai.NotFoundError):  # not its own, whatever its scopes
        admin.chat.completions.retrieve(made.id)


def test_one_keys_objects_do_not_exist_for_another(house: House):
    ann, bob = house.key(), house.key()
    made = house.ask(ann, body=ASKED | {"store": True}).json()["id"]
    judged = house.ask(ann, FEEDBACK, {"completion_id": made, "rating": "up"}).json()["id"]
    as_bob = {"Authorization": f"Bearer {bob}"}
    for path in (f"{CHAT}/{made}", f"{CHAT}/{made}/messages", f"{FEEDBACK}/{judged}"):
        assert house.api.get(path, headers=as_bob).status_code == 404, path
    assert house.api.get(CHAT, headers=as_bob).json()["data"] == []
    assert house.api.get(FEEDBACK, headers=as_bob).json()["data"] == []
    assert httpx.delete(f"{house.api.url}{CHAT}/{made}", headers=as_bob).status_code == 404
    assert house.ask(bob, FEEDBACK, {"completion_id": made, "rating": "up"}).status_code == 404
    assert house.ask(bob, FEEDBACK, {"withdraw": judged}).status_code == 404

    asked = {"model": "assistant", "input": "mine", "background": True}
    path = f"{RESPONSES}/{house.ask(ann, RESPONSES, asked).json()['id']}"
    follows = asked | {"previous_response_id": path.rpartition("/")[2]}
    assert house.api.get(path, headers=as_bob).status_code == 404
    assert house.api.post(f"{path}/cancel", headers=as_bob).status_code == 404
    assert httpx.delete(house.api.url + path, headers=as_bob).status_code == 404
    assert house.ask(bob, RESPONSES, follows).status_code == 404


def test_who_may_read_feedback_reads_everybodys(house: House):
    made = house.ask(ann := house.key(), body=ASKED | {"store": True}).json()["id"]
    judged = house.ask(ann, FEEDBACK, {"completion_id": made, "rating": "up"}).json()["id"]
    reader = {"Authorization": f"Bearer {house.key('read-feedback')}"}
    listed = house.api.get(FEEDBACK, headers=reader).json()["data"]
    assert judged in [one["id"] for one in listed]
    assert house.api.get(f"{FEEDBACK}/{judged}", headers=reader).json()["choice"] == "up"
    as_ann = house.key("chat")
    assert house.api.get(FEEDBACK, headers={"x-api-key": as_ann}).status_code == 403


@pytest.mark.parametrize("trains", [True, False])
def test_what_is_judged_trains_only_where_the_operator_said_so(house: House, trains: bool):
    key = house.key(trains=trains)
    made = house.ask(key, body=ASKED | {"store": True}).json()["id"]
    assert house.ask(key, FEEDBACK, {"completion_id": made, "rating": "up"}).status_code == 201
    owner = f"key_{house.accounts.keys.of(key).id}"
    kept = house.api.store.completions.get(made, owner)
    assert (kept.conversation_id in house.api.store.conversations.consented()) == trains


def test_a_key_asks_only_the_versions_it_was_made_for(house: House):
    alias, other = house.key(versions=("assistant",)), house.key(versions=("round-*",))
    assert house.ask(alias).status_code == 200
    names = [model.id for model in house.client(alias).models.list()]
    assert names == ["assistant"]
    with pytest.raises(openai.NotFoundError, match="'tiny' is not served to this key"):
        house.client(alias).chat.completions.create(model="tiny", messages=ASKED["messages"])
    with pytest.raises(openai.NotFoundError):
        house.client(other).models.retrieve("assistant")
    assert house.ask(other).json()["error"]["code"] == "model_not_found"
    unknown = {
        alias: "served are: assistant (= tiny).",
        other: "nor is any other.",
        house.key(): "served are: assistant (= tiny), tiny.",
    }
    for key, told in unknown.items():
        asked = house.ask(key, body=ASKED | {"model": "gone"})
        found = house.api.get("/v1/models/gone", headers={"x-api-key": key})
        for refused in (asked, found):
            assert refused.status_code == 404
            assert refused.json()["error"]["message"].endswith(told)
    forbidden, missing = (
        house.ask(other, body=ASKED | {"model": name}).json()["error"]["message"]
        for name in ("tiny", "gone")
    )
    assert forbidden.replace("tiny", "gone") == missing  # who may not ask learns of nothing
    assert house.ask(other, "/v1/comparisons").status_code == 404


def test_a_revoked_key_is_refused_within_five_seconds(house: House):
    key = house.key()
    assert house.ask(key).status_code == 200
    house.accounts.keys.revoke(house.accounts.keys.of(key).id)
    began = time.monotonic()
    assert eventually(lambda: house.ask(key).status_code == 401, 5)
    assert time.monotonic() - began < 5
    assert "revoked" in house.ask(key).json()["error"]["message"]


def test_on_loopback_the_first_key_closes_the_door(free_house: House):
    assert free_house.ask(None).status_code == 200
    assert free_house.ask("any").status_code == 200  # clients send one whether it is wanted or not
    key = free_house.key()
    assert eventually(lambda: free_house.ask(None).status_code == 401)
    assert free_house.ask(key).status_code == 200
    free_house.accounts.keys.revoke(free_house.accounts.keys.of(key).id)
    time.sleep(0.1)
    assert free_house.ask(None).status_code == 401  # an ended key opens nothing, either


def test_limits_are_told_and_kept(house: House):
    key = house.key(requests_per_minute=2, tokens_per_minute=10_000)
    first = house.ask(key, body=ASKED | {"max_tokens": 100})
    assert first.headers["x-ratelimit-limit-requests"] == "2"
    assert first.headers["x-ratelimit-remaining-requests"] == "1"
    assert 9_890 <= int(first.headers["x-ratelimit-remaining-tokens"]) <= 9_900
    house.ask(key)
    refused = house.ask(key)
    assert refused.status_code == 429
    assert refused.json()["error"]["type"] == "rate_limit_error"
    assert 0 < int(refused.headers["retry-after"]) <= 30
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    with pytest.raises(openai.RateLimitError):
        house.client(key).chat.completions.create(model="assistant", messages=ASKED["messages"])


def test_so_many_at_once(house: House, monkeypatch: pytest.MonkeyPatch):
    key = house.key(concurrent=1)
    monkeypatch.setattr(house.api.upstream, "pause", 0.3)
    slow = {"messages": [{"role": "user", "content": "slow"}], "stream": True}
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.stream("POST", house.api.url + CHAT, json=slow, headers=headers) as streaming:
        assert streaming.status_code == 200
        assert house.ask(key).status_code == 429
        assert house.ask(house.key(concurrent=1)).status_code == 200
        streaming.read()
    assert eventually(lambda: house.ask(key).status_code == 200)


def test_prompt_caches_are_kept_apart(house: House):
    ann, bob = house.key(), house.key()
    for key in (ann, bob, ann):
        answered = house.ask(key)
        assert answered.status_code == 200, answered.text
    one, two, again = house.api.upstream.salts[-3:]
    assert one == again
    assert one != two
    assert one
    assert house.ask(ann, body=ASKED | {"cache_salt": two}).status_code == 400


def test_waiting_ends_in_an_honest_503(house: House, monkeypatch: pytest.MonkeyPatch):
    turnstile = house.api.fleet.engine().turnstile
    monkeypatch.setattr(turnstile, "places", 1)
    monkeypatch.setattr(turnstile, "_waiting", 1)
    monkeypatch.setattr(house.api.upstream, "pause", 1.5)
    slow = {"messages": [{"role": "user", "content": "slow"}]}
    ann, bob = house.key(), house.key()
    codes: list[int] = []

    def ask(key: str) -> None:
        codes.append(house.ask(key, body=slow).status_code)

    threads = [threading.Thread(target=ask, args=(ann,)) for _ in range(2)]
    for thread in threads:
        thread.start()
        assert eventually(lambda: turnstile.inside == 1)
    assert eventually(lambda: turnstile.queued == 1)
    refused = house.ask(bob, body=slow)
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "server_overloaded"
    assert int(refused.headers["retry-after"]) >= 1
    for thread in threads:
        thread.join()
    assert codes == [200, 200]


def test_who_leaves_the_queue_is_not_answered(house: House, monkeypatch: pytest.MonkeyPatch):
    turnstile = house.api.fleet.engine().turnstile
    monkeypatch.setattr(turnstile, "places", 1)
    key = house.key()
    stall = {"messages": [{"role": "user", "content": "stall"}], "stream": True}

    async def leave() -> None:
        async with (
            httpx.AsyncClient(headers={"Authorization": f"Bearer {key}"}) as client,
            client.stream("POST", house.api.url + CHAT, json=stall),
        ):
            waiting = asyncio.create_task(client.post(house.api.url + CHAT, json=stall))
            while turnstile.queued != 1:
                await asyncio.sleep(0.01)
            waiting.cancel()
            for _ in range(200):
                await asyncio.sleep(0.01)
                if turnstile.queued == 0:
                    return
        raise AssertionError("it still waits")

    asyncio.run(leave())
    assert eventually(lambda: house.api.upstream.running == 0)
    assert eventually(lambda: turnstile.inside == 0)
