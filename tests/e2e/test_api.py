"""Programs use the API through the official client, on the real engine."""

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gradio as gr
import httpx
import openai
import psutil
import pytest

from align.rendering import render_prompt, tokenizer_of
from tests.e2e.product import ROOT, Product

QUESTION = [{"role": "user", "content": "Name three colors."}]
VERSION = "smollm2-135m-instruct-q4"


def post(product: Product, **body: object) -> httpx.Response:
    return httpx.post(f"{product.url}/v1/feedback", json=body)


def test_the_served_version_is_listed_beside_its_alias(product: Product):
    models = product.client.models.list().data
    assert [m.id for m in models] == ["assistant", VERSION]
    assert product.client.models.retrieve("assistant").root == VERSION


def test_an_engine_imports_vllm_once(product: Product):
    """Its core is a fork: a spawned one would import everything again."""
    children = [" ".join(child.cmdline()) for child in product.engine().children(recursive=True)]
    assert any("EngineCore" in line for line in children)
    assert not any("spawn_main" in line for line in children)
    log = product.home / "engine" / "starting.log"  # it waited before it was told what to be
    assert log.is_file()


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


def test_a_seed_gives_the_same_answer(product: Product):
    story = [{"role": "user", "content": "Tell me a story."}]
    asked = {"model": "assistant", "messages": story, "temperature": 1.2, "max_tokens": 40}
    make = product.client.chat.completions.create
    first, again, other = (
        make(seed=seed, **asked).choices[0].message.content for seed in (7, 7, 8)
    )
    assert first == again != other


def test_seeded_prompts_that_are_read_in_pieces_do_not_end_the_engine(product: Product):
    """Six of 700 tokens at once, of which the engine reads 1024 at a time."""
    engine = product.engine().pid
    long = [{"role": "user", "content": "word " * 700}]
    asked = {"model": "assistant", "messages": long, "max_tokens": 3}
    with ThreadPoolExecutor(6) as pool:
        seeds = range(6)
        make = product.client.chat.completions.create
        answers = list(pool.map(lambda seed: make(seed=seed, **asked), seeds))
    assert all(answer.usage.prompt_tokens > 700 for answer in answers)
    assert product.engine().pid == engine


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


ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Adds two numbers.",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            "required": ["a", "b"],
            "additionalProperties": False,
        },
    },
}
NAMED = {"type": "function", "function": {"name": "add"}}


@pytest.mark.parametrize(("choice", "stream"), [("required", False), (NAMED, True)])
def test_a_tool_that_must_be_called_is_called_with_what_it_takes(product: Product, choice, stream):
    made = product.client.chat.completions.create(
        model="assistant",
        messages=[{"role": "user", "content": "What is 2 + 3?"}],
        tools=[ADD],
        tool_choice=choice,
        parallel_tool_calls=False,
        temperature=0,
        max_tokens=100,
        stream=stream,
        store=True,
    )
    made_id = [chunk.id for chunk in made][-1] if stream else made.id
    said = product.client.chat.completions.retrieve(made_id).choices[0].message
    [call] = said.tool_calls
    assert call.function.name == "add"
    assert set(json.loads(call.function.arguments)) == {"a", "b"}
    if not stream:
        assert made.choices[0].message.tool_calls[0].id == call.id


def test_tools_may_be_offered_and_their_outcomes_told(product: Product):
    make = product.client.chat.completions.create
    offered = {"model": "assistant", "tools": [ADD], "temperature": 0, "max_tokens": 40}
    call = {"id": "c1", **NAMED, "function": {"name": "add", "arguments": '{"a": 2, "b": 3}'}}
    talk = [
        {"role": "user", "content": "What is 2 + 3?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "5"},
    ]
    for choice in ("auto", "none"):
        answer = make(messages=talk, tool_choice=choice, **offered).choices[0]
        assert answer.message.content or answer.message.tool_calls


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
    call = {"id": "c", "type": "function", "function": {"name": "add", "arguments": {"a": "é"}}}
    calls = [*QUESTION, {"role": "assistant", "content": "", "tool_calls": [call]}]
    calls += [{"role": "tool", "content": "3", "tool_call_id": "c"}]
    for messages in (QUESTION, [system, *QUESTION], talk, [system, *talk], calls):
        sent = json.loads(json.dumps(messages))
        for called in (c for m in sent for c in m.get("tool_calls", ())):
            called["function"]["arguments"] = json.dumps(called["function"]["arguments"])
        body = {"model": VERSION, "messages": sent, "add_generation_prompt": True}
        served = engine.post("/tokenize", json=body).json()["tokens"]
        assert served == render_prompt(tokenizer, messages)


def eventually(there: object, seconds: float = 5) -> bool:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if there():  # type: ignore[operator]
            return True
        time.sleep(0.1)
    return False


def test_the_running_program_makes_rows_that_name_it(product: Product, tmp_path: Path):
    (tmp_path / "questions.txt").write_text("Name three colors.\nName a fruit.\n")
    (tmp_path / "mine.py").write_text("def brief(talk):\n    return -len(talk[-1]['content'])\n")
    run = subprocess.run(
        [
            *(sys.executable, "-m", "align", "data", "generate"),
            *("questions.txt", "made.jsonl", "--kind", "pairs", "--n", "3"),
            *("--scorer", "mine.py:brief", "--max-tokens", "120"),
        ],
        cwd=tmp_path,
        env=os.environ | {"ASSISTANT_HOME": str(product.home), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert run.returncode == 0, run.stderr
    rows = [json.loads(line) for line in (tmp_path / "made.jsonl").read_text().splitlines()]
    assert rows
    for row in rows:
        assert len(row["chosen"][0]["content"]) < len(row["rejected"][0]["content"])
        assert row["made_by"]["url"] == f"{product.url}/v1"


def test_what_runs_is_finished_before_what_wakes(product: Product):
    assert product.process is not None
    engine = product.engine()
    for process in (product.process, engine, *engine.children()):
        assert os.sched_getscheduler(process.pid) == os.SCHED_BATCH


def test_a_program_that_nobody_asks_leaves_the_cores_alone(product: Product):
    """Gradio's queue looks for work a thousand times a second unless it is told not to."""
    program = psutil.Process(product.process.pid)

    def computed() -> float:
        times = program.cpu_times()
        return times.user + times.system

    before = computed()
    time.sleep(5)
    assert (computed() - before) / 5 < 0.02
    between_looks, between_updates = queue_sleeps()
    assert between_looks <= 0.001, "Gradio waits longer now: drop QUEUE_SECONDS"
    assert between_updates <= 0.01, "Gradio waits longer now: drop PROGRESS_SECONDS"


def queue_sleeps() -> tuple[float, float]:
    """Seconds that Gradio's own queue sleeps between two looks, and between progress updates."""
    queue = gr.Blocks().queue()._queue
    return queue.sleep_when_free, queue.progress_update_sleep_when_free
