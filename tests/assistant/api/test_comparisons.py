"""POST /v1/comparisons: two answers drawn blind, and how programs judge them."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.assistant.api.conftest import Api, gateway_over, running
from tests.serving import eventually, served
from tests.upstream import Upstream

PATH, FEEDBACK = "/v1/comparisons", "/v1/feedback"
MESSAGES = [{"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A gateway over two versions, v2 on trial against v1."""
    current, candidate = Upstream("v1"), Upstream("v2")
    current.words, candidate.words = ["Old."], ["New."]
    with served(current.app) as first, served(candidate.app) as second:
        for api in running(tmp_path_factory.mktemp("two"), current, first, second):
            api.trials.begin("v2", "v1")
            names = ["assistant", "v1", "v2"]
            assert eventually(lambda: [m.id for m in api.client.models.list()] == names)  # noqa: B023
            assert eventually(lambda: drawn(api)["texts"] == {"Old.", "New."})  # noqa: B023
            yield api


def drawn(api: Api, **more: Any) -> dict[str, Any]:
    """A comparison, with its texts and the number of the answer that v2 gave."""
    made = api.post(PATH, {"messages": MESSAGES} | more)
    assert made.status_code == 201, made.text
    texts = [answer["content"] for answer in made.json()["answers"]]
    new = texts.index("New.") if "New." in texts else None
    return made.json() | {"texts": set(texts), "new": new}


def votes(api: Api) -> list[float]:
    return api.store.comparisons.votes("trial-001", "v2")


def test_two_answers_come_back_and_nothing_says_whose_they_are(two: Api):
    made = two.post(PATH, {"messages": MESSAGES, "max_tokens": 300})
    body = made.json()
    assert (made.status_code, set(body)) == (201, {"id", "object", "answers"})
    assert body["object"] == "comparison"
    assert [set(answer) for answer in body["answers"]] == [{"id", "content"}] * 2
    assert [answer["id"] for answer in body["answers"]] == [f"{body['id']}#0", f"{body['id']}#1"]
    assert {answer["content"] for answer in body["answers"]} == {"Old.", "New."}
    for name in ("v1", "v2", "trial", "versions"):
        assert name not in made.text


def test_each_version_is_shown_first_about_half_the_time(two: Api):
    assert {drawn(two)["new"] for _ in range(30)} == {0, 1}


@pytest.mark.parametrize(("named", "choice"), [((0, 1), "first"), ((1, 0), "second")])
def test_a_pair_is_judged_in_whatever_order_it_is_named(two: Api, named, choice: str):
    before = votes(two)
    pair = drawn(two)
    ids = [f"{pair['id']}#{position}" for position in named]
    given = two.post(FEEDBACK, {"pair": ids, "choice": choice}).json()
    assert (given["kind"], given["choice"]) == ("pair", "first")  # as they were drawn
    assert given["answers"] == [f"{pair['id']}#0", f"{pair['id']}#1"]
    assert two.get(f"{FEEDBACK}/{given['id']}").json() == given
    assert votes(two) == [*before, float(pair["new"] == 0)]


@pytest.mark.parametrize("choice", ["tie", "both_bad"])
def test_no_better_side_is_the_same_either_way_round(two: Api, choice: str):
    before = votes(two)
    pair = drawn(two)
    ids = [f"{pair['id']}#{position}" for position in (1, 0)]
    assert two.post(FEEDBACK, {"pair": ids, "choice": choice}).json()["choice"] == choice
    assert votes(two) == [*before, 0.5]


def test_judging_a_pair_is_consent_and_can_be_taken_back(two: Api):
    before = votes(two)
    pair = drawn(two)
    message = two.store.comparisons.answer(pair["id"], 0, "local")
    conversation = two.store.conversations.message(message, "local").conversation_id
    assert two.store.conversations.consent("local", conversation) is None
    ids = [answer["id"] for answer in pair["answers"]]
    given = two.post(FEEDBACK, {"pair": ids, "choice": "first"}).json()
    assert two.store.conversations.consent("local", conversation) is True
    assert two.post(FEEDBACK, {"withdraw": given["id"]}).status_code == 201
    assert votes(two) == before


def test_one_answer_of_a_pair_can_be_rated_and_corrected(two: Api):
    before = votes(two)
    pair = drawn(two)
    answer = f"{pair['id']}#{pair['new']}"
    rated = two.post(FEEDBACK, {"completion_id": answer, "rating": "up", "reasons": ["clear"]})
    assert (rated.status_code, rated.json()["answers"]) == (201, [answer])
    message = two.store.judgements.get(rated.json()["id"], "local").targets[0].message_id
    assert two.store.conversations.message(message, "local").content == "New."
    corrected = two.post(FEEDBACK, {"completion_id": answer, "correction": "Better."})
    assert corrected.status_code == 201
    assert votes(two) == before


