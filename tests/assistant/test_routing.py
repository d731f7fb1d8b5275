"""Which of several engines is asked: the conversation's own, unless it is busy or cannot answer."""

from assistant.engine import Engine, Status
from assistant.routing import SLACK, in_order

TALKS = [f"talk {number}" for number in range(200)]


class Known(Engine):
    """An engine of which only its name, state and load are known."""

    def __init__(self, url: str, state: str = "ready", in_flight: int = 0) -> None:
        self.url, self.in_flight = url, in_flight
        self.status = Status(state, "", 0.0)  # type: ignore[arg-type]

    async def start(self) -> None: ...


def firsts(engines: list[Engine]) -> list[str]:
    return [in_order(engines, talk)[0].url for talk in TALKS]


def test_a_conversation_keeps_to_its_engine_and_all_share_the_work():
    engines = [Known(f"http://{name}") for name in "abc"]
    asked = firsts(engines)
    assert asked == firsts(engines[::-1])
    assert all(40 <= asked.count(engine.url) <= 95 for engine in engines)


def test_one_that_goes_moves_only_its_own_conversations():
    engines = [Known(f"http://{name}") for name in "abc"]
    before, after = firsts(engines), firsts(engines[:2])
    assert all(old == new for old, new in zip(before, after, strict=True) if old != "http://c")


def test_one_that_is_not_ready_is_asked_last():
    engines = [Known("http://a", "failed"), Known("http://b"), Known("http://c", "loading")]
    assert set(firsts(engines)) == {"http://b"}
    assert len(in_order(engines, "x")) == 3


def test_one_that_is_much_busier_is_spared():
    engines = [Known("http://a", in_flight=SLACK + 1), Known("http://b")]
    assert set(firsts(engines)) == {"http://b"}
    engines[0].in_flight = SLACK
    assert set(firsts(engines)) == {"http://a", "http://b"}


def test_without_a_conversation_the_least_busy_is_asked():
    engines = [Known("http://a", in_flight=2), Known("http://b", in_flight=1)]
    assert in_order(engines)[0].url == "http://b"
