"""`align data`: what it prints is what is there, and what it writes can be trained on."""

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from align.data import tokens
from align.data.cleaned import write_cleaned
from align.data.cleaning import Choice
from align.data.files import noted
from align.data.gathering import gather
from align.data.show import quantiles, show, understood
from align.rendering import Refused, render, tokenizer_of
from assistant.errors import Invalid
from assistant.settings import Settings
from assistant.version import Version
from tests.align.lessons import judge, rows, write


@pytest.fixture(scope="module")
def tokenizer(tiny: Version):
    return tokenizer_of(tiny.path)


def printed(found, tokenizer, examples: int = 1, **how) -> str:
    console = Console(width=100, record=True, file=io.StringIO(), **how)
    show(found, tokenizer, examples, console)
    return console.export_text(styles=how.get("force_terminal", False))


def test_a_file_is_shown_with_kinds_lengths_and_what_is_broken(tmp_path: Path, tokenizer):
    mixed = [*rows("dpo", 5), *rows("sft", 3), "{nothing", {"text": "Once."}]
    found = understood(str(write(tmp_path / "rows.jsonl", mixed)), "sqlite://", tokenizer)
    text = printed(found, tokenizer)
    assert "rows.jsonl: 5 × pair, written as chosen/rejected" in text
    assert "rows.jsonl: 3 × chat, written as messages" in text
    assert "broken, line 9: not a JSON object" in text
    assert "preference: 5 rows" in text
    assert "[chosen] The number is 0, my friend.<|im_end|>" in text
    facts = found.as_facts()
    assert facts["shapes"]["messages"]["rows"] == 3
    assert facts["shapes"]["preference"]["left_out"] == {
        "rows.jsonl: chat, not of the shape preference": 3,
        "rows.jsonl: text, not of the shape preference": 1,
    }
    json.dumps(facts)


def test_what_a_template_refuses_is_counted_and_holds_nothing_up(
    tmp_path: Path, tokenizer, monkeypatch: pytest.MonkeyPatch
):
    def picky(tokenizer, talk, tools=None):
        if talk[0]["role"] == "system":
            raise Refused("its template knows no system")
        return render(tokenizer, talk, tools)

    monkeypatch.setattr(tokens, "render", picky)
    said = [{"role": "system", "content": "Hm."}, *rows("sft", 1)[0]["messages"]]
    file = write(tmp_path / "rows.jsonl", [*rows("sft", 3), {"messages": said}])
    [held] = understood(str(file), "sqlite://", tokenizer).held
    assert len(held.rows) == len(held.lengths) == 3
    assert held.left_out == {"its template knows no system": 1}


def test_what_is_learnt_stands_out(tmp_path: Path, tokenizer):
    talk = [{"role": "user", "content": "冰?"}, {"role": "assistant", "content": "水"}]
    found = understood(
        str(write(tmp_path / "rows.jsonl", [{"messages": talk}])), "sqlite://", tokenizer
    )
    text = printed(found, tokenizer, force_terminal=True, color_system="standard")
    assert "\x1b[1;32m水<|im_end|>\x1b[0m" in text
    assert "\x1b[2m<|im_start|>user" in text


def test_feedback_is_shown_by_shape(settings: Settings, tokenizer):
    judge(settings, pairs=2, ups=1, downs=1)
    shapes = understood("feedback", settings.database, tokenizer).as_facts()["shapes"]
    assert {shape: held["rows"] for shape, held in shapes.items()} == {
        "preference": 2, "unpaired": 2, "messages": 1,
    }  # fmt: skip


def test_nothing_is_said_of_nothing(settings: Settings, tokenizer):
    found = understood("feedback", settings.database, tokenizer)
    assert "No row that any stage could learn from." in printed(found, tokenizer)


def test_quantiles_are_values_that_are_there():
    assert quantiles([7]) == {"shortest": 7, "median": 7, "p95": 7, "longest": 7}
    assert quantiles(range(101)) == {"shortest": 0, "median": 50, "p95": 95, "longest": 100}


def clean(source: Path, out: Path, **more):
    given = {"against": (), "held_out": 0.0, "seed": 0, "choice": Choice(near=False)} | more
    choice, against = given["choice"], given["against"]
    return write_cleaned(
        *(str(source), out, "preference", "sqlite://", choice, against),
        *(given["held_out"], given["seed"]),
    )


def test_what_is_written_can_be_read_again_and_the_report_has_no_text(tmp_path: Path):
    loop = {"prompt": "Q?", "chosen": "secret words " * 20, "rejected": "No."}
    source = write(tmp_path / "rows.jsonl", [*rows("dpo", 20), *rows("dpo", 1), loop])
    report = clean(source, tmp_path / "made" / "clean.jsonl", held_out=0.1)
    learn = gather("preference", str(tmp_path / "made" / "clean.jsonl"), "").rows
    apart = gather("preference", str(tmp_path / "made" / "clean.held-out.jsonl"), "").rows
    assert (len(learn), len(apart)) == (report.written, report.held_out) == (18, 2)
    assert not {r.conversation_id for r in learn} & {r.conversation_id for r in apart}
    told = (tmp_path / "made" / "clean.report.json").read_text()
    assert "secret words" not in told
    assert json.loads(told)["steps"][3]["reasons"]
    assert any("secret words" in line for line in report.lines())


