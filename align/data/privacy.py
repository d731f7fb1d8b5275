"""Masks what points to a person: addresses, numbers, secrets. Patterns find forms, not names."""

import ipaddress
import re
from collections import Counter
from collections.abc import Callable

URL = re.compile(r"https?://[^\s/@]+:[^\s/@]+@")
EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
CARD = re.compile(  # of the large networks: groups of four, or American Express' 4-6-5
    r"(?<![\d-])(?:[2-6]\d{3}([ -]?)\d{4}\1\d{4}\1\d{4}(?:\1\d{1,3})?"
    r"|3\d{3}([ -]?)\d{6}\2\d{5})(?![\d-])"
)
IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")
ID_CN = re.compile(r"(?<!\d)\d{17}[\dXx](?!\d)")
ADDRESS = re.compile(
    r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9A-Fa-f:]*:[0-9A-Fa-f:]+)(?![\w.:])"
)
PHONE = re.compile(
    r"(?<![A-Za-z0-9_.,/+-])(?:"
    r"\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d(?:[ .-]?\d){6,12}"  # +49 30 123456
    r"|\(\d{3}\) ?\d{3}[ .-]\d{4}|\d{3}[.-]\d{3}[.-]\d{4}"  # in the US
    r"|1[3-9]\d{9}"  # in mainland China
    r")(?![A-Za-z0-9_-])"
)
SECRET = re.compile(
    r"\b(?:sk-[\w-]{16,}|gh[pousr]_\w{20,}|xox[abprs]-[\w-]{10,}|AKIA[0-9A-Z]{16}"
    r"|hf_\w{20,}|eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{5,})"
)


def masked(text: str, counts: Counter[str]) -> str:
    """The text with [email], [phone] … where they stood; `counts` is told how many of each.

    A number is a card or an IBAN only if its check digits are right, and an address only if it is
    a public one, so that 127.0.0.1 and ordinary numbers stay.
    """
    for name, pattern, is_one in KINDS:

        def mark(found: re.Match[str], name: str = name, is_one: Check = is_one) -> str:
            if not is_one(found.group()):
                return found.group()
            counts[name] += 1
            return f"[{name}]"

        text = pattern.sub(mark, text)
    return text


def _is_card(text: str) -> bool:
    """Luhn's check digit."""
    digits = [int(c) for c in text if c.isdigit()]
    doubled = [d * 2 - 9 * (d > 4) for d in digits[-2::-2]]
    return len(set(digits)) > 1 and (sum(doubled) + sum(digits[-1::-2])) % 10 == 0


def _is_iban(text: str) -> bool:
    """ISO 7064, modulo 97."""
    plain = text.replace(" ", "")
    return int("".join(str(int(c, 36)) for c in plain[4:] + plain[:4])) % 97 == 1


def _is_id_cn(text: str) -> bool:
    """The check character of a Chinese resident's number (GB 11643)."""
    weights = [2**i % 11 for i in range(17, 0, -1)]
    rest = sum(w * int(c) for w, c in zip(weights, text, strict=False)) % 11
    return text[17].upper() == "10X98765432"[rest]


def _is_public(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).is_global
    except ValueError:
        return False


def _always(_text: str) -> bool:
    return True


Check = Callable[[str], bool]
KINDS: tuple[tuple[str, re.Pattern[str], Check], ...] = (
    ("password", URL, _always),
    ("secret", SECRET, _always),
    ("email", EMAIL, _always),
    ("id", ID_CN, _is_id_cn),
    ("iban", IBAN, _is_iban),
    ("card", CARD, _is_card),
    ("address", ADDRESS, _is_public),
    ("phone", PHONE, _always),
)
