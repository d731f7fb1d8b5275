"""POST /v1/responses: what may be sent."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag, ValidationInfo, field_validator

from assistant.access.ledger import estimated
from assistant.api.schemas.chat import MOST_TOP_LOGPROBS, Metadata
from assistant.api.schemas.functions import MOST_TOOLS, JsonSchema
from assistant.api.schemas.items import Items, turns_of
from assistant.api.schemas.messages import Name
from assistant.api.schemas.sampling import LIKELY_TOKENS, Tokens
from assistant.api.schemas.strict import Strict
from assistant.fleet import ALIAS

LOGPROBS = "message.output_text.logprobs"


class FunctionTool(Strict):
    """A function that the answer may call."""

    type: Literal["function"]
    name: Name
    description: Annotated[str, Field(max_length=4096)] | None = None
    """When to call it, in words for the model."""
    parameters: JsonSchema | None = None
    """A JSON schema of its arguments."""
    strict: bool | None = None
    """Accepted; where a call is required, its arguments always keep to the schema."""


class ChosenFunction(Strict):
    """The function that must be called."""

    type: Literal["function"]
    name: Name


class TextFormat(Strict):
    """What form the text keeps to."""

    type: Literal["text", "json_object", "json_schema"]
    name: Name | None = None
    description: str | None = None
    schema_: JsonSchema | None = Field(None, alias="schema")
    strict: bool | None = None
    """Accepted; every schema is kept to strictly."""


class TextOptions(Strict):
    """How the text is to be."""

    format: TextFormat = Field(default_factory=lambda: TextFormat.model_validate({"type": "text"}))


class Streaming(Strict):
    """What a stream holds besides the answer."""

    include_obfuscation: bool = False
    """Accepted; nothing is added to events here."""


def _choice_form(choice: Any) -> str:
    return "Word" if isinstance(choice, str) else "Chosen"


Choice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("Word")]
    | Annotated[ChosenFunction, Tag("Chosen")],
    Discriminator(_choice_form),
]


def _input_form(given: Any) -> str:
    return "Text" if isinstance(given, str) else "Items"


Input = Annotated[
    Annotated[Annotated[str, Field(min_length=1)], Tag("Text")] | Annotated[Items, Tag("Items")],
    Discriminator(_input_form),
]


class ResponseRequest(Strict):
    """A request for a response, which may go on from an earlier one."""

    refused: ClassVar[Mapping[str, str]] = {
        "conversation": "go on from a response with 'previous_response_id'",
        "prompt": "send the text itself, as 'instructions' and 'input'",
        "reasoning": "a model here thinks as long as it wants to, or not at all",
        "max_tool_calls": "no tools run on this server",
        "context_management": "send what the model is to know",
    }

    model: Annotated[str, Field(min_length=1, max_length=200)] = ALIAS
    """`assistant` (the current version), or the name of a served version."""
    input: Input
    """A text, or the conversation so far."""
    instructions: str | None = None
    """The system message; those of an earlier response are not taken over."""
    previous_response_id: Annotated[str, Field(max_length=200)] | None = None
    """The stored response whose conversation this goes on with."""
    max_output_tokens: Tokens | None = None
    """The most tokens of the answer; without it, what the context has room for."""
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    """0 always takes the likeliest token; 1 if not given."""
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    """The share of likelihood that is drawn from."""
    text: TextOptions = Field(default_factory=TextOptions)
    tools: Annotated[list[FunctionTool], Field(default_factory=list, max_length=MOST_TOOLS)]
    """What the answer may call instead of saying something."""
    tool_choice: Choice = "auto"
    """Whether it must, or must not, and which."""
    parallel_tool_calls: bool = True
    """False: one call at most."""
    stream: bool = False
    """Whether the answer comes event by event."""
    stream_options: Streaming | None = None
    background: bool = False
    """Whether to answer at once, and work on; ask for the response until it is done."""
    store: bool = True
    """Whether to keep the response, so that it can be read, gone on from, and judged by its id."""
    metadata: Metadata | None = None
    """Up to 16 short strings, kept with the response."""
    include: Annotated[list[Literal["message.output_text.logprobs"]], Field(default_factory=list)]
    """What else to give."""
    top_logprobs: Annotated[int, Field(ge=0, le=MOST_TOP_LOGPROBS)] | None = None
    """Of how many likely tokens log-probabilities are given."""
    truncation: Literal["disabled"] = "disabled"
    """A prompt that is too long is refused."""
    service_tier: Literal["auto", "default"] | None = None
    """Accepted; there is only one."""
    user: Annotated[str, Field(max_length=512)] | None = None
    """Accepted and not passed on."""
    safety_identifier: Annotated[str, Field(max_length=512)] | None = None
    """Accepted and not passed on."""
    prompt_cache_key: Annotated[str, Field(max_length=512)] | None = None
    """Accepted; prompts are cached without it."""

    @field_validator("tool_choice")
    @classmethod
    def _of_these_tools(cls, choice: Any, found: ValidationInfo) -> Any:
        names = {tool.name for tool in found.data.get("tools", ())}
        if choice == "required" and not names:
            raise ValueError("only allowed with 'tools'.")
        if isinstance(choice, ChosenFunction) and choice.name not in names:
            raise ValueError(f"there is no tool {choice.name!r} among 'tools'.")
        return choice

    @field_validator("store")
    @classmethod
    def _kept_where_it_must_be(cls, store: bool, found: ValidationInfo) -> bool:
        if found.data.get("background") and not store:
            raise ValueError("a response made in the background must be stored.")
        return store

    @field_validator("background")
    @classmethod
    def _one_way_to_hear_of_it(cls, background: bool, found: ValidationInfo) -> bool:
        if background and found.data.get("stream"):
            raise ValueError("a response is streamed, or made in the background.")
        return background

    @property
    def own_turns(self) -> list[dict[str, Any]]:
        """What this request adds to the conversation."""
        if isinstance(self.input, str):
            return [{"role": "user", "content": self.input}]
        return turns_of(self.input)

    def asking(self, before: list[dict[str, Any]]) -> "AskedResponse":
        """The request, after the turns of the response it goes on from."""
        system = [{"role": "system", "content": self.instructions}] if self.instructions else []
        return AskedResponse(self, system + before + self.own_turns)

    def drawing(self) -> dict[str, Any]:
        """How the answer is drawn, in the words of chat completions."""
        drawn = self.given("temperature", "top_p")
        if self.max_output_tokens:
            drawn["max_completion_tokens"] = self.max_output_tokens
        if LOGPROBS in self.include or self.top_logprobs:
            drawn |= {"logprobs": True, "top_logprobs": self.top_logprobs or 0}
        return drawn | self._format() | self._tools()

    def _format(self) -> dict[str, Any]:
        form = self.text.format
        if form.type == "text":
            return {}
        if form.type == "json_object":
            return {"response_format": {"type": "json_object"}}
        schema = {"name": form.name or "answer", "schema": form.schema_ or {}}
        return {"response_format": {"type": "json_schema", "json_schema": schema}}

    def _tools(self) -> dict[str, Any]:
        if not self.tools:
            return {}
        tools = [
            {"type": "function", "function": tool.given("name", "description", "parameters")}
            for tool in self.tools
        ]
        choice: Any = self.tool_choice
        if isinstance(choice, ChosenFunction):
            choice = {"type": "function", "function": {"name": choice.name}}
        parallel = self.parallel_tool_calls
        return {"tools": tools, "tool_choice": choice, "parallel_tool_calls": parallel}


class AskedResponse:
    """A request for a response with its whole conversation; asked as a chat completion."""

    def __init__(self, request: ResponseRequest, turns: list[dict[str, Any]]) -> None:
        self.request = request
        self.model = request.model
        self.turns = turns

    def texts(self) -> list[str | None]:
        """What the prompt consists of."""
        return [turn["content"] for turn in self.turns]

    def expected(self) -> int:
        """About how many tokens prompt and answer may have together."""
        return estimated(self.texts()) + (self.request.max_output_tokens or LIKELY_TOKENS)

    def upstream(self) -> dict[str, Any]:
        """What the engine is asked, field by field."""
        streamed = {"stream": True, "stream_options": {"include_usage": True}}
        return {"messages": self.turns, **self.request.drawing(), **streamed}
