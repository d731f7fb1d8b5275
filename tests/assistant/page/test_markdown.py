"""Markdown: what models and people write is shown, never run and never fetched."""

import pytest

from assistant.page.markdown import harmless


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<script>x</script>", "&lt;script>x&lt;/script>"),
        ("a < b", "a &lt; b"),
        ("![cat](http://evil.example/x.png)", "!\\[cat](http://evil.example/x.png)"),
        ("`<b>` and <b>", "`<b>` and &lt;b>"),
        ("```html\n<b>\n```\n<b>", "```html\n<b>\n```\n&lt;b>"),
        ("```\n<b> unfinished", "```\n<b> unfinished"),
        ("~~~\n<i>\n~~~ <i>", "~~~\n<i>\n~~~ &lt;i>"),
        ("`half <b>\nnext` <b>", "`half &lt;b>\nnext` &lt;b>"),
        ("**bold** 好", "**bold** 好"),
    ],
)
def test_tags_outside_code_become_text(text: str, shown: str):
    assert harmless(text) == shown
