"""A conversation as training sees it: token ids, and which of them are learnt.

The server renders prompts with the same template file; a test holds both to identical ids.
"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2.exceptions import TemplateError
from transformers import AutoTokenizer

from align import marking
from assistant.errors import ModelError

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


@dataclass(frozen=True)
class Rendered:
    """One conversation. `ids` and `trained` have the same length, in tokens."""

    ids: list[int]
    trained: list[bool]
    """True for the tokens of answers, their end token included."""

    def split(self) -> tuple[list[int], list[int]]:
        """The prompt of the last answer, and that answer with its end token."""
        end = max(i for i, trained in enumerate(self.trained) if trained) + 1
        start = end
        while start and self.trained[start - 1]:
            start -= 1
        return self.ids[:start], self.ids[start:end]


def tokenizer_of(folder: Path) -> Any:
    """The tokenizer of a version, with the chat template that lies beside it; read it only.

    It takes half a second to load, and every part of a training asks for it.
    """
    files = [folder / name for name in TOKENIZER_FILES]
    return _loaded(folder, *(file.stat().st_mtime_ns for file in files if file.is_file()))


@functools.lru_cache(maxsize=4)
def _loaded(folder: Path, *_changed: int) -> Any:
    return AutoTokenizer.from_pretrained(folder)


class Refused(ModelError):
    """A conversation that the chat template does not write, such as one with a system message."""


def render(
    tokenizer: Any, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None = None
) -> Rendered:
    """Render whole turns; what stands between the template's generation tags is trained.

    Without such tags, what goes on from the head of an answer (`align.marking`). Raises ModelError
    where that cannot be told, and Refused for a conversation that the template does not write.
    """
    with _told(tokenizer):
        if not marking.marks(tokenizer.get_chat_template(tools=tools)):
            return Rendered(*marking.answers(tokenizer, messages, tools))
        made = tokenizer.apply_chat_template(
            messages,
            tools=tools,
            tokenize=True,
            return_dict=True,
            return_assistant_tokens_mask=True,
        )
    trained = [bool(m) for m in made["assistant_masks"]]
    if not any(trained):
        raise ModelError(f"The chat template marks no answer; {marking.HELP}")
    return Rendered(list(made["input_ids"]), trained)


def render_prompt(
    tokenizer: Any, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None = None
) -> list[int]:
    """The ids a model is asked to continue: the turns so far and the head of an answer."""
    with _told(tokenizer):
        made = tokenizer.apply_chat_template(
            messages, tools=tools, tokenize=True, return_dict=True, add_generation_prompt=True
        )
    return list(made["input_ids"])


@contextmanager
def _told(tokenizer: Any) -> Iterator[None]:
    """Say in a sentence what a template cannot do."""
    if not tokenizer.chat_template:
        raise ModelError(
            "This model has no chat template, so that it knows no turns; give its folder a "
            "chat_template.jinja (ours is prompts/chat_template.jinja, for a model that knows "
            "<|im_start|> and <|im_end|>) and start from that folder."
        )
    try:
        yield
    except TemplateError as error:
        raise Refused(f"The chat template refuses a conversation ({error}).") from None
