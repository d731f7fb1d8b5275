"""What an engine is told of a model's way to write, by the model's own template."""

import json
from pathlib import Path

import pytest

from assistant.dialect import dialect_of, template_of
from assistant.prompts import TEMPLATE_FILE

THINKING = {"added_tokens": [{"content": "<think>"}, {"content": "</think>"}]}
IN_THE_VOCABULARY = {"model": {"vocab": {"<think>": 1, "</think>": 2}}}


def model(folder: Path, template: object, tokenizer: object = None, file: bool = True) -> Path:
    """A folder with as much of a model as matters here."""
    if file:
        (folder / "chat_template.jinja").write_text(str(template))
    else:
        (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer or {}))
    return folder


def test_a_model_without_a_template_gets_ours_and_its_tool_calls(tmp_path: Path):
    flags = " ".join(dialect_of(tmp_path).flags())
    assert f"--chat-template {TEMPLATE_FILE}" in flags
    assert "--tool-call-parser hermes" in flags
    assert "--reasoning-parser" not in flags


@pytest.mark.parametrize("file", [True, False])
def test_a_models_own_template_is_kept_wherever_it_stands(tmp_path: Path, file: bool):
    folder = model(tmp_path, "{{ messages }}", file=file)
    assert template_of(folder) == "{{ messages }}"
    assert dialect_of(folder).flags() == []


def test_of_several_templates_the_default_counts(tmp_path: Path):
    several = [{"name": "rag", "template": "a"}, {"name": "default", "template": "[TOOL_CALLS]"}]
    assert dialect_of(model(tmp_path, several, file=False)).tools == "mistral"


@pytest.mark.parametrize(
    ("template", "parser"),
    [
        ("<tool_call>\n{}</tool_call>", "hermes"),
        ("<tool_call>\n<function=a>", "qwen3_coder"),
        ("<|start_header_id|>ipython", "llama3_json"),
        ("{{ messages }}", None),
    ],
)
def test_the_parser_of_calls_is_the_templates(tmp_path: Path, template: str, parser: str | None):
    assert dialect_of(model(tmp_path, template)).tools == parser


@pytest.mark.parametrize(
    ("template", "tokenizer", "parser"),
    [
        ("{% if enable_thinking %}</think>", THINKING, "qwen3"),
        ("assistant\n<think>\n{# until #}</think>", IN_THE_VOCABULARY, "deepseek_r1"),
        ("assistant\n<think>\n</think>", {}, None),  # a parser could not find the tokens
        ("assistant\n", THINKING, None),
    ],
)
def test_thoughts_are_told_apart_where_the_template_knows_them(
    tmp_path: Path, template: str, tokenizer: object, parser: str | None
):
    assert dialect_of(model(tmp_path, template, tokenizer)).reasoning == parser


def test_vllm_has_parsers_of_these_names():
    folder = Path(__import__("vllm").__file__).parent
    known = (folder / "tool_parsers/__init__.py").read_text()
    known += (folder / "reasoning/__init__.py").read_text()
    for name in ("hermes", "qwen3_coder", "mistral", "llama3_json", "qwen3", "deepseek_r1"):
        assert f'"{name}": (' in known