def test_what_people_said_here_is_read_again_as_it_was(settings: Settings, tmp_path: Path):
    judge(settings, pairs=3, ups=2, downs=2)
    for shape in ("preference", "unpaired", "messages"):
        out = tmp_path / f"{shape}.jsonl"
        said = gather(shape, "feedback", settings.database).rows
        said[0] = replace(said[0], unfinished=("rejected",), temperature=0.7, weight=0.5)
        out.write_text("".join(json.dumps(noted(row)) + "\n" for row in said))
        assert gather(shape, str(out), "sqlite://").rows == said
        write_cleaned("feedback", out, shape, settings.database, Choice(near=False), (), 0.0, 0)
        [first, *_] = gather(shape, str(out), "sqlite://").rows
        assert first.judgement_ids
        assert first.person
        assert not first.whole  # nobody judged the earlier answers
    for broken in (3, {"temperature": "warm"}, {"judgement_ids": "a"}, {"other": 1}):
        row = {"messages": said[0].data["messages"], "from_feedback": broken}
        out.write_text(json.dumps(row) + "\n")
        with pytest.raises(Invalid, match="from_feedback is not as `align data clean` wrote it"):
            gather("messages", str(out), "sqlite://")


def test_broken_rows_are_the_first_step_and_hold_nothing_up(tmp_path: Path):
    same = {"prompt": "Q?", "chosen": "A", "rejected": "A"}
    file = write(tmp_path / "rows.jsonl", [*rows("dpo", 4), same, same, "{nothing"])
    out = tmp_path / "clean.jsonl"
    report = write_cleaned(str(file), out, "preference", "", Choice(near=False), (), 0.0, 0)
    first = report.steps[0]
    assert (first.name, first.before, first.after) == ("understood", 7, 4)
    reasons = {"chosen and rejected are identical": 2, "not a JSON object": 1}
    assert first.reasons == reasons
    assert first.samples[0] == ("chosen and rejected are identical", "line 5")
    assert report.written == len(out.read_text().splitlines()) == 4


def test_who_made_a_row_and_what_it_scored_is_kept_and_masked(tmp_path: Path):
    made = {"made_by": "a model", "score_chosen": 7, "asked_by": "ann@example.org"}
    file = write(tmp_path / "rows.jsonl", [row | made for row in rows("dpo", 2)])
    out = tmp_path / "clean.jsonl"
    write_cleaned(str(file), out, "preference", "", Choice(near=False), (), 0.0, 0)
    for line in map(json.loads, out.read_text().splitlines()):
        assert (line["made_by"], line["score_chosen"]) == ("a model", 7)
        assert line["asked_by"] == "[email]"
    assert len(gather("preference", str(out), "").rows) == 2


def test_prompts_are_shown(tmp_path: Path, tokenizer):
    file = write(tmp_path / "prompts.jsonl", [{"prompt": "How?", "answer": "So."}] * 2)
    text = printed(understood(str(file), "sqlite://", tokenizer), tokenizer)
    assert "prompt: 2 rows" in text
    assert "How?" in text


def test_questions_of_a_file_are_kept_out(tmp_path: Path):
    source = write(tmp_path / "rows.jsonl", rows("dpo", 3))
    held = tmp_path / "exam.txt"
    held.write_text("Please could you say 1 now\n")
    rows_ = [{"prompt": "Please could you say 1 now", "chosen": "1", "rejected": "2"}]
    source = write(tmp_path / "rows.jsonl", [*rows("dpo", 3), *rows_])
    assert clean(source, tmp_path / "out.jsonl").written == 4
    assert clean(source, tmp_path / "out.jsonl", against=(held,)).written == 3
    as_rows = write(tmp_path / "exam.jsonl", rows_)
    assert clean(source, tmp_path / "out.jsonl", against=(as_rows,)).written == 3
    unread = write(tmp_path / "unread.jsonl", [{"question": "Please could you say 1 now"}])
    with pytest.raises(Invalid, match="give what is asked there as `prompt`"):
        clean(source, tmp_path / "out.jsonl", against=(unread,))


@pytest.mark.parametrize(
    ("name", "more", "words"),
    [
        ("out.csv", {}, "should end in .jsonl"),
        ("out.jsonl", {"held_out": 1.0}, "from 0 to less than 1"),
        ("out.jsonl", {"source": "kto"}, "has no row of the shape preference"),
    ],
)
def test_what_cannot_be_done_is_said(tmp_path: Path, name: str, more: dict, words: str):
    source = write(tmp_path / "rows.jsonl", rows(more.pop("source", "dpo"), 3))
    with pytest.raises(Invalid, match=words):
        clean(source, tmp_path / name, **more)
    assert not (tmp_path / name).exists()
