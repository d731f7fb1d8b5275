"""Requests of two kinds, and what is learnt from them."""

import json
from pathlib import Path

import pytest

from align.measure import refuses
from align.safety import lessons, requests
from align.safety.halves import compared, told
from align.safety.requests import Request
from align.sampling import Sampled
from assistant import prompts
from assistant.errors import Invalid

BAD, FINE = Request("Do harm.", True, "a"), Request("Do well.", False, "a")
OWN = Sampled("Here is how.", 4, stopped=True)
CUT = Sampled("Here is how to", 4, stopped=False)
NO = Sampled("I'm sorry, but no.", 6, stopped=True)


def write(file: Path, *rows: dict) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_the_shipped_ones_have_two_halves_of_every_family():
    found = requests.shipped()
    assert len({request.text for request in found}) == len(found) == 192
    for family in {request.family for request in found}:
        halves = [request.harmful for request in found if request.family == family]
        assert halves.count(True) == halves.count(False) == 8


def test_the_shipped_refusals_are_seen_as_such():
    for line in prompts.load(lessons.REFUSALS).splitlines():
        assert refuses(line), line


def test_families_are_never_on_both_sides():
    learnt, unseen = requests.apart(requests.shipped(), 3, seed=0)
    assert len({request.family for request in unseen}) == 3
    assert not {r.family for r in learnt} & {r.family for r in unseen}
    assert requests.apart(requests.shipped(), 3, seed=0) == (learnt, unseen)
    assert requests.apart(requests.shipped(), 3, seed=1) != (learnt, unseen)
    for impossible in (12, -1):
        with pytest.raises(Invalid, match="there are 12 families"):
            requests.apart(requests.shipped(), impossible, seed=0)


def test_what_each_answer_teaches():
    asked = [BAD, BAD, BAD, FINE, FINE, FINE, FINE]
    empty = Sampled(" ", 1, stopped=True)
    made = lessons.pairs(asked, [OWN, CUT, NO, OWN, CUT, NO, empty], seed=0)
    first, second, third = made.rows
    assert refuses(first.data["chosen"][0]["content"])
    assert first.data["rejected"][0]["content"] == OWN.text
    assert second.unfinished == ("rejected",)  # it did not end there, and must not be said to
    assert third.data["chosen"][0]["content"] == OWN.text
    assert refuses(third.data["rejected"][0]["content"])
    assert made.left_out == {
        lessons.REFUSED_ALREADY: 1,
        lessons.CUT_OFF: 1,
        lessons.REFUSED_WRONGLY: 1,
        lessons.EMPTY: 1,
    }


def test_halves_are_counted_apart():
    found = compared([BAD, BAD, FINE, FINE], [OWN, OWN, OWN, NO], [NO, OWN, OWN, OWN])
    bad, fine = found["harmful"], found["harmless"]
    assert (bad["refused_before"], bad["refused_after"]) == (0, 0.5)
    assert (fine["refused_before"], fine["refused_after"]) == (0.5, 0)
    assert bad["low"] < 0.5 < bad["high"]
    assert fine["change_low"] <= -0.5 <= fine["change_high"]
    assert "harmful requests refused 0% → 50%" in told(found)
    assert told(compared([BAD], [OWN], [NO])).startswith("harmful requests refused 0% → 100%")


def test_labelled_requests_are_read(tmp_path: Path):
    file = write(
        tmp_path / "x.jsonl",
        {"prompt": "Do harm.", "label": "unsafe", "type": "t", "id": 1},
        {"prompt": "Do well.", "label": "harmless"},
    )
    assert requests.labelled(file) == [
        Request("Do harm.", True, "t"),
        Request("Do well.", False, ""),
    ]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "x"},
        {"label": "safe"},
        {"prompt": " ", "label": "safe"},
        {"prompt": "x", "label": 1},
        {"prompt": "x", "label": []},
    ],
)
def test_a_request_without_a_label_or_a_prompt_is_named(tmp_path: Path, row: dict):
    file = write(tmp_path / "x.jsonl", {"prompt": "a", "label": "safe"}, row)
    with pytest.raises(Invalid, match=r"x\.jsonl, line 2: a request needs a prompt, and a label"):
        requests.labelled(file)


def test_conversations_give_what_they_begin_with_and_what_is_left_out_is_counted(tmp_path: Path):
    talk = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "a"},
        {"role": "user", "content": "second"},
    ]
    pair = {"prompt": talk, "chosen": "x", "rejected": "y"}
    bad = write(tmp_path / "a.jsonl", pair, pair, chat("either"))
    fine = write(
        tmp_path / "b.jsonl",
        chat("other"),
        chat("either"),
        chat("tested"),
        {"text": "nobody asks anything"},
    )
    found, left_out = requests.asked([str(bad)], [str(fine)], frozenset(["tested"]))
    assert found == [Request("first", True), Request("other", False)]
    assert left_out == {
        requests.AGAIN: 1,
        requests.BOTH: 2,
        requests.MEASURED: 1,
        requests.SILENT: 1,
    }


@pytest.mark.parametrize(
    ("row", "said"), [({"nothing": 1}, "mend or drop it"), ({"text": "plain"}, "asks nothing")]
)
def test_a_source_that_asks_nothing_is_refused(tmp_path: Path, row: dict, said: str):
    with pytest.raises(Invalid, match=said):
        requests.asked([str(write(tmp_path / "c.jsonl", row))], [], frozenset())


def chat(question: str) -> dict:
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": "b"}]
    return {"messages": turns}
