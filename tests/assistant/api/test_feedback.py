"""POST /v1/feedback in all its forms."""

import asyncio
import contextlib

import pytest

from tests.assistant.api.conftest import Api

PATH = "/v1/feedback"


@pytest.fixture
def kept(api: Api) -> str:
    """The id of a kept completion with three choices."""
    asked = [{"role": "user", "content": "hi"}]
    return api.client.chat.completions.create(model="assistant", messages=asked, n=3, store=True).id


def test_a_rating_is_read_back_and_is_consent(api: Api, kept: str):
    body = {"completion_id": f"{kept}#1", "rating": "down", "reasons": ["wrong"], "comment": "No."}
    given = api.post(PATH, body)
    assert given.status_code == 201
    shown = api.get(f"{PATH}/{given.json()['id']}").json()
    assert shown == given.json()
    assert (shown["object"], shown["kind"], shown["choice"]) == ("feedback", "thumb", "down")
    assert (shown["reasons"], shown["comment"]) == (["wrong"], "No.")
    assert shown["answers"] == [f"{kept}#1"]
    completion = api.store.completions.get(kept, "local")
    assert api.store.conversations.consent("local", completion.conversation_id) is True


def test_a_pair_a_ranking_and_a_correction(api: Api, kept: str):
    ids = [f"{kept}#{index}" for index in range(3)]
    pair = api.post(PATH, {"pair": [ids[2], ids[0]], "choice": "tie"}).json()
    assert (pair["kind"], pair["choice"], pair["answers"]) == ("pair", "tie", [ids[2], ids[0]])
    ranking = api.post(PATH, {"ranking": [[ids[1]], [ids[0], ids[2]]]}).json()
    assert (ranking["answers"], ranking["ranks"]) == ([ids[1], ids[0], ids[2]], [0, 1, 1])
    better = api.post(PATH, {"completion_id": ids[0], "correction": "Better."})
    assert (better.status_code, better.json()["kind"]) == (201, "correction")


def test_a_judgement_can_be_withdrawn(api: Api, kept: str):
    given = api.post(PATH, {"completion_id": f"{kept}#0", "rating": "up"}).json()
    taken = api.post(PATH, {"withdraw": given["id"]}).json()
    assert (taken["kind"], taken["withdraws"]) == ("withdrawal", given["id"])
    again = api.post(PATH, {"withdraw": taken["id"]})
    assert (again.status_code, again.json()["error"]["param"]) == (400, "withdraw")


def test_judgements_are_listed_in_pages(api: Api, kept: str):
    latest = api.get(f"{PATH}?order=desc&limit=1").json()["data"]
    before = {"after": latest[0]["id"]} if latest else {}
    given = [
        api.post(PATH, {"completion_id": f"{kept}#{index}", "rating": "up"}).json()
        for index in range(3)
    ]
    first = api.get(PATH, params={"limit": 2, **before}).json()
    assert (first["data"], first["has_more"]) == (given[:2], True)
    rest = api.get(PATH, params={"after": first["last_id"]}).json()
    assert (rest["data"], rest["has_more"]) == (given[2:], False)
    newest = api.get(PATH, params={"order": "desc", "limit": 3}).json()
    assert newest["data"] == given[::-1]
    assert api.get(PATH, params={"after": "jdg_gone"}).status_code == 404


def test_answers_of_different_completions_to_one_prompt_can_be_compared(api: Api, kept: str):
    asked = [{"role": "user", "content": "hi"}]
    other = api.client.chat.completions.create(model="tiny", messages=asked, store=True).id
    assert api.post(PATH, {"pair": [other, f"{kept}#0"], "choice": "first"}).status_code == 201


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({}, 400, "exactly one of"),
        ({"rating": "up", "correction": "x", "completion_id": "ID#0"}, 400, "exactly one of"),
        ({"rating": "up"}, 400, "'completion_id' is required"),
        ({"rating": "up", "completion_id": "ID"}, 404, "has 3 answer(s)"),
        ({"rating": "up", "completion_id": "ID#3"}, 404, "has 3 answer(s)"),
        ({"rating": "up", "completion_id": "gone"}, 404, "no stored completion"),
        ({"rating": 5, "completion_id": "ID#0"}, 400, "'up' or 'down'"),
        ({"rating": "meh", "completion_id": "ID#0"}, 400, "'up' or 'down'"),
        ({"rating": "up", "completion_id": "ID#0", "reasons": ["wrong"]}, 400, "no reason for"),
        (
            {"rating": "up", "completion_id": "ID#0", "reasons": "clear"},
            400,
            "'reasons' must be a list",
        ),
        ({"rating": "up", "completion_id": "ID#0", "comment": 5}, 400, "'comment'"),
        ({"rating": "up", "completion_id": "ID#0", "model": "x"}, 400, "Unrecognized"),
        ({"pair": ["ID#0"], "choice": "first"}, 400, "at least 2"),
        ({"pair": ["ID#0", "ID#0"], "choice": "first"}, 400, "named twice"),
        ({"pair": ["ID#0", "ID#1"]}, 400, "'choice' is required"),
        ({"pair": ["ID#0", "ID#1"], "choice": "third"}, 400, "must be one of"),
        ({"ranking": "ID#0"}, 400, "must be a list"),
        ({"ranking": ["ID#0"]}, 400, "'ranking[0]' must be a list"),
        ({"ranking": [["ID#0"], []]}, 400, "no empty group"),
        ({"ranking": [["ID#0"]] * 65}, 400, "'ranking' may have at most 64 entries"),
        ({"ranking": [["ID#0"] * 65]}, 400, "'ranking[0]' may have at most 64 entries"),
        (
            {"rating": "up", "completion_id": "ID#0", "reasons": ["clear"] * 17},
            400,
            "'reasons' may have at most 16",
        ),
        ({"completion_id": "ID#0", "correction": " "}, 400, "must not be empty"),
        ({"completion_id": "ID#0", "correction": "one two three"}, 400, "equals the answer"),
        ({"withdraw": "jdg_gone"}, 404, "no judgement"),
    ],
)
def test_bad_judgements_are_refused_and_leave_nothing(api: Api, kept: str, body, status, words):
    before = len(api.store.judgements.all())

    def named(value):
        if isinstance(value, list):
            return [named(item) for item in value]
        return value.replace("ID", kept) if isinstance(value, str) else value

    refused = api.post(PATH, {k: named(v) for k, v in body.items()})
    assert refused.status_code == status
    assert words in refused.json()["error"]["message"]
    assert len(api.store.judgements.all()) == before


@pytest.mark.parametrize("of", ["comparisons", "completions"])
def test_the_store_is_never_read_between_others_answers(
    api: Api, kept: str, of: str, monkeypatch: pytest.MonkeyPatch
):
    found, loops = getattr(api.store, of).answer_ids, []

    def looking(ids: list[str]) -> dict[str, str]:
        with contextlib.suppress(RuntimeError):
            loops.append(asyncio.get_running_loop())
        return found(ids)

    monkeypatch.setattr(getattr(api.store, of), "answer_ids", looking)
    given = api.post(PATH, {"completion_id": f"{kept}#0", "rating": "up"}).json()
    assert api.get(f"{PATH}/{given['id']}").json() == given
    assert given in api.get(PATH, params={"order": "desc", "limit": 1}).json()["data"]
    assert loops == []


def test_a_refused_judgement_is_no_consent(api: Api, kept: str):
    api.post(PATH, {"completion_id": f"{kept}#0", "rating": "meh"})
    completion = api.store.completions.get(kept, "local")
    assert api.store.conversations.consent("local", completion.conversation_id) is None
