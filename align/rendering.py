"""A conversation as training sees it: token ids, and which of them are learnt.

The server renders prompts with the same template file; a test holds both to identical ids.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer


@dataclass(frozen=True)
class Rendered:
    """One conversation. `ids` and `trained` have the same length, in tokens."""

    ids: list[int]
    trained: list[bool]
    """True for the tokens of answers, their end token included."""


def tokenizer_of(folder: Path) -> Any:
    """The tokenizer of a version, with the chat template that lies beside it."""
    return AutoTokenizer.from_pretrained(folder)


def render(tokenizer: Any, messages: list[dict[str, str]]) -> Rendered:
    """Render whole turns; what stands between the template's generation tags is trained."""
    made = tokenizer.apply_chat_template(
        messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    return Rendered(list(made["input_ids"]), [bool(m) for m in made["assistant_masks"]])


def render_prompt(tokenizer: Any, messages: list[dict[str, str]]) -> list[int]:
    """The ids a model is asked to continue: the turns so far and the head of an answer."""
    made = tokenizer.apply_chat_template(
        messages, tokenize=True, return_dict=True, add_generation_prompt=True
    )
    return list(made["input_ids"])
