"""Strings: every word of the page in every language."""

import re
from pathlib import Path

import pytest

from assistant.feedback.records import REASONS
from assistant.page import strings
from assistant.page.strings import LANGUAGES, STRINGS, preferred, words

PAGE = Path(strings.__file__).parent


def test_every_string_has_every_language_and_the_same_values():
    for key, texts in STRINGS.items():
        assert len(texts) == len(LANGUAGES), key
        assert all(texts), key
        values = [set(re.findall(r"\{(\w+)\}", text)) for text in texts]
        assert values[0] == values[1], key


def test_every_reason_has_words():
    for choice, reasons in REASONS.items():
        assert all(f"{choice}_{reason}" in STRINGS for reason in reasons)


def test_every_string_is_used_and_every_used_string_exists():
    source = "".join(f.read_text() for f in PAGE.glob("*.py") if f.name != "strings.py")
    used = set(re.findall(r"\bsay\(\s*\"(\w+)\"", source))
    assert used <= set(STRINGS)
    unused = {key for key in STRINGS if not re.search(rf"['\"]{key}['\"]", source)}
    made = {f"{choice}_{reason}" for choice in REASONS for reason in REASONS[choice]}
    made |= {"thanks_up", "thanks_down", *(f"vote_{c}" for c in ("first", "second"))}
    made |= {"vote_tie", "vote_both_bad"}
    assert unused - made == set()


def test_chinese_is_chinese():
    say = words("zh")
    for key in STRINGS:
        if key not in ("title",):
            assert re.search("[\u4e00-\u9fff]", say(key)), key


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("en-US,en;q=0.9", "en"),
        ("de-DE, zh;q=0.5", "zh"),
        ("de", "en"),
        ("", "en"),
    ],
)
def test_the_browsers_language_is_chosen(header: str, language: str):
    assert preferred(header) == language
