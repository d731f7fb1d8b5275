"""POST /v1/chat/completions: what may be sent."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from assistant.api.schemas.functions import JsonSchema, NamedTool, ToolChoice, Tools
from assistant.api.schemas.messages import Name, Talk
from assistant.api.schemas.sampling import Sampled, Tokens
from assistant.api.schemas.strict import Strict

MOST_TOP_LOGPROBS = 5

Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]],
    Field(max_length=16),
]


class NamedSchema(Strict):
    """A JSON schema that the answer keeps to."""

    name: Name
    description: str | None = None
    schema_: JsonSchema = Field({}, alias="schema")
    strict: bool | None = None
    """Accepted; every schema is kept to strictly."""


class ResponseFormat(Strict):
    """Free text, any JSON, or JSON of a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = Field(None, validate_default=True)

    @field_validator("json_schema")
    @classmethod
    def _where_asked_for(
        cls, schema: NamedSchema | None, found: ValidationInfo
    ) -> NamedSchema | None:
        if (found.data.get("type") == "json_schema") != (schema is not None):
            raise ValueError("belongs to the type 'json_schema', and to no other.")
        return schema


class ChatRequest(Talk, Sampled):
    """A request for the next turn of a conversation."""

    refused: ClassVar[Mapping[str, str]] = {
        "functions": "it was replaced by 'tools'",
        "function_call": "it was replaced by 'tool_choice'",
        "modalities": "only text is understood and made",
        "audio": "only text is understood and made",
        "web_search_options": "nothing is searched here",
        "prediction": "predicted outputs are not supported",
        "reasoning_effort": "a model here thinks as long as it wants to, or not at all",
        "verbosity": "say in a message how long the answer should be",
        "service_tier": "there is only one",
    }

    max_completion_tokens: Tokens | None = None
    """The newer name of `max_tokens`; goes first."""
    logprobs: bool | None = None
    """Whether to give the log-probability of each token of the answer."""
    top_logprobs: Annotated[int, Field(ge=0, le=MOST_TOP_LOGPROBS)] | None = None
    """Of how many likely tokens; only with `logprobs`."""
    response_format: ResponseFormat | None = None
    """What form the answer keeps to."""
    tools: Tools | None = None
    """What the answer may call instead of saying something."""
    tool_choice: ToolChoice | None = None
    """Whether it must, or must not, and which; `auto` if not given."""
    parallel_tool_calls: bool | None = None
    """False: one call at most."""
    store: bool = False
    """Whether to keep the completion, so that it can be read, listed and judged by its id."""
    metadata: Metadata | None = None
    """Up to 16 short strings, kept with the completion."""
    prompt_cache_key: Annotated[str, Field(max_length=512)] | None = None
    """Accepted; prompts are cached without it."""

    @field_validator("tool_choice", "parallel_tool_calls")
    @classmethod
    def _only_of_tools(cls, value: Any, found: ValidationInfo) -> Any:
        names = {tool.function.name for tool in found.data.get("tools") or ()}
        if not names:
            raise ValueError("only allowed with 'tools'.")
        if isinstance(value, NamedTool) and value.function.name not in names:
            raise ValueError(f"there is no tool {value.function.name!r} among 'tools'.")
        return value

    def upstream(self) -> dict[str, Any]:
        """What the engine is asked, field by field."""
        return {"messages": self.turns, **self.drawing(), **self.streaming()}

    def texts(self) -> list[str | None]:
        """What the prompt consists of."""
        return [turn["content"] for turn in self.turns]

    def longest(self) -> int | None:
        """The most tokens of one answer, if the request says."""
        return self.max_completion_tokens or self.max_tokens

    def drawing(self) -> dict[str, Any]:
        """How the answer is drawn, as it is noted with it."""
        return self.sampling(
            *("max_completion_tokens", "logprobs", "top_logprobs", "response_format"),
            *("tools", "tool_choice", "parallel_tool_calls"),
        )


class Labels(Strict):
    """What can be changed of a kept completion."""

    metadata: Metadata | None = None
    """Replaces what was there; null removes it."""
