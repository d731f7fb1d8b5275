"""DPO's variants: what TRL has by name, ties and weights of our own, and a floor."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from trl.trainer.dpo_trainer import DPOTrainer

from align import dpo
from align.curve import FALLEN, STEPS, Band, Watch
from align.data.tokens import tokenized
from align.loading import load
from align.progress import Progress
from align.recipes import DPO, Job
from align.rendering import tokenizer_of
from align.stages import make
from assistant.errors import Invalid
from assistant.feedback.rows import Row
from assistant.settings import Settings
from assistant.version import Version
from tests.align.conftest import home_with
from tests.align.lessons import BAD, GOOD, logps, question, rows, teach, write
from tests.assistant.feedback.said import assistant, user

LOSSES = ("sigmoid", "sigmoid_norm", "ipo", "robust", "apo_zero", "apo_down")


def margin(version: Version, base: Version, numbers=range(50, 56)) -> float:
    """How much more the better answers gained than the worse ones, in nats, on unseen questions."""
    tokenizer, models = tokenizer_of(base.path), [load(v.path).eval() for v in (base, version)]
    found = 0.0
    for n in numbers:
        sides = {"chosen": [assistant(GOOD.format(n))], "rejected": [assistant(BAD.format(n))]}
        [row], _ = tokenized(tokenizer, [Row({"prompt": [user(question(n))], **sides}, "", ())], 99)
        for side, sign in (("chosen_ids", 1), ("rejected_ids", -1)):
            before, after = (float(logps(m, row["prompt_ids"], row[side]).sum()) for m in models)
            found += sign * (after - before)
    return found / len(numbers)


@pytest.fixture(scope="module")
def home(tiny: Version, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return home_with(tiny, tmp_path_factory.mktemp("home"))


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_prefers_what_people_preferred(home: Settings, tiny: Version, loss: str):
    made = teach("dpo", home, name=f"dpo-{loss.replace('_', '-')}", loss=loss, drift=9.0)
    assert margin(made, tiny) > 1


def with_ties(folder: Path, ties: int, pairs: int) -> Path:
    tied = [
        {"prompt": question(n), "completions": [GOOD.format(n), BAD.format(n)], "ranks": [0, 0]}
        for n in range(ties)
    ]
    return write(folder / f"ties-{ties}.jsonl", [*tied, *rows("dpo", pairs)])


def taught(home: Settings, name: str, file: Path, **knobs) -> Version:
    recipe = DPO(epochs=2, learning_rate=1e-2, rank=4, anchor=0.1, imitate=0.0, drift=9.0, **knobs)
    return make("dpo", Job(data=(str(file),), name=name), recipe, home, lambda line: None)


def test_ties_hold_the_two_answers_together(home: Settings, tiny: Version, tmp_path: Path):
    file = with_ties(tmp_path, 24, 8)
    ignored = taught(home, "dpo-decided", file)
    tied = taught(home, "dpo-tied", file, ties=True)
    all_decided = taught(home, "dpo-all", write(tmp_path / "all.jsonl", rows("dpo", 32)))
    assert "on 8 rows" in ignored.source
    assert "on 32 rows" in tied.source
    assert margin(tied, tiny) < 0.75 * margin(all_decided, tiny)


def loss_of(tiny: Version, given: list[Row], tmp_path: Path, monkeypatch) -> tuple[float, float]:
    """The first step's loss by our own sum, and by TRL's."""
    tokens, _ = tokenized(tokenizer_of(tiny.path), given, 1024)
    found = []
    ours, theirs = dpo._Trainer._compute_loss, DPOTrainer._compute_loss

    def both(self, model, inputs, return_outputs):
        found.append([
            float(ours(self, model, dict(inputs), False).detach()),
            float(theirs(self, model, {n: v for n, v in inputs.items() if n not in dpo.EXTRA},
                         False).detach()),
        ])  # fmt: skip
        return theirs(self, model, {n: v for n, v in inputs.items() if n not in dpo.EXTRA}, False)

    monkeypatch.setattr(dpo._Trainer, "_compute_loss", both)
    dpo.run(DPO(epochs=1, batch=8, rank=4, anchor=0.0), 0, tiny.path, tokens, tmp_path / "out")
    return tuple(found[-1])


def pairs(weights: list[float]) -> list[Row]:
    return [
        Row({"prompt": [user(question(n))], "chosen": [assistant(GOOD.format(n))],
             "rejected": [assistant(BAD.format(n))]}, str(n), (), weight=weight)
        for n, weight in enumerate(weights)
    ]  # fmt: skip


def test_rows_that_all_weigh_the_same_have_the_loss_of_trl(tiny, tmp_path, monkeypatch):
    ours, theirs = loss_of(tiny, pairs([0.5] * 16), tmp_path, monkeypatch)
    assert ours == pytest.approx(theirs, rel=1e-3)


def test_weights_count_alike_in_whatever_parts_a_batch_is_computed(tiny: Version, tmp_path: Path):
    tokens, _ = tokenized(tokenizer_of(tiny.path), pairs([0.2, 1.0, 0.5, 0.9]), 1024)
    losses = []
    for micro in (4, 1):
        out = tmp_path / str(micro)
        recipe = DPO(epochs=2, batch=4, micro_batch=micro, rank=4, anchor=0.0, imitate=0.0)
        dpo.run(recipe, 0, tiny.path, tokens, out)
        curve = (out / "made/curve.jsonl").read_text().splitlines()
        losses.append([json.loads(line)["loss"] for line in curve])
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)
    assert losses[0][1] < losses[0][0]


@pytest.mark.parametrize("more", [{"ties": True}, {"agree": True}])
def test_other_losses_know_neither_ties_nor_agreement(tiny: Version, tmp_path: Path, more: dict):
    with pytest.raises(Invalid, match="--loss robust knows neither --ties nor --agree"):
        dpo.run(DPO(loss="robust", **more), 0, tiny.path, [], tmp_path / "out")


def test_a_row_without_weight_changes_nothing(tiny: Version, tmp_path: Path, home: Settings):
    tokens, _ = tokenized(tokenizer_of(tiny.path), pairs([1.0] * 8), 1024)
    wrong, _ = tokenized(tokenizer_of(tiny.path), pairs([0.0] * 8), 1024)
    for row in wrong:
        row["chosen_ids"], row["rejected_ids"] = row["rejected_ids"], row["chosen_ids"]
    recipe = DPO(epochs=4, learning_rate=1e-2, rank=4, anchor=0.0)
    dpo.run(recipe, 0, tiny.path, tokens + wrong, tmp_path / "out")
    assert margin(dataclasses.replace(tiny, folder=str(tmp_path / "out")), tiny) > 1


@pytest.mark.parametrize(("gain", "stops"), [(-3.1, True), (-2.9, False), (1.0, False)])
def test_training_stops_where_the_better_answers_fall_through_the_floor(
    tmp_path: Path, gain: float, stops: bool
):
    class Control:
        should_training_stop = False

    class State:
        global_step, max_steps = 0, 99

    watch = Watch(Progress(tmp_path), tmp_path / "curve.jsonl", 0.0, Band(floor=-3.0))
    for step in range(1, STEPS + 1):
        State.global_step = step
        assert not Control.should_training_stop
        watch.on_log(None, State, Control, {"loss": 1.0, "rewards/chosen": gain})
    assert Control.should_training_stop is stops
    assert watch.summary().get("stopped") == (FALLEN if stops else None)
    assert len((tmp_path / "curve.jsonl").read_text().splitlines()) == STEPS


def test_a_floor_of_zero_stops_early_and_the_card_says_so(home: Settings):
    file = write(home.home / "many.jsonl", rows("dpo", 60))
    recipe = DPO(
        epochs=3, learning_rate=1e-2, rank=4, anchor=0.0, imitate=0.0, loss="apo_down", floor=0.0
    )
    made = make("dpo", Job(data=(str(file),), name="fell"), recipe, home, lambda line: None)
    story = json.loads((made.path / "made" / "training.json").read_text())["stages"][0]
    assert story["metrics"]["steps"] < 45
    assert FALLEN in made.source
    assert torch.isfinite(torch.tensor(story["metrics"]["loss_last"]))


def test_what_people_agree_on_is_learnt_once_and_what_divides_them_is_counted(home: Settings):
    votes = rows("dpo", 6)
    turned = {**votes[0], "chosen": votes[0]["rejected"], "rejected": votes[0]["chosen"]}
    file = write(home.home / "votes.jsonl", [*votes, votes[1], turned])
    made = taught(home, "dpo-agreed", file, agree=True)
    story = json.loads((made.path / "made" / "training.json").read_text())["stages"][0]
    assert story["rows"] == 5
    assert story["not_learnt"] == {"as many people said the other": 1}
