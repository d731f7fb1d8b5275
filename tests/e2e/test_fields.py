"""What programs may ask for does what OpenAI says it does, on the real engine."""

import json

import pytest

from tests.e2e.product import Product

ASKED = [{"role": "user", "content": "Name three colors."}]
YES = 9805  # the token " yes"


def answer(product: Product, **fields: object):
    given = {"max_tokens": 24, "temperature": 0} | fields
    return product.client.chat.completions.create(model="assistant", messages=ASKED, **given)


def test_each_token_comes_with_its_logarithm_and_the_likeliest(product: Product):
    made = answer(product, logprobs=True, top_logprobs=3)
    told = made.choices[0].logprobs.content
    assert len(told) in (made.usage.completion_tokens, made.usage.completion_tokens - 1)
    assert "".join(token.token for token in told).startswith(made.choices[0].message.content)
    for token in told:
        assert len(token.top_logprobs) == 3
        assert token.logprob == max(other.logprob for other in token.top_logprobs) <= 0


def test_a_token_can_be_forced_and_a_text_stopped_at(product: Product):
    forced = answer(product, logit_bias={str(YES): 100}, max_tokens=4)
    assert forced.choices[0].message.content == " yes yes yes yes"
    whole = answer(product).choices[0].message.content
    word = whole.split()[2]
    stopped = answer(product, stop=[word]).choices[0]
    assert (stopped.finish_reason, stopped.message.content) == ("stop", whole.split(word)[0])


def test_what_was_said_can_be_made_less_likely(product: Product):
    liked = {"logit_bias": {str(YES): 20}, "max_tokens": 24}
    assert answer(product, **liked).choices[0].message.content.count(" yes") == 24
    again = answer(product, **liked, frequency_penalty=2).choices[0].message.content
    assert 0 < again.count(" yes") < 24


@pytest.mark.parametrize("stream", [False, True])
def test_several_likeliest_answers_are_the_likeliest_one_each_time(product: Product, stream: bool):
    made = answer(product, n=2, stream=stream)
    told = ["", ""]
    for chunk in made if stream else [made]:
        for choice in chunk.choices:
            said = choice.delta if stream else choice.message
            told[choice.index] += said.content or ""
    assert told == [answer(product).choices[0].message.content] * 2


def test_an_answer_can_be_any_json(product: Product):
    made = answer(product, response_format={"type": "json_object"}, max_tokens=80)
    if made.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(made.choices[0].message.content), dict)
    else:  # a small model may go on and on inside
        assert made.choices[0].message.content.lstrip().startswith("{")


@pytest.mark.parametrize("usage", [True, False])
def test_a_stream_has_openais_fields_alone(product: Product, usage: bool):
    options = {"stream_options": {"include_usage": True}} if usage else {}
    chunks = list(answer(product, stream=True, n=2, temperature=1, logprobs=True, **options))
    for chunk in chunks:
        parts = [chunk, *chunk.choices, *(choice.delta for choice in chunk.choices)]
        assert [part.model_extra for part in parts if part.model_extra] == []
    counted = [chunk.usage for chunk in chunks if chunk.usage]
    assert len(counted) == usage
    assert {choice.index for chunk in chunks for choice in chunk.choices} == {0, 1}
    if usage:
        assert chunks[-1].choices == []
        assert counted[0].completion_tokens > 2


def test_a_text_comes_back_before_its_continuation(product: Product):
    made = product.client.completions.create(
        model="assistant", prompt="One, two,", echo=True, max_tokens=4
    )
    assert made.choices[0].text.startswith("One, two,")
    assert made.usage.completion_tokens <= 4


def test_a_response_is_made_gone_on_from_and_streamed(product: Product):
    ask = product.client.responses.create
    first = ask(model="assistant", input="My name is Ann. Say hello.", max_output_tokens=20)
    assert first.output_text
    assert first.usage.total_tokens == first.usage.input_tokens + first.usage.output_tokens
    asked = {"input": "And?", "previous_response_id": first.id, "max_output_tokens": 20}
    events = list(ask(model="assistant", stream=True, **asked))
    deltas = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    assert events[-1].type in ("response.completed", "response.incomplete")
    assert events[-1].response.output_text == deltas
    assert events[-1].response.usage.input_tokens > first.usage.input_tokens
