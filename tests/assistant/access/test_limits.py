"""Limits: token buckets and requests under way, of one program and of several over one database."""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from assistant.access import alone, limits
from assistant.access.accounts import Accounts
from assistant.access.keys import Key, Limits
from assistant.errors import TooMuch

NOON = 1_800_000_000_000


@pytest.fixture(params=[True, False], ids=["alone", "shared"])
def either(request: pytest.FixtureRequest, url: str) -> Iterator[Accounts]:
    """Accounts of a program that counts in memory, and of one that counts in the database."""
    with Accounts(url, alone=request.param) as opened:
        yield opened


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    now = [NOON]
    for module in (limits, alone):
        monkeypatch.setattr(module, "now_ms", lambda: now[0])
    return now


def key(accounts: Accounts, **limited: int) -> Key:
    return accounts.keys.create("Ann", ("chat",), limits=Limits(**limited))[0]


def over(accounts: Accounts, key: Key, unused: int) -> None:
    """A request ends."""
    accounts.meter.leave(key, unused)
    accounts.meter.settle()


def test_requests_a_minute_fill_up_evenly(either: Accounts, clock: list[int]):
    ann = key(either, requests_per_minute=2)
    told = either.meter.take(ann, 10)
    assert told["x-ratelimit-limit-requests"] == "2"
    assert told["x-ratelimit-remaining-requests"] == "1"
    assert told["x-ratelimit-reset-requests"] == "30.000s"
    either.meter.take(ann, 10)
    with pytest.raises(TooMuch, match="2 requests a minute") as caught:
        either.meter.take(ann, 10)
    assert caught.value.retry_after == 30
    assert caught.value.limits["x-ratelimit-remaining-requests"] == "0"
    clock[0] += 29_999
    with pytest.raises(TooMuch):
        either.meter.take(ann, 10)
    clock[0] += 2
    either.meter.take(ann, 10)


def test_tokens_that_were_not_used_are_given_back(either: Accounts, clock: list[int]):
    ann = key(either, tokens_per_minute=100)
    assert either.meter.take(ann, 90)["x-ratelimit-remaining-tokens"] == "10"
    with pytest.raises(TooMuch, match="100 tokens a minute"):
        either.meter.take(ann, 20)
    over(either, ann, 60)
    assert either.meter.take(ann, 70)["x-ratelimit-remaining-tokens"] == "0"


def test_the_next_request_has_what_the_last_one_left(either: Accounts, clock: list[int]):
    """Before the database was told; a request that is refused meanwhile takes none of it."""
    ann = key(either, tokens_per_minute=100)
    either.meter.take(ann, 90)
    either.meter.leave(ann, 60)
    with pytest.raises(TooMuch, match="100 tokens a minute"):
        either.meter.take(ann, 71)
    assert either.meter.take(ann, 70)["x-ratelimit-remaining-tokens"] == "0"
    either.meter.settle()
    with pytest.raises(TooMuch):
        either.meter.take(ann, 1)


def test_more_than_a_minutes_tokens_go_in_when_the_bucket_is_full(
    either: Accounts, clock: list[int]
):
    ann = key(either, tokens_per_minute=100)
    either.meter.take(ann, 250)
    over(either, ann, 0)
    clock[0] += 60_000  # 150 short, of which 100 came back
    with pytest.raises(TooMuch) as caught:
        either.meter.take(ann, 1)
    assert caught.value.retry_after == pytest.approx(30.6)


def test_a_refused_request_takes_nothing(either: Accounts, clock: list[int]):
    ann = key(either, requests_per_minute=5, tokens_per_minute=10, concurrent=5)
    either.meter.take(ann, 10)
    for _ in range(3):
        with pytest.raises(TooMuch, match="tokens"):
            either.meter.take(ann, 10)
    over(either, ann, 10)
    told = either.meter.take(ann, 10)
    assert told["x-ratelimit-remaining-requests"] == "3"


def test_so_many_at_once_whichever_program_they_come_through(accounts: Accounts, url: str):
    ann, bob = key(accounts, concurrent=2), key(accounts, concurrent=1)
    with Accounts(url) as other:
        accounts.meter.take(ann, 1)
        other.meter.take(ann, 1)
        for meter in (accounts.meter, other.meter):
            with pytest.raises(TooMuch, match="2 requests answered at once"):
                meter.take(ann, 1)
        accounts.meter.take(bob, 1)
        over(other, ann, 0)
        accounts.meter.take(ann, 1)


