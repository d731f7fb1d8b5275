"""What an engine is told of a model's way to write, by the model's own template."""

import json
from pathlib import Path

import pytest

from assistant.dialect import dialect_of, template_of
from assistant.errors import ModelError
from assistant.prompts import TEMPLATE_FILE

MARKS = ("<think>", "</think>")


def model(folder: Path, template: object, *tokens: str, file: bool = True) -> Path:
    """A folder with as much of a model as matters here."""
    if file:
        (folder / "chat_template.jinja").write_text(str(template))
    else:
        (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))
    added = [{"content": token} for token in tokens]
    (folder / "tokenizer.json").write_text(json.dumps({"added_tokens": added}))
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


def test_of_several_templates_the_default_is_the_models_and_any_may_show_tools(tmp_path: Path):
    several = [
        {"name": "default", "template": "plain"},
        {"name": "tool_use", "template": "<tool_call>"},
    ]
    folder = model(tmp_path, several, file=False)
    assert template_of(folder) == "plain"
    assert dialect_of(folder).tools == "hermes"


@pytest.mark.parametrize(
    ("template", "tokens", "parser"),
    [
        ("<tool_call>\n{}</tool_call>", (), "hermes"),
        ("<tool_call>\n<function=a>", ("<tool_call>",), "qwen3_coder"),
        ("<|start_header_id|>ipython", ("<|python_tag|>",), "llama3_json"),
        ("<|start_header_id|>ipython", (), None),  # its parser would keep the engine from starting
        ("[TOOL_CALLS]", ("[TOOL_CALLS]",), "mistral"),
        ("{{ messages }}", (), None),
    ],
)
def test_the_parser_of_calls_is_the_templates(
    tmp_path: Path, template: str, tokens: tuple[str, ...], parser: str | None
):
    assert dialect_of(model(tmp_path, template, *tokens)).tools == parser


@pytest.mark.parametrize(
    ("template", "tokens", "parser"),
    [
        ("{% if not enable_thinking %}<think>\\n\\n</think>\\n\\n'", MARKS, "qwen3"),
        ("assistant\\n<think>\\n' {# until </think> #}", MARKS, "qwen3"),
        ("assistant\\n<think>\\n\\n</think>\\n\\n'", MARKS, None),  # it never thinks
        ("assistant\\n<think>\\n</think>", (), None),  # a parser could not find the tokens
        ("assistant\\n", MARKS, None),
    ],
)
def test_thoughts_are_told_apart_where_the_template_knows_them(
    tmp_path: Path, template: str, tokens: tuple[str, ...], parser: str | None
):
    assert dialect_of(model(tmp_path, template, *tokens)).reasoning == parser


@pytest.mark.parametrize("text", ["{", "[]", '{"chat_template": [{"name": 1}]}'])
def test_broken_settings_are_one_sentence(tmp_path: Path, text: str):
    (tmp_path / "tokenizer_config.json").write_text(text)
    with pytest.raises(ModelError, match=r"tokenizer_config\.json is unreadable"):
        dialect_of(tmp_path)


def test_vllm_has_parsers_of_these_names():
    folder = Path(__import__("vllm").__file__).parent
    known = (folder / "tool_parsers/__init__.py").read_text()
    known += (folder / "reasoning/__init__.py").read_text()
    for name in ("hermes", "qwen3_coder", "mistral", "llama3_json", "qwen3"):
        assert f'"{name}": (' in known
