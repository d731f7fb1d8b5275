"""Texts of models and users as Markdown that cannot become HTML or fetch anything.

Where code is, is what a CommonMark parser says; where our reading of its backticks differs from
the parser's, nothing counts as code, so that the worst that happens is code with a mark too many.
"""

import functools
import re
from collections.abc import Iterator

from markdown_it import MarkdownIt
from markdown_it.token import Token

PARSER = MarkdownIt("commonmark", {"html": False}).enable("table")
BLOCKS = ("fence", "code_block")
# What a backslash escapes; or a run of backticks, up to the next of the same length.
SPAN = re.compile(r"\\[!-/:-@\[-`{-~]|(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.DOTALL)
LINE = re.compile(r"[^\n]*\n|[^\n]+")
REMEMBERED = 512  # texts: a conversation is shown again after every answer


def escaped(text: str) -> str:
    """The text with tags shown as written and images as links, code included."""
    return text.replace("<", "&lt;").replace("![", "!\\[")


@functools.lru_cache(REMEMBERED)
def harmless(text: str) -> str:
    """The text with tags shown as written and images as links; code is left as it is."""
    if escaped(text) == text:
        return text
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    lines = LINE.findall(text)  # Markdown knows no other ends
    made, done = [], 0
    for first, end, token in _parts(PARSER.parse(text)):
        part = "".join(lines[first:end])
        made.append(escaped("".join(lines[done:first])))
        made.append(part if token.type in BLOCKS else _around_code(part, token))
        done = end
    return "".join([*made, escaped("".join(lines[done:]))])


def _parts(tokens: list[Token]) -> Iterator[tuple[int, int, Token]]:
    """Code and paragraphs with their first line and the line after them, in order."""
    done = 0
    for token in tokens:
        if token.map and token.type in (*BLOCKS, "inline") and token.map[0] >= done:
            done = token.map[1]
            yield token.map[0], token.map[1], token


def _around_code(text: str, paragraph: Token) -> str:
    """Escaped but for code between backticks."""
    found = list(SPAN.finditer(text))
    ours = [_bare(match[2]) for match in found if match[1]]
    theirs = [_bare(t.content) for t in paragraph.children or () if t.type == "code_inline"]
    if ours != theirs:
        return escaped(text)
    made, done = [], 0
    for match in found:
        if match[1]:
            made += [escaped(text[done : match.start()]), match[0]]
            done = match.end()
    return "".join([*made, escaped(text[done:])])


def _bare(code: str) -> str:
    """Without what a paragraph's indentation, or a quote's mark, adds at the ends of lines."""
    return re.sub(r"[\s>]+", "", code)
