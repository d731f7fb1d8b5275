"""Rewards: the chosen side rises, ties pull together, and what is said of a scorer is right."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from align import reward, stages
from align.data.gathering import gather
from align.data.tokens import tokenized
from align.loading import load_scorer, padding
from align.recipes import Job, Reward
from align.rendering import tokenizer_of
from align.scoring import Scorer, calibration_error, judged
from align.stages import make
from assistant.errors import Invalid
from assistant.feedback.store import FeedbackStore
from assistant.registry import Registry
from assistant.settings import Settings
from assistant.sources import resolve_now
from assistant.version import Version
from tests.align.conftest import home_with
from tests.align.lessons import BAD, GOOD, question, rows, write
from tests.assistant.feedback.said import ANN, ask

STEEP = Reward(epochs=4, learning_rate=1e-2, rank=4, members=2, held_out=0.25)


def taught(home: Settings, name: str = "reward-001", lines=None, recipe: Reward = STEEP) -> Version:
    file = write(home.home / f"{name}.jsonl", lines or rows("dpo"))
    return make("reward", Job(data=(str(file),), name=name), recipe, home, lambda line: None)


@pytest.fixture(scope="module")
def scorer(tiny: Version, tmp_path_factory: pytest.TempPathFactory) -> Version:
    return taught(home_with(tiny, tmp_path_factory.mktemp("home")))


def talk(number: int, answer: str) -> list[dict[str, str]]:
    return [
        {"role": "user", "content": question(number)},
        {"role": "assistant", "content": answer.format(number)},
    ]


def test_the_chosen_side_rises_on_answers_never_seen(scorer: Version):
    unseen = range(50, 60)
    good = Scorer(scorer.path).score([talk(n, GOOD) for n in unseen])
    bad = Scorer(scorer.path).score([talk(n, BAD) for n in unseen])
    assert all(g.mean > b.mean + 1 for g, b in zip(good, bad, strict=True))


def test_scores_do_not_depend_on_what_stands_beside_in_the_batch(scorer: Version):
    talks = [talk(n, GOOD if n % 2 else BAD + " No." * n) for n in range(11)]
    together = Scorer(scorer.path).score(talks)
    alone = [Scorer(scorer.path).score([one])[0] for one in talks]
    for one, other in zip(together, alone, strict=True):
        assert one.mean == pytest.approx(other.mean, abs=0.05)  # bf16


def test_members_differ_and_their_spread_is_told(scorer: Version):
    [score] = Scorer(scorer.path).score([talk(1, GOOD)])
    assert score.spread > 0
    assert (scorer.path / "members" / "1" / "model.safetensors").is_file()


def test_the_card_tells_how_good_it_is_beside_the_baselines(scorer: Version):
    assert "6 held-out pairs ranked right" in scorer.source
    assert "always longer 100%" in scorer.source
    story = json.loads((scorer.path / "made" / "training.json").read_text())["stages"][0]
    metrics = story["metrics"]
    assert (story["rows"], metrics["held_out"], metrics["accuracy"]) == (18, 6, 1.0)
    assert metrics["low"] == pytest.approx(0.61, abs=0.01)


def test_answers_are_scored_in_the_form_they_were_learnt(scorer: Version, tmp_path: Path):
    found = gather("comparison", str(write(tmp_path / "rows.jsonl", rows("dpo", 6))), "").rows
    ids, _ = tokenized(tokenizer_of(scorer.path), found, 1024)
    learnt = Scorer(scorer.path).score_ids([row["prompt_ids"] + row["chosen_ids"] for row in ids])
    talks = [row.data["prompt"] + row.data["chosen"] for row in found]
    assert Scorer(scorer.path).score(talks) == learnt


def test_killed_while_it_was_measured_it_is_not_trained_again(
    tiny: Version, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    home = home_with(tiny, tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(stages, "measured", killed)
        with pytest.raises(KeyboardInterrupt):
            taught(home)
    monkeypatch.setattr(reward, "train", killed)
    made = taught(home)
    assert [place.name for place in (made.path / "members").iterdir()] == ["1"]


def killed(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_scorer_is_not_promoted_served_or_trained_further(scorer: Version):
    registry = Registry(scorer.path.parents[1])
    with pytest.raises(Invalid, match="judges answers"):
        registry.promote(scorer.name)
    with pytest.raises(Invalid, match="judges answers"):
        resolve_now(scorer.name, registry, print)


def test_ties_of_people_and_of_rankings_are_learnt(settings: Settings, tmp_path: Path, tiny):
    with FeedbackStore(settings.database) as store:
        for choice in ("first", "tie", "both_bad"):
            store.judgements.pair(ANN, "chat", *ask(store, "One.", "Other.").answers, choice)
        answers = ask(store, "A", "B", "C").answers
        store.judgements.ranking(ANN, "api", [[answers[0]], list(answers[1:])])
    found = gather("comparison", "feedback", settings.database)
    tokens, _ = tokenized(tokenizer_of(tiny.path), found.rows, 1024)
    assert [row["tie"] for row in tokens] == [False] * 3 + [True] * 3
    assert not found.left_out
    ranking = {"prompt": "Q?", "completions": ["A", "B", "C"], "ranks": [0, 1, 1]}
    from_file = gather("comparison", str(write(tmp_path / "r.jsonl", [ranking])), "")
    assert [row.data.get("tie", False) for row in from_file.rows] == [False, False, True]
    assert [row.data.get("margin", 0) for row in from_file.rows] == [1, 1, 0]


def gap(version: Version) -> float:
    """How much better good answers are to it than bad ones."""
    scores = Scorer(version.path).score([talk(n, s) for n in range(50, 58) for s in (GOOD, BAD)])
    return sum(g.mean - b.mean for g, b in zip(scores[::2], scores[1::2], strict=True)) / 8


def test_ties_bring_the_two_answers_together(scorer: Version, tiny: Version, tmp_path: Path):
    ties = [
        {"prompt": question(n), "completions": [GOOD.format(n), BAD.format(n)], "ranks": [0, 0]}
        for n in range(24)
    ]
    doubtful = taught(home_with(tiny, tmp_path), lines=[*ties, *rows("dpo", 8)])
    assert gap(doubtful) < 0.75 * gap(scorer)


@pytest.mark.parametrize(("margin", "loss"), [(0.0, math.log(2)), (0.5, math.log1p(math.exp(4)))])
def test_a_margin_asks_for_so_much_between_two_answers(
    margin: float, loss: float, tiny: Version, tmp_path: Path
):
    lines = [row | {"margin": 8} for row in rows("dpo")]
    recipe = replace(STEEP, members=1, margin=margin, epochs=1)
    made = taught(home_with(tiny, tmp_path), lines=lines, recipe=recipe).path / "made" / "reward"
    first = json.loads((made / "curve.jsonl").read_text().splitlines()[0])
    assert first["loss"] == pytest.approx(loss, rel=0.1)  # no score says anything yet


@pytest.mark.parametrize(
    ("given_differences", "expected"),
    [
        ([math.log(3)] * 3 + [-math.log(3)], 0.0),  # says 75 %, and is right in three of four
        ([20.0] * 4, 0.0),
        ([-20.0] * 4, 1.0),
        ([math.log(3)] * 4, 0.25),
    ],
)
def test_calibration_is_how_far_what_is_said_is_from_what_is_so(given_differences, expected):
    assert calibration_error(given_differences) == pytest.approx(expected, abs=1e-6)


def test_nothing_is_said_of_no_held_out_pairs(scorer: Version):
    assert judged(scorer.path, []) == {"held_out": 0}


def test_the_padding_is_no_token_of_a_conversation(tiny: Version):
    tokenizer = tokenizer_of(tiny.path)
    assert padding(tokenizer) != tokenizer.eos_token_id
    model = load_scorer(tiny.path)
    assert model.config.get_text_config().pad_token_id == padding(tokenizer)
