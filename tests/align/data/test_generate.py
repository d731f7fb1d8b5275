"""Generation: what models say becomes rows that name who said it; killed, it goes on."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from align.data.gathering import gather
from align.data.generate import Answer, Endpoint, EndpointFailed, best, best_and_worst
from align.data.generated import Wish, generated
from align.data.scorers import scoring_of
from assistant.errors import Invalid
from assistant.registry import Registry
from assistant.settings import Settings
from tests.align.lessons import write

SCORER = (
    "def length(talk):\n"
    "    text = talk[-1]['content']\n"
    "    return None if text == '?' else len(text)\n"
)


class Script:
    """An API whose answers are the question with more and more exclamation marks."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.fails_after: int | None = None
        self.tasks: list[str] = []
        app = FastAPI()
        app.post("/v1/chat/completions")(self._chat)
        config = uvicorn.Config(app, port=0, log_level="error")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def __enter__(self) -> "Script":
        self._thread.start()
        while not self._server.started:
            pass
        port = self._server.servers[0].sockets[0].getsockname()[1]
        self.endpoint = Endpoint(f"http://127.0.0.1:{port}/v1", "model", "secret-key")
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()

    async def _chat(self, request: Request) -> JSONResponse:
        body = await request.json()
        if self.fails_after is not None and len(self.asked) >= self.fails_after:
            return JSONResponse({"error": {"message": "out of order", "type": "x"}}, 400)
        question = body["messages"][-1]["content"]
        self.asked.append(question)
        texts = [f"{question}{'!' * i}" for i in range(body["n"])]
        if question.startswith("Here are tasks"):
            texts = ["\n".join(self.tasks)]
        choices = [
            {"index": i, "finish_reason": "length" if text.endswith("!!!") else "stop",
             "message": {"role": "assistant", "content": text}}
            for i, text in enumerate(texts)
        ]  # fmt: skip
        return JSONResponse(
            {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": choices}
        )


@pytest.fixture
def script() -> Iterator[Script]:
    with Script() as script:
        yield script


@pytest.fixture
def scorer(tmp_path: Path) -> str:
    (tmp_path / "mine.py").write_text(SCORER)
    return f"{tmp_path / 'mine.py'}:length"


@pytest.fixture
def questions(tmp_path: Path) -> str:
    (tmp_path / "questions.txt").write_text("Why?\n\nHow?\nWhy?\n")
    return str(tmp_path / "questions.txt")


def run(wish: Wish, out: Path, script: Script) -> tuple[dict[str, int], list[dict]]:
    told = generated(wish, out, script.endpoint, Settings(home=out.parent / "home"), lambda _: None)
    return told, [json.loads(line) for line in out.read_text().splitlines()]


def test_the_best_whole_answer_is_kept_with_who_made_it(script, scorer, questions, tmp_path: Path):
    told, rows = run(Wish(questions, n=4, scorer=scorer), tmp_path / "out.jsonl", script)
    assert told == {"questions": 2, "answers drawn": 8, "answers not scored": 0, "answers kept": 2}
    assert [row["messages"][-1]["content"] for row in rows] == ["Why?!!", "How?!!"]  # !!! is cut
    assert rows[0]["score"] == 6
    assert rows[0]["made_by"]["model"] == "m"  # which answered, whatever it was asked for by
    assert rows[0]["made_by"]["scorer"] == scorer
    assert "secret-key" not in (tmp_path / "out.jsonl").read_text()
    assert [row.whole for row in gather("messages", str(tmp_path / "out.jsonl"), "").rows] == [
        True, True,
    ]  # fmt: skip


def test_the_best_and_the_worst_make_a_pair(script, scorer, questions, tmp_path: Path):
    wish = Wish(questions, "pairs", n=3, scorer=scorer, margin=2)
    told, rows = run(wish, tmp_path / "out.jsonl", script)
    assert told["pairs kept"] == 2
    assert (rows[0]["chosen"][0]["content"], rows[0]["rejected"][0]["content"]) == (
        "Why?!!", "Why?",
    )  # fmt: skip
    assert len(gather("preference", str(tmp_path / "out.jsonl"), "").rows) == 2
    with pytest.raises(Invalid, match="Nothing was good enough to keep"):
        run(Wish(questions, "pairs", n=3, scorer=scorer, margin=3), tmp_path / "no.jsonl", script)


def test_what_was_drawn_before_a_failure_is_not_asked_again(script, scorer, tmp_path: Path):
    file = tmp_path / "many.txt"
    file.write_text("".join(f"Question {n}?\n" for n in range(30)))
    wish, out = Wish(str(file), n=2, scorer=scorer), tmp_path / "out.jsonl"
    script.fails_after = 12
    with pytest.raises(EndpointFailed, match=r"out of order.*run the same command again"):
        run(wish, out, script)
    assert not out.exists()
    script.fails_after = None
    _, rows = run(wish, out, script)
    assert len(rows) == 30
    assert len(script.asked) < 12 + 30
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith("out")) == ["out.jsonl"]


