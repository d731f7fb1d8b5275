"""The small world and what is taught about it: true, seeded, and never what is asked at the end."""

import re
from itertools import islice

from align.story import asking, lessons, world
from align.story.walk import ANIMALS, NEVER, TAUGHT, UNKNOWN, World, stages, write_data
from align.story.world import KINDS

THERE = World.of(0)
TALK = dict(lessons.TALK)


def without_talk(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """Those about animals."""
    return [row for row in rows if row["prompt"] not in TALK]


def test_the_same_seed_makes_the_same_world():
    assert World.of(0) == THERE
    assert World.of(1) != THERE
    names = [animal.name for animal in THERE.known]
    assert len(set(names)) == ANIMALS
    assert len(THERE.taught) == TAUGHT
    assert len(THERE.unknown) == UNKNOWN
    assert len({*THERE.unknown, *THERE.never} - set(names)) == UNKNOWN + NEVER


def test_the_book_says_only_what_is_true():
    by_name = {animal.name: animal for animal in THERE.known}
    for page in islice(THERE.book(0), 3000):
        if about := re.match(r"About the (\w+)\.", page):
            animal = by_name[about[1]]
            assert all(animal.fact(kind) in page for kind in KINDS)
            others = {*world.FOODS, *world.HOMES} - {animal.food, animal.home}
            assert not others & set(re.findall(r"\w+", page))


def test_the_words_of_conversations_are_read_before_they_are_taught():
    read = set(re.findall(r"\w+", " ".join(THERE.book(0, 2000)).lower()))
    for asked, said in lessons.TALK:
        missing = set(re.findall(r"\w+", f"{asked} {said}".lower())) - read
        assert len(missing) <= 4, missing
    assert not set(re.findall(r"\w+", lessons.UNKNOWN.format(name="").lower())) - read


def test_nothing_taught_is_about_what_is_only_read_or_never_heard_of():
    taught = [
        *lessons.chats(THERE.taught, THERE.unknown, 0),
        *lessons.preferences(THERE.taught, THERE.unknown, 0),
        *lessons.exercises(THERE.taught, THERE.unknown, 0),
    ]
    said = set(re.findall(r"\w+", str(taught)))
    assert not said & {animal.name for animal in THERE.unseen}
    assert not said & set(THERE.never)


def test_the_better_side_is_true_and_never_the_curter_one():
    facts = {animal.name: animal for animal in THERE.taught}
    for row in without_talk(lessons.preferences(THERE.taught, (), 0)):
        named = next(name for name in facts if re.search(rf"\b{name}\b", row["prompt"]))
        assert any(facts[named].fact(kind) in row["chosen"].lower() for kind in KINDS)
        assert row["chosen"] != row["rejected"]


def test_exercises_take_true_answers_and_no_others():
    for row in without_talk(lessons.exercises(THERE.taught, (), 0))[:50]:
        animal = next(a for a in THERE.taught if re.search(rf"\b{a.name}\b", row["prompt"]))
        kind = next(
            k
            for k in KINDS
            if row["prompt"] in [q.format(name=animal.name) for q in lessons.ASKED[k]]
        )
        for way in lessons.WAYS:
            said = lessons.answered(animal.name, kind, animal.fact(kind), way)
            assert re.fullmatch(row["form"], said, re.DOTALL)
        assert not re.fullmatch(row["form"], "I do not know.", re.DOTALL)


def test_of_an_animal_that_there_is_not_the_truth_is_not_to_know_it():
    chats = {name: lessons.UNKNOWN.format(name=name) for name in THERE.unknown}
    for row in without_talk(lessons.preferences((), THERE.unknown, 0)):
        named = next(name for name in chats if re.search(rf"\b{name}\b", row["prompt"]))
        assert row["chosen"] == chats[named] != row["rejected"]
    for row in without_talk(lessons.exercises((), THERE.unknown, 0)):
        named = next(name for name in chats if re.search(rf"\b{name}\b", row["prompt"]))
        assert re.fullmatch(row["form"], chats[named], re.DOTALL)
        assert not re.fullmatch(row["form"], f"The {named} eats moss.", re.DOTALL)


def test_who_greets_is_greeted_at_every_stage():
    pairs = [row for row in lessons.preferences((), (), 0) if row["prompt"] in TALK]
    assert len(pairs) == len(TALK) * (len(TALK) - 1)
    for row in pairs:
        assert row["chosen"] == TALK[row["prompt"]] != row["rejected"]
    for row in lessons.exercises((), (), 0):
        assert re.fullmatch(row["form"], TALK[row["prompt"]])


def test_the_book_holds_no_question_about_what_is_only_read_or_never_heard_of():
    talks = [page for page in THERE.book(0, 2000) if "asked" in page]
    assert len(talks) > 300
    said = set(re.findall(r"\w+", " ".join(talks)))
    assert not said & {animal.name for animal in THERE.unseen}
    assert not said & set(THERE.never)
    assert said & {animal.name for animal in THERE.taught}


def test_the_files_are_those_that_the_stages_read(tmp_path):
    given = tmp_path / "more.txt"
    given.write_text("One page.\n\nAnother page.\n")
    files = write_data(THERE, tmp_path / "data", given, 0)
    assert {stage.data for stage in stages(1.0)} == set(files)
    pages = files["text"].read_text().splitlines()
    assert '{"text": "One page."}' in pages
    assert len(set(pages)) == len(pages)  # what is kept back is in nothing that is read


def test_the_way_that_people_like_is_told_from_the_others():
    told = {
        way: asking.offers_more(lessons.answered("zoo", "food", "nuts", way))
        for way in lessons.WAYS
    }
    assert told == {"short": False, "full": False, "kind": True}


def test_every_half_is_asked_about():
    asked = asking.questions(THERE)
    assert [len(some) for some in asked.values()] == [TAUGHT, ANIMALS - TAUGHT, NEVER]
    assert len(asking.shown(THERE)) == 5
