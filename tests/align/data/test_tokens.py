"""Tokens: what of a row is learnt, down to its end token."""

import pytest

from align.data.tokens import length, tokenized
from align.rendering import tokenizer_of
from assistant.feedback.rows import Row
from assistant.version import Version
from tests.assistant.feedback.said import assistant, user

END = "<|im_end|>"
ASKED = [user("Name a color.")]
TALK = [*ASKED, assistant("Red."), user("Another?"), assistant("Blue.")]


@pytest.fixture(scope="module")
def tokenizer(tiny: Version):
    return tokenizer_of(tiny.path)


def pair(chosen: str = "Red.", rejected: str = "Go away.", **fields) -> Row:
    sides = {"chosen": [assistant(chosen)], "rejected": [assistant(rejected)]}
    return Row({"prompt": ASKED, **sides}, "conv", ("j",), **fields)


def test_both_answers_end_with_the_end_token_and_share_the_prompt(tokenizer):
    [row], left_out = tokenized(tokenizer, [pair()], 1024)
    assert tokenizer.decode(row["prompt_ids"]).endswith("<|im_start|>assistant\n")
    assert tokenizer.decode(row["chosen_ids"]) == f"Red.{END}"
    assert tokenizer.decode(row["rejected_ids"]) == f"Go away.{END}"
    assert row["length"] == len(row["prompt_ids"]) + len(row["rejected_ids"])
    assert not left_out


def test_an_answer_that_was_cut_off_does_not_teach_to_end_there(tokenizer):
    [row], _ = tokenized(tokenizer, [pair(unfinished=("rejected",))], 1024)
    assert tokenizer.decode(row["chosen_ids"]) == f"Red.{END}"
    assert tokenizer.decode(row["rejected_ids"]) == "Go away."
    lone = Row({"prompt": ASKED, "completion": [assistant("Re")], "label": True}, "conv", ())
    cut = Row(lone.data, "conv", (), unfinished=("completion",))
    whole, without = (tokenized(tokenizer, [r], 1024)[0][0] for r in (lone, cut))
    assert whole["completion_ids"][:-1] == without["completion_ids"]
    assert whole["label"] is without["label"] is True


def test_a_thumb_down_does_not_teach_never_to_end(tokenizer):
    said = {"prompt": ASKED, "completion": [assistant("Red.")]}
    rows = [Row(said | {"label": label}, "conv", ()) for label in (True, False)]
    liked, disliked = tokenized(tokenizer, rows, 1024)[0]
    assert tokenizer.decode(liked["completion_ids"]) == f"Red.{END}"
    assert tokenizer.decode(disliked["completion_ids"]) == "Red."


def test_token_rows_know_the_temperature_of_their_answers(tokenizer):
    made, _ = tokenized(tokenizer, [pair(), pair(temperature=0.8)], 1024)
    assert [row["temperature"] for row in made] == [1.0, 0.8]


def test_answers_without_a_single_token_are_left_out_and_counted(tokenizer):
    stopped_at_once = pair(rejected="", unfinished=("rejected",))
    made, left_out = tokenized(tokenizer, [pair(), stopped_at_once], 1024)
    assert len(made) == 1
    assert left_out == {"an answer without text": 1}


def test_rows_that_are_too_long_are_left_out_and_counted(tokenizer):
    short, long = pair(), pair(rejected="word " * 50)
    length = tokenized(tokenizer, [short], 1024)[0][0]["length"]
    made, left_out = tokenized(tokenizer, [short, long], length)
    assert [row["length"] for row in made] == [length]
    assert left_out == {f"longer than {length} tokens": 1}
    assert tokenized(tokenizer, [short], length - 1)[0] == []


def test_only_the_last_answer_of_a_conversation_is_learnt(tokenizer):
    [row], _ = tokenized(tokenizer, [Row({"messages": TALK}, "conv", ())], 1024)
    assert len(row["labels"]) == len(row["input_ids"]) == row["length"]
    learnt = [label for label in row["labels"] if label != -100]
    assert tokenizer.decode(learnt) == f"Blue.{END}"
    at = row["labels"].index(learnt[0])
    assert row["input_ids"][at : at + len(learnt)] == learnt
    assert tokenizer.decode(row["input_ids"][:at]).endswith(
        "Another?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_every_answer_of_a_whole_conversation_is_learnt(tokenizer):
    [row], _ = tokenized(tokenizer, [Row({"messages": TALK}, "conv", (), whole=True)], 1024)
    learnt = tokenizer.decode([i for i in row["labels"] if i != -100])
    assert learnt == f"Red.{END}Blue.{END}"


def test_an_answer_with_the_weight_0_is_read_and_not_learnt(tokenizer):
    talk = [dict(turn) for turn in TALK]
    talk[1]["weight"] = 0
    [row], _ = tokenized(tokenizer, [Row({"messages": talk}, "conv", (), whole=True)], 1024)
    learnt = [i for i, label in zip(row["input_ids"], row["labels"], strict=True) if label >= 0]
    assert tokenizer.decode(learnt) == f"Blue.{END}"
    assert "Red." in tokenizer.decode(row["input_ids"])
    talk[3]["weight"] = 0
    none, why = tokenized(tokenizer, [Row({"messages": talk}, "conv", (), whole=True)], 1024)
    assert (none, why) == ([], {"every answer has the weight 0": 1})


def test_a_tool_call_is_learnt_and_the_tools_and_their_result_are_read(tokenizer):
    tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
    call = {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
    talk = [
        user("1 + 1?"),
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "2"},
        assistant("Two."),
    ]
    row = Row({"messages": talk, "tools": [tool]}, "conv", (), whole=True)
    [made], _ = tokenized(tokenizer, [row], 1024)
    learnt = tokenizer.decode([i for i in made["labels"] if i != -100])
    assert learnt.startswith("<tool_call>")
    assert learnt.endswith(f"Two.{END}")
    assert "<|im_start|>tool\n2" in tokenizer.decode(made["input_ids"])
    assert '"name": "add"' in tokenizer.decode(made["input_ids"]).split("1 + 1?")[0]


def test_a_text_is_learnt_from_its_first_token_on(tokenizer):
    [row], _ = tokenized(tokenizer, [Row({"text": "Once upon a time."}, "text", ())], 1024)
    assert row["labels"] == row["input_ids"]
    assert tokenizer.decode(row["input_ids"]) == "Once upon a time."


def test_the_length_is_that_of_the_longer_side(tokenizer):
    long = pair(rejected="Go away. " * 20)
    [row], _ = tokenized(tokenizer, [long], 1024)
    assert length(tokenizer, long) == row["length"]
