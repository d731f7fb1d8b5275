"""Programs use the API through the official client, on the real engine."""

import contextlib
import re
import time

import httpx
import openai
import pytest

from align.rendering import render_prompt, tokenizer_of
from tests.e2e.product import Product

QUESTION = [{"role": "user", "content": "Name three colors."}]
VERSION = "smollm2-135m-instruct-q4"


def post(product: Product, **body: object) -> httpx.Response:
    return httpx.post(f"{product.url}/v1/feedback", json=body)


def test_the_served_version_is_listed_beside_its_alias(product: Product):
    models = product.client.models.list().data
    assert [m.id for m in models] == ["assistant", VERSION]
    assert product.client.models.retrieve("assistant").root == VERSION


def test_an_answer_stops_by_itself_and_counts_its_tokens(product: Product):
    answer = product.client.chat.completions.create(
        model="assistant", messages=QUESTION, temperature=0, max_tokens=200
    )
    assert answer.choices[0].finish_reason == "stop"
    assert "red" in answer.choices[0].message.content.lower()
    assert 0 < answer.usage.completion_tokens < 200


def test_a_stream_says_the_same_as_a_whole_answer(product: Product):
    asked = {"model": VERSION, "messages": QUESTION, "temperature": 0, "max_tokens": 40}
    whole = product.client.chat.completions.create(**asked).choices[0].message.content
    chunks = list(product.client.chat.completions.create(stream=True, **asked))
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == whole
    assert len(chunks) > 5


def test_a_text_is_continued(product: Product):
    made = product.client.completions.create(
        model="assistant", prompt="The capital of France is", temperature=0, max_tokens=3
    )
    assert made.choices[0].text.startswith(" Paris")


def test_a_schema_is_kept_to(product: Product):
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    answer = product.client.chat.completions.create(
        model="assistant",
        messages=[{"role": "user", "content": "Give me a number as JSON."}],
        max_tokens=30,
        response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": schema}},
    )
    assert re.search(r'\{\s*"n"\s*:\s*-?\d+', answer.choices[0].message.content)


@pytest.mark.parametrize("stream", [False, True])
def test_a_kept_completion_can_be_read_and_judged(product: Product, stream: bool):
    client = product.client
    made = client.chat.completions.create(
        model="assistant", messages=QUESTION, max_tokens=30, store=True, stream=stream
    )
    completion_id = [chunk.id for chunk in made][-1] if stream else made.id
    kept = client.chat.completions.retrieve(completion_id)
    assert kept.choices[0].message.content
    assert kept.usage.completion_tokens > 0
    given = post(product, completion_id=completion_id, rating="down", reasons=["wrong"])
    assert given.status_code == 201
    read = httpx.get(f"{product.url}/v1/feedback/{given.json()['id']}").json()
    assert (read["choice"], read["reasons"]) == ("down", ["wrong"])


def test_choices_are_ranked_paired_and_corrected_by_index(product: Product):
    made = product.client.chat.completions.create(
        model="assistant", messages=QUESTION, max_tokens=20, n=3, store=True
    )
    ids = [f"{made.id}#{index}" for index in range(3)]
    assert post(product, ranking=[[ids[0]], ids[1:]]).json()["ranks"] == [0, 1, 1]
    assert post(product, pair=ids[:2], choice="second").status_code == 201
    assert post(product, completion_id=ids[2], correction="Red, green, blue.").status_code == 201


def test_an_unknown_version_is_refused_with_what_is_served(product: Product):
    with pytest.raises(openai.NotFoundError, match=VERSION) as refused:
        product.client.chat.completions.create(model="gpt-x", messages=QUESTION)
    assert refused.value.type == "model_not_found"


def test_too_long_a_prompt_is_an_openai_error(product: Product):
    long = [{"role": "user", "content": "word " * 4000}]
    with pytest.raises(openai.BadRequestError, match="maximum context length"):
        product.client.chat.completions.create(model="assistant", messages=long)


def test_a_client_that_leaves_frees_the_engine(product: Product):
    engine = product.engine_client()

    def running() -> float:
        found = re.search(
            r"^vllm:num_requests_running\{.*\} (\S+)", engine.get("/metrics").text, re.M
        )
        assert found
        return float(found.group(1))

    story = [{"role": "user", "content": "Write a very long story."}]
    body = {"model": "assistant", "messages": story, "max_tokens": 1500, "temperature": 0}
    url = f"{product.url}/v1/chat/completions"
    with httpx.stream("POST", url, json=body | {"stream": True}) as response:
        lines = response.iter_lines()  # kept: httpx hangs up when its iterator is collected
        next(lines)
        assert running() == 1
    assert eventually(lambda: running() == 0)
    with contextlib.suppress(httpx.ReadTimeout):
        httpx.post(url, json=body, timeout=0.7)
    assert eventually(lambda: running() == 0)


def test_training_and_serving_see_identical_token_ids(product: Product):
    """One template: what `align` renders is what the engine is asked to continue."""
    tokenizer = tokenizer_of(product.home / "versions" / VERSION)
    engine = product.engine_client()
    system = {"role": "system", "content": "Be brief.\n"}
    talk = [*QUESTION, {"role": "assistant", "content": "Red, 2 and <b>.\n\n"}]
    talk += [{"role": "user", "content": " 你好 <|im_start|> 42 "}]
    for messages in (QUESTION, [system, *QUESTION], talk, [system, *talk]):
        body = {"model": VERSION, "messages": messages, "add_generation_prompt": True}
        served = engine.post("/tokenize", json=body).json()["tokens"]
        assert served == render_prompt(tokenizer, messages)


def eventually(there: object, seconds: float = 5) -> bool:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if there():  # type: ignore[operator]
            return True
        time.sleep(0.1)
    return False
