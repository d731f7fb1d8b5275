"""Privacy: what points to a person is masked, and ordinary text stays as it is."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from align.data.privacy import masked


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Write to ann.lee+x@mail.example.org.", "Write to [email]."),
        ("Call +49 30 1234567 now", "Call [phone] now"),
        ("(212) 555-0187 or 212-555-0187", "[phone] or [phone]"),
        ("打13812345678给我", "打[phone]给我"),
        ("card 4111 1111 1111 1111.", "card [card]."),
        ("DE89 3704 0044 0532 0130 00", "[iban]"),
        ("身份证11010519491231002X。", "身份证[id]。"),
        ("from 8.8.8.8 and 2001:4860:4860::8888", "from [address] and [address]"),
        ("https://ann:pass@example.org/", "[password]example.org/"),
        ("key sk-abcdefghijklmnop1234", "key [secret]"),
    ],
)
def test_what_is_masked(text: str, expected: str):
    counts = Counter[str]()
    assert masked(text, counts) == expected
    assert counts.total() == expected.count("[")


@pytest.mark.parametrize(
    "text",
    [
        "In 1984 there were 12345678 people; 3.14159265358979 is pi.",
        "4111 1111 1111 1112 has a wrong check digit",
        "Local 127.0.0.1, 192.168.0.1, version 1.2.3, time 12:30:45, ratio 3:2",
        "def f(x): return x::2, a@b, 2026-11-26 10:00",
        "The numbers 1 2 3 4 5 6 7 8 9 10 11 12 13 are in order.",
        "1,234,567,890.12 and 192837465564738291",
        "ISBN 978-3-16-148410-0",
    ],
)
def test_what_stays(text: str):
    assert masked(text, Counter()) == text


@given(st.text())
def test_masking_twice_is_masking_once(text: str):
    once = masked(text, Counter())
    assert masked(once, Counter()) == once