def test_a_pair_that_the_client_put_together_decides_no_trial(two: Api):
    before = votes(two)
    one, other = drawn(two), drawn(two)
    completion = two.client.chat.completions.create(model="v1", messages=MESSAGES, store=True).id
    for ids in ([f"{one['id']}#0", f"{other['id']}#1"], [f"{one['id']}#0", completion]):
        given = two.post(FEEDBACK, {"pair": ids, "choice": "first"})
        assert given.status_code == 201
        assert two.store.judgements.get(given.json()["id"], "local").comparison_id is None
    assert votes(two) == before


@pytest.mark.parametrize(
    ("pair", "status", "words"),
    [
        (["ID#0", "ID#0"], 400, "named twice"),
        (["ID#0", "ID#2"], 404, "a pair has '#0' and '#1'"),
        (["ID", "ID#1"], 404, "a pair has '#0' and '#1'"),
        (["cmp_gone#0", "cmp_gone#1"], 404, "no comparison 'cmp_gone'"),
        (["cmp_gone#0", "ID#1"], 404, "no comparison 'cmp_gone'"),
    ],
)
def test_a_pair_that_is_none_is_refused(two: Api, pair: list[str], status: int, words: str):
    comparison = drawn(two)["id"]
    before = len(two.store.judgements.all())
    ids = [name.replace("ID", comparison) for name in pair]
    refused = two.post(FEEDBACK, {"pair": ids, "choice": "first"})
    assert refused.status_code == status
    assert words in refused.json()["error"]["message"]
    assert len(two.store.judgements.all()) == before


def test_without_a_trial_two_samples_are_drawn(api: Api):
    sampling = {"max_completion_tokens": 7, "temperature": 0, "top_p": 0.5}
    pair = drawn(api, **sampling)
    assert pair["texts"] == {"one two three"}
    for asked in api.upstream.asked[-2:]:
        assert asked["messages"] == MESSAGES
        assert (asked["max_tokens"], asked["temperature"], asked["top_p"]) == (7, 0, 0.5)
    drawn(api)
    assert api.upstream.asked[-1]["temperature"] == 0.9


def test_the_prompt_is_kept_as_it_was_sent(api: Api):
    turns = [("system", "Be kind."), ("user", "hi"), ("assistant", "Hello"), ("user", "why")]
    sent = [{"role": role, "content": content} for role, content in turns]
    comparison = api.post(PATH, {"messages": sent}).json()["id"]
    path = api.store.conversations.path(api.store.comparisons.answer(comparison, 1, "local"))
    assert [(m.role, m.content) for m in path] == [*turns, ("assistant", "one two three")]
    assert [m.author for m in path] == ["person", "person", "program", "person", "model"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0]"),
        ({"messages": MESSAGES, "model": "v2"}, "model"),
        ({"messages": MESSAGES, "n": 2}, "n"),
        ({"messages": MESSAGES, "stream": True}, "stream"),
        ({"messages": MESSAGES, "seed": 1}, "seed"),
        ({"messages": MESSAGES, "temperature": 2.1}, "temperature"),
        ({"messages": MESSAGES, "temperature": "hot"}, "temperature"),
        ({"messages": MESSAGES, "temperature": True}, "temperature"),
        ({"messages": MESSAGES, "top_p": -0.1}, "top_p"),
        ({"messages": MESSAGES, "max_tokens": 0}, "max_tokens"),
        ({"messages": MESSAGES, "max_tokens": 1.5}, "max_tokens"),
        ({"messages": MESSAGES, "max_completion_tokens": 4097}, "max_completion_tokens"),
    ],
)
def test_what_cannot_be_honoured_is_refused_and_nothing_is_asked(api: Api, body, param: str):
    asked = len(api.upstream.asked)
    refused = api.post(PATH, body)
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == param
    assert len(api.upstream.asked) == asked


@pytest.mark.parametrize(("script", "status"), [("refuse", 400), ("overload", 429), ("break", 503)])
def test_an_engine_that_fails_leaves_nothing_to_judge(api: Api, script: str, status: int):
    pairs = comparisons(api)
    failed = api.post(PATH, {"messages": [{"role": "user", "content": script}]})
    assert failed.status_code == status
    assert failed.json()["error"]["message"]
    assert comparisons(api) == pairs


def comparisons(api: Api) -> int:
    with api.store.engine.connect() as connection:
        return connection.exec_driver_sql("SELECT count(*) FROM comparison").scalar_one()


def test_a_client_that_leaves_frees_the_engine(api: Api):
    pairs = comparisons(api)
    stalled = {"messages": [{"role": "user", "content": "stall"}]}
    with pytest.raises(httpx.ReadTimeout):
        api.post(PATH, stalled, timeout=0.5)
    assert eventually(lambda: api.upstream.running == 0)
    assert comparisons(api) == pairs


def test_while_the_model_loads_one_is_asked_to_come_again(tmp_path):
    upstream = Upstream()
    upstream.healthy = False
    with served(upstream.app) as engine, gateway_over(tmp_path, upstream, engine) as api:
        refused = api.post(PATH, {"messages": MESSAGES})
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "model_not_ready"
        assert int(refused.headers["Retry-After"]) > 0
        assert api.store.snapshot().messages == {}