def test_what_a_dead_program_had_under_way_is_forgotten(
    accounts: Accounts, url: str, clock: list[int]
):
    ann = key(accounts, concurrent=1)
    with Accounts(url) as dead:
        dead.meter.take(ann, 1)
    clock[0] += limits.DEAD_AFTER - 1
    with pytest.raises(TooMuch):
        accounts.meter.take(ann, 1)
    clock[0] += 2
    accounts.meter.beat()
    accounts.meter.take(ann, 1)
    clock[0] += limits.DEAD_AFTER - 1
    accounts.meter.beat()  # a sign of life keeps what is under way here
    clock[0] += limits.DEAD_AFTER - 1
    with pytest.raises(TooMuch):
        accounts.meter.take(ann, 1)


def test_nothing_is_counted_twice_or_lost_when_many_ask_at_once(accounts: Accounts, url: str):
    ann = key(accounts, requests_per_minute=10, concurrent=50)
    let_in: list[bool] = []

    def ask(meter: limits.Meter) -> None:
        for _ in range(8):
            try:
                meter.take(ann, 1)
                let_in.append(True)
            except TooMuch:
                let_in.append(False)

    with Accounts(url) as other:
        threads = [threading.Thread(target=ask, args=(m.meter,)) for m in (accounts, other) * 2]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(let_in) == 32
    assert sum(let_in) in (10, 11)  # one more if they took over six seconds


def test_what_could_not_be_written_is_made_good(
    accounts: Accounts, clock: list[int], monkeypatch: pytest.MonkeyPatch
):
    ann = key(accounts, concurrent=2, tokens_per_minute=100)
    for _ in range(2):
        accounts.meter.take(ann, 50)
    with monkeypatch.context() as down:
        down.setattr(limits, "find_allowance", lambda *_: 1 / 0)
        for _ in range(2):
            accounts.meter.leave(ann, 50)
            with pytest.raises(ZeroDivisionError):
                accounts.meter.settle()
    accounts.meter.settle()
    assert accounts.meter.take(ann, 100)["x-ratelimit-remaining-tokens"] == "0"
    accounts.meter.leave(ann, 100)
    accounts.meter.beat()
    accounts.meter.settle()
    accounts.meter.take(ann, 100)


def test_a_row_that_somebody_removed_is_written_again(
    accounts: Accounts, url: str, clock: list[int]
):
    ann = key(accounts, concurrent=1)
    accounts.meter.take(ann, 1)
    clock[0] += limits.DEAD_AFTER + 1  # this program stalled, and was taken for dead
    with Accounts(url) as other:
        other.meter.beat()
        accounts.meter.beat()
        with pytest.raises(TooMuch):
            other.meter.take(ann, 1)
        over(accounts, ann, 0)
        other.meter.take(ann, 1)
        with pytest.raises(TooMuch):
            accounts.meter.take(ann, 1)


def test_the_last_place_is_taken_once_however_many_want_it(either: Accounts):
    ann = key(either, concurrent=1)
    let_in: list[int] = []

    def ask() -> None:
        with contextlib.suppress(TooMuch):
            either.meter.take(ann, 1)
            let_in.append(1)

    for _ in range(10):
        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(let_in) == 1
        over(either, ann, 0)
        let_in.clear()


def test_alone_the_next_start_knows_what_was_left(url: str, clock: list[int]):
    with Accounts(url, alone=True) as first:
        ann = key(first, requests_per_minute=6, tokens_per_minute=100, concurrent=1)
        first.meter.take(ann, 90)
        first.meter.leave(ann, 30)
        first.meter.settle()
    clock[0] += 3_000
    with Accounts(url, alone=True) as second:
        assert not second.meter.knows(ann)
        told = second.meter.take(ann, 10)
        assert second.meter.knows(ann)
        assert told["x-ratelimit-remaining-tokens"] == "35"  # 40, 5 more since, 10 taken
        assert told["x-ratelimit-remaining-requests"] == "4"  # 5.3 and 1 taken
        with pytest.raises(TooMuch, match="1 requests answered at once"):
            second.meter.take(ann, 1)


def test_alone_limits_that_change_are_followed(url: str, clock: list[int]):
    with Accounts(url, alone=True) as accounts:
        ann = key(accounts, requests_per_minute=2, concurrent=2)
        accounts.meter.take(ann, 1)
        less = replace(ann, limits=Limits(requests_per_minute=2, concurrent=1))
        with pytest.raises(TooMuch, match="1 requests answered at once"):
            accounts.meter.take(less, 1)
        accounts.meter.leave(less, 0)
        assert accounts.meter.take(less, 1)["x-ratelimit-remaining-requests"] == "0"


def test_alone_what_could_not_be_written_is_written_next_time(
    url: str, clock: list[int], monkeypatch: pytest.MonkeyPatch
):
    with Accounts(url, alone=True) as accounts:
        ann = key(accounts, tokens_per_minute=100)
        accounts.meter.take(ann, 60)
        with monkeypatch.context() as down:
            down.setattr(alone, "write_allowance", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                accounts.meter.settle()
        accounts.meter.settle()
        with Accounts(url) as other, pytest.raises(TooMuch):
            other.meter.take(ann, 41)
