"""The rows of a round: made from what may be used, and given up when that changes."""

import json
import shutil
from pathlib import Path

import pytest

from align import collecting
from align.steps import Report
from assistant.errors import Invalid
from assistant.feedback.store import FeedbackStore
from assistant.registry import Registry
from assistant.settings import Settings
from tests.align.lessons import judge
from tests.align.rounds import knobs
from tests.assistant.feedback.said import ANN

QUIET: Report = lambda _line: None  # noqa: E731


@pytest.fixture
def begun(settings: Settings) -> Path:
    """A round that was begun and not gone on with."""
    judge(settings, pairs=24, ups=10, downs=10)
    rounds = settings.home / "rounds"
    rounds.mkdir()
    return collecting.begin(knobs(), settings, rounds, QUIET)


def texts(folder: Path) -> str:
    return "".join(file.read_text() for file in folder.iterdir() if file.is_file())


def test_a_round_that_was_begun_holds_what_it_learns_from(begun: Path, settings: Settings):
    assert collecting.unfinished(begun.parent) == begun
    assert (begun / "dpo.jsonl").is_file()
    assert not collecting.forgotten(begun, settings)


def test_a_finished_round_keeps_the_judgements_and_no_text(begun: Path, settings: Settings):
    lines = (begun / "dpo.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    said = rows[0]["data"]["chosen"][0]["content"]
    assert said in texts(begun)
    collecting.forget(begun)
    assert said not in texts(begun)
    kept = [json.loads(line) for line in (begun / "dpo.judgements").read_text().splitlines()]
    assert kept == [{"judgement_ids": row["judgement_ids"]} for row in rows]
    collecting.forget(begun)  # once more changes nothing
    assert len((begun / "dpo.judgements").read_text().splitlines()) == len(rows)


@pytest.mark.parametrize("how", ["deleted", "withdrawn", "forbidden"])
def test_what_was_taken_back_is_noticed(begun: Path, settings: Settings, how: str):
    with FeedbackStore(settings.database) as store:
        judgement = store.judgements.all()[0]
        message = store.conversations.message(judgement.targets[0].message_id, ANN)
        if how == "deleted":
            store.conversations.erase(message.conversation_id, ANN)
        elif how == "withdrawn":
            store.judgements.withdraw(ANN, "chat", judgement.id)
        else:
            store.conversations.set_consent(ANN, message.conversation_id, False, "notice")
    assert collecting.forgotten(begun, settings)


def learnt_everything(settings: Settings) -> None:
    """Register a version that learnt from all judgements so far, and make it current."""
    registry = Registry(settings.home)
    with FeedbackStore(settings.database) as store:
        known = [judgement.id for judgement in store.judgements.all()]
    with registry.staging() as made:
        shutil.copytree(registry.current.path, made, dirs_exist_ok=True)
        (made / "card.json").unlink()
        (made / "made").mkdir()
        (made / "made/training.json").write_text(json.dumps({"judgements": known}))
        registry.register("older", made, kind="round", source="round", base="tiny")
    registry.promote("older")


@pytest.mark.parametrize(("share", "again"), [(0.0, 0), (0.25, 8), (0.9, 30)])
def test_a_round_goes_over_some_of_what_was_learnt_before(
    settings: Settings, share: float, again: int
):
    judge(settings, pairs=30)
    learnt_everything(settings)
    judge(settings, pairs=24)
    rounds = settings.home / "rounds"
    rounds.mkdir()
    folder = collecting.begin(knobs(replay=share), settings, rounds, QUIET)
    notes = json.loads((folder / "data.json").read_text())["stages"]["dpo"]
    assert notes["learnt_before"] == again
    assert notes["rows"] + notes["held_out"] == 24 + again
    assert notes["held_out"] == 2  # of what is new


def test_what_is_no_share_is_refused(settings: Settings):
    judge(settings, pairs=24)
    (settings.home / "rounds").mkdir()
    with pytest.raises(Invalid, match="no share"):
        collecting.begin(knobs(replay=1.0), settings, settings.home / "rounds", QUIET)
