"""The ground rules of requests: no unknown fields, no guessed types, errors in one sentence."""

from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import ErrorDetails

from assistant.errors import Invalid

Sent = TypeVar("Sent", bound="Strict")
WORDS = {
    "missing": "is required",
    "string_type": "must be a string",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "literal_error": "must be one of: {expected}",
    "less_than_equal": "may be at most {le}",
    "less_than": "must be less than {lt}",
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be more than {gt}",
    "too_short": "must have at least {min_length} entries",
    "too_long": "may have at most {max_length} entries",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "may have at most {max_length} characters",
}


class Strict(BaseModel):
    """A JSON object of which we know every field; null means not given."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)
    refused: ClassVar[Mapping[str, str]] = {}
    """Fields that clients may know from elsewhere, and why they are not honoured here."""

    @model_validator(mode="before")
    @classmethod
    def _null_is_not_given(cls, body: Any) -> Any:
        if not isinstance(body, dict):
            return body
        return {name: value for name, value in body.items() if value is not None}

    @classmethod
    def read(cls: type[Sent], body: dict[str, Any]) -> Sent:
        """The request in `body`; Invalid names the first field that cannot be honoured."""
        for name, why in cls.refused.items():
            if body.get(name) is not None:
                raise Invalid(f"{name!r} is refused: {why}.", name)
        try:
            return cls.model_validate(body)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise Invalid(_sentence(first), _param(first)) from None

    def given(self, *names: str) -> dict[str, Any]:
        """Some of the fields, as JSON, without those that were not sent."""
        return self.model_dump(mode="json", by_alias=True, include=set(names), exclude_unset=True)


def _param(error: ErrorDetails) -> str:
    """Where it is, as OpenAI names it: messages[0].content."""
    path = ""
    for step in error["loc"]:
        if isinstance(step, str) and not step.islower():
            continue  # which of several forms was tried; our fields are in lower case
        path += f"[{step}]" if isinstance(step, int) else f".{step}"
    return path.removeprefix(".")


def _sentence(error: ErrorDetails) -> str:
    param, limits = _param(error), error.get("ctx", {})
    kind = error["type"]
    if kind == "extra_forbidden":
        return f"Unrecognized request argument supplied: {param}."
    if kind == "value_error":
        return f"{param!r}: {limits['error']}"
    if kind in WORDS:
        return f"{param!r} {WORDS[kind].format(**limits)}."
    return f"{param!r}: {error['msg'][:1].lower()}{error['msg'][1:]}."
