"""Strings: every word of the page in every language."""

import re
from pathlib import Path
from typing import get_args

import pytest

from assistant.feedback.records import PAIR_CHOICES, REASONS
from assistant.page import strings
from assistant.page.strings import LANGUAGES, STRINGS, preferred, words
from assistant.trials import Outcome

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


def put_together() -> set[str]:
    """The keys that the page makes of two parts, such as the outcome of a trial."""
    checks = ("perplexity", "stopped", "refused", "repetition", "tokens", "pair_accuracy")
    kinds = (
        "thumb_up",
        "thumb_down",
        "ranking",
        "correction",
        *(f"pair_{c}" for c in PAIR_CHOICES),
    )
    return {
        *(f"{choice}_{reason}" for choice in REASONS for reason in REASONS[choice]),
        *(f"thanks_{choice}" for choice in REASONS),
        *(f"vote_{choice}" for choice in PAIR_CHOICES),
        *(f"outcome_{outcome}" for outcome in get_args(Outcome)),
        *(f"check_{check}" for check in checks),
        *(f"kind_{kind}" for kind in kinds),
    }


def test_every_string_is_used_and_every_used_string_exists():
    source = "".join(f.read_text() for f in PAGE.glob("*.py") if f.name != "strings.py")
    used = set(re.findall(r"\bsay\(\s*\"(\w+)\"(?! \+)", source))
    assert used | put_together() <= set(STRINGS)
    unused = {key for key in STRINGS if not re.search(rf"['\"]{key}['\"]", source)}
    assert unused - put_together() == set()


def test_chinese_is_chinese():
    english, chinese = words("en"), words("zh")
    for key in STRINGS:
        said = re.sub(r"\{\w+\}", "", english(key))
        if key not in ("title",) and re.search("[A-Za-z]", said):
            assert re.search("[\u4e00-\u9fff]", chinese(key)), key


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
