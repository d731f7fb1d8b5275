"""Objectives: what people gave decides what is trained; too little is said in numbers."""

import pytest

from align.objectives import (
    LEAST_ANSWERS,
    LEAST_CORRECTIONS,
    LEAST_PAIRS,
    Chosen,
    choose,
    need,
)
from align.quality import LOOPS
from assistant.errors import Invalid
from assistant.feedback.rows import UNFINISHED, Row, Rows


def pairs(number: int) -> list[Row]:
    return [Row({}, f"pair-{n}", (f"pair-{n}",)) for n in range(number)]


def thumbs(ups: int, downs: int) -> list[Row]:
    labels = [True] * ups + [False] * downs
    return [Row({"label": up}, f"thumb-{n}", (f"thumb-{n}",)) for n, up in enumerate(labels)]


def messages(corrected: int, liked: int = 0) -> list[Row]:
    return [
        Row({}, f"m-{n}", (f"m-{n}",), corrected=n < corrected) for n in range(corrected + liked)
    ]


def chosen(preference=(), unpaired=(), talks=()) -> Chosen:
    found = {"preference": preference, "unpaired": unpaired, "messages": talks}
    return choose({shape: Rows(list(rows)) for shape, rows in found.items()})


@pytest.mark.parametrize("one_less", [False, True])
def test_each_kind_of_judgement_has_its_objective_from_its_least_number_on(one_less: bool):
    less = int(one_less)
    for rows, stage in (
        ({"talks": messages(LEAST_CORRECTIONS - less)}, "sft"),
        ({"preference": pairs(LEAST_PAIRS - less)}, "dpo"),
        ({"unpaired": thumbs(LEAST_ANSWERS - less, 50)}, "kto"),
        ({"unpaired": thumbs(50, LEAST_ANSWERS - less)}, "kto"),
    ):
        assert list(chosen(**rows).rows) == ([] if one_less else [stage])


def test_stages_go_from_imitation_to_preference_to_thumbs():
    found = chosen(pairs(20), thumbs(10, 10), messages(8))
    assert list(found.rows) == ["sft", "dpo", "kto"]
    assert found.given == {"corrections": 8, "pairs": 20, "good answers": 10, "bad answers": 10}


def test_only_corrections_are_imitated():
    found = chosen(talks=messages(8, liked=30))
    assert len(found.rows["sft"]) == 8
    assert not chosen(talks=messages(0, liked=30)).rows


def test_thumbs_that_made_a_pair_are_not_learnt_twice():
    lone = thumbs(12, 12)
    opposite = Row({}, "both", (lone[0].judgement_ids[0], lone[-1].judgement_ids[0]))
    found = chosen([opposite, *pairs(19)], lone)
    assert found.rows["kto"] == lone[1:-1]
    assert found.given["good answers"] == found.given["bad answers"] == 11
    assert len(found.rows["dpo"]) == 20


def test_what_was_left_out_is_told_by_shape():
    rows = {shape: Rows() for shape in ("preference", "unpaired", "messages")}
    rows["preference"].left_out["no consent"] = 3
    assert choose(rows).left_out["preference"] == {"no consent": 3}


def test_too_little_is_said_with_what_is_there_and_what_is_missing():
    with pytest.raises(Invalid) as refused:
        need(chosen(pairs(18), thumbs(12, 3), messages(1)))
    assert str(refused.value) == (
        "Too little to learn from (1 corrections, 18 pairs, 12 good answers, 3 bad answers, with "
        "consent). A round needs 2 more pairs with a better side, or 0 more answers called good "
        "and 7 more called bad, or 7 more corrections."
    )
    need(chosen(pairs(20)))


def test_too_little_because_good_answers_were_not_fit_to_learn_is_said():
    rows = {shape: Rows() for shape in ("preference", "unpaired", "messages")}
    rows["preference"].left_out.update({UNFINISHED: 20, "no consent": 3})
    rows["unpaired"].left_out.update({UNFINISHED: 1, LOOPS: 2})
    with pytest.raises(Invalid) as refused:
        need(choose(rows))
    assert str(refused.value).endswith(f"Left out: 21 × {UNFINISHED}; 2 × {LOOPS}.")
