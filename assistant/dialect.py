"""How a version marks thoughts and tool calls in its text, read off its own chat template.

vLLM separates them from the answer with parsers, which it wants to be told by name.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assistant.errors import ModelError
from assistant.prompts import TEMPLATE_FILE

TEMPLATE = "chat_template.jinja"
TOOLS = (  # a mark in the template, vLLM's parser of such calls, and the token that one looks for
    ("<function=", "qwen3_coder", "<tool_call>"),
    ("<tool_call>", "hermes", None),
    ("[TOOL_CALLS]", "mistral", "[TOOL_CALLS]"),
    ("<|python_tag|>", "llama3_json", "<|python_tag|>"),
    ("ipython", "llama3_json", "<|python_tag|>"),
)
THINK, THOUGHT = "<think>", "</think>"
THINKER = "qwen3"  # vLLM's parser of thoughts between these
THINKS_NO_MORE = re.compile(r"<think>(\s|\\n)*</think>(\s|\\n)*['\"]")  # written before the answer
SWITCH = "enable_thinking"


@dataclass(frozen=True)
class Dialect:
    """What an engine has to be told of a model's way to write."""

    own_template: bool
    """Whether the model brings a chat template; without one it gets ours."""
    tools: str | None
    """vLLM's parser of tool calls; None where the template shows a model no tools."""
    reasoning: str | None
    """vLLM's parser of thoughts; None for a model that answers at once."""

    def flags(self) -> list[str]:
        """The same for vLLM's command line."""
        flags = [] if self.own_template else ["--chat-template", str(TEMPLATE_FILE)]
        if self.tools:
            flags += ["--enable-auto-tool-choice", "--tool-call-parser", self.tools]
            flags += ["--tool-strict-level", "parameter"]  # arguments keep to their schema
        return flags + (["--reasoning-parser", self.reasoning] if self.reasoning else [])


def dialect_of(folder: Path) -> Dialect:
    """The dialect of the model in a folder. Raises ModelError for a broken template."""
    own = _templates(folder)
    text = "\n".join(own.values()) or TEMPLATE_FILE.read_text(encoding="utf-8")
    return Dialect(bool(own), _tools(folder, text), _reasoning(folder, text))


def template_of(folder: Path) -> str | None:
    """A model's own chat template, if it brings one; of several the default."""
    return _templates(folder).get("default")


def _templates(folder: Path) -> dict[str, str]:
    """By name; in a file, or, as it used to be, among the tokenizer's settings."""
    file = folder / TEMPLATE
    try:
        if file.is_file():
            return {"default": file.read_text(encoding="utf-8")}
        file = folder / "tokenizer_config.json"
        found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        return _named(found.get("chat_template"))
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise ModelError(f"{file} is unreadable ({error}); restore it.") from None


def _named(templates: Any) -> dict[str, str]:
    if isinstance(templates, list):
        return {str(one["name"]): str(one["template"]) for one in templates}
    return {"default": str(templates)} if templates else {}


def _tools(folder: Path, template: str) -> str | None:
    for mark, parser, token in TOOLS:
        if mark in template and (token is None or _has_token(folder, token)):
            return parser
    return None


def _reasoning(folder: Path, template: str) -> str | None:
    marked = THOUGHT in template and _has_token(folder, THINK) and _has_token(folder, THOUGHT)
    never = SWITCH not in template and THINKS_NO_MORE.search(template)
    return THINKER if marked and not never else None


def _has_token(folder: Path, token: str) -> bool:
    """Whether a tokenizer spells a text by one token; its file is large, and only searched."""
    file = folder / "tokenizer.json"
    return file.is_file() and json.dumps(token).encode() in file.read_bytes()
