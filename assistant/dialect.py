"""How a version marks thoughts and tool calls in its text, read off its own chat template.

vLLM separates them from the answer with parsers, which it wants to be told by name.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assistant.prompts import TEMPLATE_FILE

TEMPLATE = "chat_template.jinja"
THINK = ("<think>", "</think>")
TOOLS = (  # a mark in the template, and the parser of calls that are written so; the first counts
    ("<function=", "qwen3_coder"),
    ("<tool_call>", "hermes"),
    ("[TOOL_CALLS]", "mistral"),
    ("<|python_tag|>", "llama3_json"),
    ("ipython", "llama3_json"),
)


@dataclass(frozen=True)
class Dialect:
    """What an engine has to be told of a model's way to write."""

    own_template: bool
    """Whether the model brings a chat template; without one it gets ours."""
    tools: str | None
    """vLLM's parser of tool calls; None where the template does not speak of tools."""
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
    """The dialect of the model in a folder."""
    own = template_of(folder)
    template = own or TEMPLATE_FILE.read_text(encoding="utf-8")
    tools = next((parser for mark, parser in TOOLS if mark in template), None)
    return Dialect(own is not None, tools, _reasoning(folder, template))


def template_of(folder: Path) -> str | None:
    """A model's own chat template: a file, or, as it used to be, among the tokenizer's settings."""
    file = folder / TEMPLATE
    if file.is_file():
        return file.read_text(encoding="utf-8")
    found = _read(folder / "tokenizer_config.json").get("chat_template")
    if isinstance(found, list):  # several, by name
        found = {one.get("name"): one.get("template") for one in found}.get("default")
    return found if isinstance(found, str) else None


def _reasoning(folder: Path, template: str) -> str | None:
    if THINK[1] not in template or not _tokens(folder).issuperset(THINK):
        return None  # a parser looks for them as tokens
    return "qwen3" if "enable_thinking" in template else "deepseek_r1"


def _tokens(folder: Path) -> set[str]:
    """Whole texts that are one token each, as far as thoughts may be marked by them."""
    tokenizer = _read(folder / "tokenizer.json")
    added = {token.get("content") for token in tokenizer.get("added_tokens", ())}
    vocabulary = tokenizer.get("model", {}).get("vocab", {})
    return added | ({*THINK} & vocabulary.keys() if isinstance(vocabulary, dict) else set())


def _read(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    found = json.loads(file.read_text(encoding="utf-8"))
    return found if isinstance(found, dict) else {}
