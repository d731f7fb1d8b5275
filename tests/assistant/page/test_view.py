"""The view: one path through a tree, its forks, and what judgements show."""

from dataclasses import replace

from assistant.chat import Draft
from assistant.feedback.records import Generation, Judgement, Message, Target
from assistant.page.strings import words
from assistant.page.view import bubbles, growing, latest_below, thumbs, view

SAY = words("en")


def said(name: str, parent: str | None, role: str, content: str = "text") -> Message:
    return Message(name, "conv", parent, role, "person", content, 0)


TREE = [
    said("sys", None, "system"),
    said("q1", "sys", "user"),
    said("a1", "q1", "assistant"),
    said("a2", "q1", "assistant"),
    said("q2", "a1", "user"),
    said("b1", "q2", "assistant"),
    said("q1'", "sys", "user"),
]


def test_the_latest_message_is_shown_unless_another_is_asked_for():
    assert [m.id for m in view(TREE, None).messages] == ["q1'"]
    assert [m.id for m in view(TREE, "b1").messages] == ["q1", "a1", "q2", "b1"]
    assert [m.id for m in view(TREE, "gone").messages] == ["q1'"]
    assert view([], None).leaf is None


def test_forks_are_where_one_could_go_another_way():
    forks = view(TREE, "b1").forks
    assert [(f.role, f.turn, f.which, f.versions) for f in forks] == [
        ("user", 1, 0, ("q1", "q1'")),
        ("assistant", 1, 0, ("a1", "a2")),
    ]
    assert view(TREE[:3], None).forks == ()


def test_going_back_leads_to_where_that_branch_went_on():
    assert latest_below(TREE, "a1") == "b1"
    assert latest_below(TREE, "a2") == "a2"
    assert latest_below(TREE, "q1") == "b1"


def test_bubbles_show_text_as_text_and_who_made_it():
    stopped = replace(
        said("a", None, "assistant", "<b>half"),
        author="model",
        generation=Generation("v", "h", "t", finish_reason="interrupted"),
    )
    better = said("b", None, "assistant", "Better.")
    first, second = bubbles((stopped, better), SAY)
    assert first["content"] == "&lt;b>half _(stopped)_"
    assert second["content"] == "Better.\n\n_(written by you)_"
    assert (first["metadata"], second["role"]) == ({"id": "a"}, "assistant")


def test_thumbs_stand_at_their_answers():
    given = Judgement(
        *(1, "jdg", "thumb", "ann", "chat", "down", (), None, None, None, None, 0, None),
        (Target("b1", 0),),
    )
    assert thumbs(view(TREE, "b1").messages, [given]) == [None, "Dislike"]


def test_thoughts_are_shown_until_the_answer_folds_them_up():
    [thought] = growing(Draft("", thoughts="<b>Hm."), SAY)
    assert thought["metadata"] == {"title": "Thinking", "status": "pending"}
    assert "<b>" not in thought["content"]
    thought, answer = growing(Draft("Yes", thoughts="Hm."), SAY)
    assert (thought["metadata"]["status"], answer["content"]) == ("done", "Yes")
    assert growing(Draft("Yes"), SAY) == [{"role": "assistant", "content": "Yes"}]
