"""What counts against a key's limits, and as what it is noted."""

from collections.abc import Iterator

import httpx
import pytest

from tests.assistant.api.test_keys import ASKED, CHAT, FEEDBACK, RESPONSES, House, house_in


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    yield from house_in(tmp_path_factory.mktemp("counting"))


def test_the_ledger_counts_whole_streamed_and_given_up_answers(house: House):
    key = house.key()
    assert house.ask(key).status_code == 200
    stream = ASKED | {"stream": True}
    assert b"usage" not in house.ask(key, body=stream).content
    counted = stream | {"stream_options": {"include_usage": True}}
    assert b'"usage"' in house.ask(key, body=counted).content
    assert house.usage(key, 3) == (3, 0, 15, 9)
    slow = {"messages": [{"role": "user", "content": "slow"}], "stream": True}
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.stream("POST", house.api.url + CHAT, json=slow, headers=headers) as leaving:
        next(leaving.iter_lines())
    requests, unfinished, prompt, answer = house.usage(key, 4)
    assert (requests, unfinished) == (4, 1)
    assert prompt > 15
    assert answer > 9


def test_an_answer_that_the_engine_breaks_off_is_not_counted_as_finished(house: House):
    key = house.key()
    complaining = {"messages": [{"role": "user", "content": "complain"}], "stream": True}
    house.ask(key, body=complaining)
    requests, unfinished, _, answer = house.usage(key, 1)
    assert (requests, unfinished, answer) == (1, 1, 1)


def test_what_writes_to_the_store_is_one_of_the_keys_requests(house: House):
    key = house.key(requests_per_minute=8)
    headers = {"Authorization": f"Bearer {key}"}
    made = house.ask(key, body=ASKED | {"store": True})
    completion = f"{CHAT}/{made.json()['id']}"
    answered = house.ask(key, RESPONSES, {"input": "hi"}).json()
    response = f"{RESPONSES}/{answered['id']}"
    rating = {"completion_id": made.json()["id"], "rating": "up"}
    written = [
        house.ask(key, FEEDBACK, rating),
        house.ask(key, completion, {"metadata": {"a": "b"}}),
        house.api.post(f"{response}/cancel", headers=headers),  # refused, as it is not made now
        httpx.delete(house.api.url + completion, headers=headers),
        httpx.delete(house.api.url + response, headers=headers),
    ]
    assert [answer.status_code for answer in written] == [201, 200, 400, 200, 200]
    left = [int(answer.headers["x-ratelimit-remaining-requests"]) for answer in written]
    assert left == [5, 4, 3, 2, 1]
    assert house.api.get(FEEDBACK, headers=headers).status_code == 200  # reading is free
    assert house.ask(key, FEEDBACK, rating).status_code == 404
    refused = house.ask(key, FEEDBACK, rating)
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert house.usage(key, 2)[0] == 2  # of a version


def test_who_is_refused_for_another_reason_holds_no_place(house: House):
    key = house.key(concurrent=1)
    for _ in range(3):
        assert house.ask(key, FEEDBACK, {"withdraw": "jdg_gone"}).status_code == 404
