"""Instructions that a rule can check: followed, nearly followed, and not known."""

import pytest

from align.verifiers.instructions import known, loosely, strictly
from assistant.errors import Invalid

CASES = [
    ("punctuation:no_comma", {}, "One and two.", "One, two."),
    ("length_constraints:number_words", {"num_words": 3, "relation": "at least"}, "a b c", "a b"),
    ("length_constraints:number_words", {"num_words": 3, "relation": "less than"}, "a b", "a b c"),
    (
        "length_constraints:number_sentences",
        {"num_sentences": 2, "relation": "at least"},
        "It is 3.5 m long. Really!",
        "It is 3.5 m long",
    ),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "a\n***\nb", "a\n\nb"),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "then"},
        "First this.\n\nThen, that.",
        "Then this.\n\nFirst that.",
    ),
    ("keywords:existence", {"keywords": ["Mom", "tea"]}, "tea for mom", "tea for dad"),
    ("keywords:forbidden_words", {"forbidden_words": ["art"]}, "A party", "Modern Art."),
    (
        "keywords:frequency",
        {"keyword": "so", "frequency": 2, "relation": "at least"},
        "So so",
        "So it is",
    ),
    (
        "keywords:letter_frequency",
        {"letter": "!", "let_frequency": 2, "let_relation": "less than"},
        "Yes!",
        "Yes!!",
    ),
    ("change_case:english_lowercase", {}, "all small", "All small"),
    ("change_case:english_capital", {}, "ALL LARGE", "ALL Large"),
    (
        "change_case:capital_word_frequency",
        {"capital_frequency": 1, "capital_relation": "at least"},
        "an EXAMPLE",
        "an Example",
    ),
    ("startend:quotation", {}, '"All of it"', '"Half" of it'),
    ("startend:end_checker", {"end_phrase": "The end."}, "It is over. The END.", "The end. Or not"),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Say it"}, "say it\nDone", "Done: say it"),
    ("combination:two_responses", {}, "One\n******\nTwo", "One\n******\nOne"),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* a\n- b", "* a\n**b**"),
    (
        "detectable_format:number_highlighted_sections",
        {"num_highlights": 2},
        "*one* and **two**",
        "*one* and two",
    ),
    ("detectable_format:title", {}, "<<A title>>\nText", "<< >>\nText"),
    ("detectable_format:json_format", {}, '```json\n{"a": [1]}\n```', '{"a": }'),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "Section", "num_sections": 2},
        "Section 1\na\nSection 2\nb",
        "Section 1\na",
    ),
    ("detectable_format:constrained_response", {}, "My answer is maybe.", "Perhaps."),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[name], [day]", "[name]"),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, "Bye\nP.P.S. Hi", "P.S. Hi"),
    (
        "language:response_language",
        {"language": "de"},
        "Das ist ein langer deutscher Satz über das Wetter.",
        "This is a rather long English sentence about the weather.",
    ),
]


@pytest.mark.parametrize(("kind", "arguments", "followed", "missed"), CASES)
def test_each_kind_tells_what_follows_it_from_what_does_not(kind, arguments, followed, missed):
    assert known([kind])
    assert strictly([kind], [arguments], followed)
    assert not strictly([kind], [arguments], missed)


def test_all_instructions_are_to_be_followed_and_what_is_not_given_is_no_argument():
    kinds = ["punctuation:no_comma", "change_case:english_lowercase"]
    given = [{"num_words": None}, {}]
    assert strictly(kinds, given, "small and plain")
    assert not strictly(kinds, given, "small, not plain")
    assert not strictly(kinds, given, " ")


def test_a_line_beside_the_point_counts_only_strictly():
    kinds, given = ["startend:quotation"], [{}]
    answer = 'Sure, here it is:\n"All of it"'
    assert not strictly(kinds, given, answer)
    assert loosely(kinds, given, answer)
    assert not loosely(kinds, given, "Sure:\nAll of it")


def test_each_instruction_may_be_followed_in_a_form_of_its_own():
    kinds = ["punctuation:no_comma", "detectable_format:number_highlighted_sections"]
    answer = "Sure, here:\n*One* and *two*"
    assert loosely(kinds, [{}, {"num_highlights": 2}], answer)
    assert not loosely(kinds, [{}, {"num_highlights": 3}], answer)


@pytest.mark.parametrize("kind", ["combination:two_responses"])
def test_nothing_between_two_marks_is_no_response(kind: str):
    assert strictly([kind], [{}], "******\nOne\n******\nTwo\n******")
    assert not strictly([kind], [{}], "One\n******\n******\nTwo")


def test_chinese_sentences_need_no_space_between_them():
    wanted = {"num_sentences": 3, "relation": "at least"}
    assert strictly(["length_constraints:number_sentences"], [wanted], "一。二！三？")


def test_a_kind_that_is_not_known_is_refused_in_words():
    assert not known(["style:pirate"])
    with pytest.raises(Invalid, match="'style:pirate' is no kind of instruction; known are punct"):
        strictly(["style:pirate"], [{}], "Arr")