def test_new_questions_are_unlike_the_seeds_and_each_other(script, tmp_path: Path):
    seeds = write(
        tmp_path / "seeds.jsonl", [{"prompt": "Name a bird that sings.", "completion": "A"}]
    )
    script.tasks = [
        "1. Name a bird that sings!",
        "- Explain how rain is made.",
        "Explain how the rain is made",
        "2) Write a short poem about bread.",
        "No",
    ]
    told, rows = run(Wish(str(seeds), new=5, n=1), tmp_path / "out.jsonl", script)
    asked = [row["messages"][0]["content"] for row in rows]
    assert asked == ["Explain how rain is made.", "Write a short poem about bread."]
    assert told["answers kept"] == 2


@pytest.mark.parametrize(
    ("scores", "least", "expected"),
    [([1, 3, 2], None, 3), ([1, 3, 2], 3, 3), ([1, 3, 2], 4, None), ([None, None], None, None),
     ([None, -1], None, -1), ([0.0], 0, 0.0)],
)  # fmt: skip
def test_the_best_has_the_highest_score(scores, least, expected):
    found = best([Answer(f"a{i}", True, score) for i, score in enumerate(scores)], least)
    assert (found.score if found else None) == expected


def test_what_was_cut_off_is_never_the_better_side_but_may_be_the_worse():
    cut, whole = Answer("cut", False, 9), Answer("whole", True, 5)
    assert best([cut, whole], None) == whole
    assert best_and_worst([cut, whole], 0) is None
    low = Answer("low", False, 1)
    assert best_and_worst([low, whole], 0) == (whole, low)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("def length(talk): return 'long'", "neither a finite number nor None"),
        ("def length(talk): return float('nan')", "neither a finite number nor None"),
        ("length = 3", "has no function length"),
        ("raise RuntimeError('no')", "cannot be loaded: RuntimeError: no"),
        ("def length(talk): return 1 / 0", "failed: ZeroDivisionError"),
    ],
)
def test_a_function_that_does_not_score_is_said(tmp_path: Path, code: str, words: str):
    (tmp_path / "mine.py").write_text(code)
    with pytest.raises(Invalid, match=words):
        scoring_of(f"{tmp_path / 'mine.py'}:length", Registry(tmp_path))([[]])


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        (Wish("q.txt", n=4), "Name a --scorer"),
        (Wish("q.txt", "pairs", n=1), "Name a --scorer"),
        (Wish("q.txt", n=1), "Cannot read"),
    ],
)
def test_wishes_that_cannot_be_fulfilled_are_refused(tmp_path: Path, wish: Wish, words: str):
    with pytest.raises(Invalid, match=words):
        generated(wish, tmp_path / "o.jsonl", Endpoint("http://x"), Settings(home=tmp_path), print)


def test_a_version_that_speaks_is_no_scorer(tiny, tmp_path: Path):
    with pytest.raises(Invalid, match="does not score answers"):
        scoring_of(tiny.name, Registry(tiny.path.parents[1]))
