"""Texts of models and users as Markdown that cannot become HTML or fetch anything."""

import re

CODE = re.compile(r"(```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)|`[^`\n]*`)", re.DOTALL)


def harmless(text: str) -> str:
    """The text with tags shown as written and images as links; code is left as it is."""
    pieces = CODE.split(text)
    return "".join(
        piece if index % 2 else piece.replace("<", "&lt;").replace("![", "!\\[")
        for index, piece in enumerate(pieces)
    )
