"""Markdown: what models and people write is shown, never run and never fetched."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from assistant.page.markdown import harmless

READER = MarkdownIt("commonmark", {"html": True}).enable("table")
BITS = st.sampled_from(
    [
        *("`", "``", "```", "~~~", "\\", "![x](http://e.example/x.png)", "<img src=x>", "<b>"),
        *(
            "\n",
            "\n\n",
            " ",
            "    ",
            "\t",
            "> ",
            "- ",
            "1. ",
            "|",
            "|-|\n",
            "a",
            "[",
            "](u)",
            "\r",
            "\x0b",
        ),
        *("<http://e.example/`>", "<!--", "-->", "&lt;", "\u2028"),
    ]
)


def dangers(text: str) -> list[str]:
    """What a reader of Markdown would make of it beside text: HTML, and what is fetched."""
    tokens = READER.parse(text)
    every = [*tokens, *(child for token in tokens for child in token.children or ())]
    return [t.type for t in every if t.type in ("image", "html_inline", "html_block")]


@settings(max_examples=1000)
@given(st.lists(BITS, max_size=14).map("".join))
def test_nothing_becomes_html_or_an_image(text: str):
    assert dangers(harmless(text)) == []


@pytest.mark.parametrize(
    "text",
    [
        "a ``` ![x](http://e.example/x.png)",
        "\\`![x](http://e.example/x.png)`",
        "a ~~~ <img src=http://e.example/x.png>",
        "- a ` b\n- ![x](http://e.example/x.png) ` c",
        "<http://a`> ![x](http://e.example/x.png) `",
    ],
)
def test_what_only_looks_like_code_is_made_harmless(text: str):
    assert dangers(text)
    assert dangers(harmless(text)) == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<script>x</script>", "&lt;script>x&lt;/script>"),
        ("a < b", "a &lt; b"),
        ("![cat](http://evil.example/x.png)", "!\\[cat](http://evil.example/x.png)"),
        ("`<b>` and <b>", "`<b>` and &lt;b>"),
        ("```html\n<b>\n```\n<b>", "```html\n<b>\n```\n&lt;b>"),
        ("```\n<b> unfinished", "```\n<b> unfinished"),
        ("~~~\n<i>\n~~~\n<i>", "~~~\n<i>\n~~~\n&lt;i>"),
        ("`half <b>\nnext` <b>", "`half <b>\nnext` &lt;b>"),
        ("- step:\n  ```\n  a < b\n  ```\n- <b>", "- step:\n  ```\n  a < b\n  ```\n- &lt;b>"),
        ("> `a < b` <\n\n1. `![x]` ![", "> `a < b` &lt;\n\n1. `![x]` !\\["),
        ("|`a<b`|\n|-|\n|`<`|", "|`a<b`|\n|-|\n|`<`|"),
        ("**bold** 好", "**bold** 好"),
    ],
)
def test_tags_outside_code_become_text(text: str, shown: str):
    assert harmless(text) == shown
