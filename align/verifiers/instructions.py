"""Whether an answer follows the instructions of its prompt, by rule.

The kinds and their arguments are IFEval's (Zhou et al. 2023, arXiv 2311.07911). Some are judged by
simpler means than there, so that scores are near but not equal: sentences by their marks, words in
capitals by their letters, languages by py3langid; what is to be lower or upper case may be in any
language, and a paragraph may begin with marks of emphasis.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from assistant.errors import Invalid

FENCE = re.compile(r"^```(?:json)?\s*|\s*```$", re.IGNORECASE)
SENTENCE_END = re.compile(r"[.!?]+[\"'”’)\]]*(?:\s|$)|[。！？]+")
BULLET = re.compile(r"^\s*(?:\*[^*]|-)", re.MULTILINE)
HIGHLIGHT = re.compile(r"\*\*([^*\n]+)\*\*|\*([^*\n]+)\*")
TITLE = re.compile(r"<<([^\n]+?)>>")
ANSWERS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
POSTSCRIPTS = {"P.S.": r"p\.\s?s\.", "P.P.S": r"p\.\s?p\.\s?s"}
TWICE = "******"

Check = Callable[..., bool]
_checks: dict[str, Check] = {}


def strictly(kinds: Sequence[str], arguments: Sequence[Mapping[str, Any]], answer: str) -> bool:
    """Whether every instruction is followed; `arguments` go with `kinds`, in order.

    Raises Invalid for a kind that is not known.
    """
    if unknown := [kind for kind in kinds if kind not in _checks]:
        raise Invalid(f"{unknown[0]!r} is no kind of instruction; known are {', '.join(_checks)}.")
    return bool(answer.strip()) and all(
        _checks[kind](answer, **{name: value for name, value in given.items() if value is not None})
        for kind, given in zip(kinds, arguments, strict=True)
    )


def loosely(kinds: Sequence[str], arguments: Sequence[Mapping[str, Any]], answer: str) -> bool:
    """The same, where a first or last line beside the point and marks of emphasis do not count.

    Each instruction may be followed without another of these, as in IFEval's loose score.
    """
    lines = answer.split("\n")
    cut = ["\n".join(part).strip() for part in (lines, lines[1:], lines[:-1], lines[1:-1])]
    forms = [form for text in cut for form in (text, text.replace("*", ""))]
    return all(
        any(strictly([kind], [given], form) for form in forms)
        for kind, given in zip(kinds, arguments, strict=True)
    )


def known(kinds: Sequence[str]) -> bool:
    """Whether all of these instructions can be checked."""
    return all(kind in _checks for kind in kinds)


def _check(kind: str) -> Callable[[Check], Check]:
    def keep(check: Check) -> Check:
        _checks[kind] = check
        return check

    return keep


def _related(number: int, relation: str, wanted: int) -> bool:
    return number >= wanted if relation == "at least" else number < wanted


def _in_a_row(parts: Sequence[str]) -> bool:
    """Whether none is empty but perhaps the first and the last."""
    return all(parts[1:-1])


@_check("punctuation:no_comma")
def _no_comma(answer: str) -> bool:
    return "," not in answer


@_check("length_constraints:number_words")
def _words(answer: str, num_words: int, relation: str) -> bool:
    return _related(len(re.findall(r"\w+", answer)), relation, num_words)


@_check("length_constraints:number_sentences")
def _sentences(answer: str, num_sentences: int, relation: str) -> bool:
    parts = [part for part in SENTENCE_END.split(answer) if part.strip()]
    return _related(len(parts), relation, num_sentences)


@_check("length_constraints:number_paragraphs")
def _paragraphs(answer: str, num_paragraphs: int) -> bool:
    parts = [part.strip() for part in re.split(r"\s?\*\*\*\s?", answer)]
    return _in_a_row(parts) and len([part for part in parts if part]) == num_paragraphs


@_check("length_constraints:nth_paragraph_first_word")
def _nth_paragraph(answer: str, num_paragraphs: int, nth_paragraph: int, first_word: str) -> bool:
    parts = [part.strip() for part in re.split(r"\n\s*\n", answer) if part.strip()]
    if len(parts) != num_paragraphs or nth_paragraph > num_paragraphs:
        return False
    word = parts[nth_paragraph - 1].split()[0].strip("\"'.,!?;:*")
    return word.lower() == first_word.lower()


@_check("keywords:existence")
def _existence(answer: str, keywords: Sequence[str]) -> bool:
    return all(keyword.lower() in answer.lower() for keyword in keywords)


@_check("keywords:forbidden_words")
def _forbidden(answer: str, forbidden_words: Sequence[str]) -> bool:
    return not any(re.search(rf"\b{re.escape(w)}\b", answer, re.I) for w in forbidden_words)


@_check("keywords:frequency")
def _frequency(answer: str, keyword: str, frequency: int, relation: str) -> bool:
    return _related(answer.lower().count(keyword.lower()), relation, frequency)


@_check("keywords:letter_frequency")
def _letters(answer: str, letter: str, let_frequency: int, let_relation: str) -> bool:
    return _related(answer.lower().count(letter.lower()), let_relation, let_frequency)


@_check("change_case:english_lowercase")
def _lower(answer: str) -> bool:
    return answer.islower()


@_check("change_case:english_capital")
def _upper(answer: str) -> bool:
    return answer.isupper()


@_check("change_case:capital_word_frequency")
def _capital_words(answer: str, capital_frequency: int, capital_relation: str) -> bool:
    words = [word for word in re.findall(r"[\w'-]+", answer) if word.isupper()]
    return _related(len(words), capital_relation, capital_frequency)


@_check("startend:quotation")
def _quoted(answer: str) -> bool:
    text = answer.strip()
    return len(text) > 1 and text[0] == text[-1] == '"'


@_check("startend:end_checker")
def _ends(answer: str, end_phrase: str) -> bool:
    return answer.strip().strip('"').lower().endswith(end_phrase.strip().lower())


@_check("combination:repeat_prompt")
def _repeats(answer: str, prompt_to_repeat: str) -> bool:
    return answer.strip().lower().startswith(prompt_to_repeat.strip().lower())


@_check("combination:two_responses")
def _two(answer: str) -> bool:
    parts = [part.strip() for part in answer.split(TWICE)]
    whole = [part for part in parts if part]
    return _in_a_row(parts) and len(whole) == 2 and whole[0] != whole[1]


@_check("detectable_format:number_bullet_lists")
def _bullets(answer: str, num_bullets: int) -> bool:
    return len(BULLET.findall(answer)) == num_bullets


@_check("detectable_format:number_highlighted_sections")
def _highlights(answer: str, num_highlights: int) -> bool:
    found = ["".join(parts).strip() for parts in HIGHLIGHT.findall(answer)]
    return len([part for part in found if part]) >= num_highlights


@_check("detectable_format:title")
def _title(answer: str) -> bool:
    return any(title.strip(" <>") for title in TITLE.findall(answer))


@_check("detectable_format:json_format")
def _json(answer: str) -> bool:
    try:
        json.loads(FENCE.sub("", answer.strip()))
    except ValueError:
        return False
    return True


@_check("detectable_format:multiple_sections")
def _sections(answer: str, section_spliter: str, num_sections: int) -> bool:
    return len(re.findall(rf"{re.escape(section_spliter)}\s?\d+", answer)) >= num_sections


@_check("detectable_format:constrained_response")
def _constrained(answer: str) -> bool:
    return any(sentence in answer for sentence in ANSWERS)


@_check("detectable_content:number_placeholders")
def _placeholders(answer: str, num_placeholders: int) -> bool:
    return len(re.findall(r"\[.*?\]", answer)) >= num_placeholders


@_check("detectable_content:postscript")
def _postscript(answer: str, postscript_marker: str) -> bool:
    marker = POSTSCRIPTS.get(postscript_marker, re.escape(postscript_marker))
    return bool(re.search(marker, answer, re.IGNORECASE))


@_check("language:response_language")
def _language(answer: str, language: str) -> bool:
    import py3langid  # noqa: PLC0415 - loads a model

    return bool(py3langid.classify(answer)[0] == language)
