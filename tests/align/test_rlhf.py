"""Learning from rewards: a tiny model does more of what is rewarded, in phases of an engine."""

import json
from pathlib import Path
from typing import Any

import pytest
from peft import LoraConfig, get_peft_model
from transformers import TrainerControl

from align.loading import load
from align.recipes import RLHF, Job
from align.rl.drawing import Engine
from align.rlhf import LEFT, Guard
from align.stages import make
from assistant.errors import Invalid
from assistant.registry import Registry
from assistant.settings import Settings
from assistant.version import Version
from tests.align.lessons import write
from tests.align.test_sampling import children_of

PROMPTS = 32
YES = "def yes(talk, facts):\n    return 'yes' in talk[-1]['content']\n"
SHORT: dict[str, Any] = {
    "phase": 16, "answers": 8, "batch": 16, "micro_batch": 16, "answer_tokens": 8,
    "learning_rate": 1e-2, "rank": 8, "beta": 0.001, "drift": 9.0, "budget": 9.0,
}  # fmt: skip


def learnt(settings: Settings, reward: tuple[str, ...], **knobs: Any) -> Any:
    lines = [{"prompt": f"Is {number} a number?", "way": number} for number in range(PROMPTS)]
    file = write(settings.home / "prompts.jsonl", lines)
    recipe = RLHF(reward=reward, **SHORT | knobs)
    return make("rlhf", Job(data=(str(file),)), recipe, settings, lambda _: None)


def test_what_is_rewarded_is_done_more(settings: Settings, tmp_path: Path):
    file = tmp_path / "own.py"
    file.write_text(YES)
    version = learnt(settings, (f"{file}:yes:0.01", "length:-1"), method="grpo")
    assert (version.kind, version.name) == ("rlhf", "rlhf-001")
    made = version.path / "made" / "rlhf"
    curve = [json.loads(line) for line in (made / "curve.jsonl").read_text().splitlines()]
    rewarded = [step["reward"] for step in curve if "reward" in step]
    assert len(curve) == 16  # steps, of two phases
    assert not any("entropy" in step for step in curve)  # nobody computes it
    assert len(rewarded) == 2
    assert rewarded[1] > rewarded[0]
    for step in curve:
        if "reward" in step:
            parts = 0.01 * step[f"rewards/{file}:yes/mean"] - step["rewards/length/mean"]
            assert step["reward"] == pytest.approx(parts, abs=1e-6)
    log = (settings.home / "engine" / "measuring" / "tiny-under-training.log").read_text()
    assert log.count("--- engine of") == 1  # it read the new weights where it was
    apart = [step["sampling/sampling_logp_difference/mean"] for step in curve if "reward" in step]
    assert max(apart) < 0.05  # after its weights changed, too, the engine drew from the same model
    samples = [json.loads(line) for line in (made / "samples.jsonl").read_text().splitlines()]
    assert {sample["step"] for sample in samples} == {0, 8}
    for sample in samples:
        assert sample["rewards"][f"{file}:yes"] == float("yes" in sample["answer"])
    told = json.loads((version.path / "made" / "training.json").read_text())["stages"][0]
    assert told["metrics"]["without_reward"] == {}
    assert told["metrics"]["reward_last"] > told["metrics"]["reward_first"]


@pytest.mark.long
def test_without_any_reward_nothing_is_made_of_it(settings: Settings):
    with pytest.raises(Invalid, match=r"No answer got a reward \(verifier:numeric: the row has no"):
        learnt(settings, ("verifier:numeric",))
    assert [version.name for version in Registry(settings.home).versions()] == ["tiny"]


def test_an_engine_that_died_while_others_learnt_is_started_anew(
    tiny: Version, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    model = get_peft_model(load(tiny.path), LoraConfig(target_modules="all-linear"))
    engine = Engine(tiny, tmp_path / "engine", tmp_path)
    try:
        engine.refresh(model)
        [dead] = children_of(tmp_path)
        dead.kill()
        engine.refresh(model)
        assert "is started anew" in caplog.text
        [[drawn]] = engine.draw([[5, 6, 7]], 1, 4, 0)
        assert len(drawn.ids) == len(drawn.logps) > 0
    finally:
        engine.stop()
    assert children_of(tmp_path) == []


def test_what_left_its_base_too_far_stops_and_says_so():
    guard, control = Guard(budget=0.5, window=2), TrainerControl()
    for left in (0.6, 0.1, 0.8):
        assert not control.should_training_stop
        guard.on_log(None, None, control, {"kl": left, "reward": left - 1, "loss": 0.0})
    assert not control.should_training_stop  # 0.1 and 0.8
    guard.on_log(None, None, control, {"kl": 0.7})
    assert control.should_training_stop
    told = guard.told()
    assert told["stopped"] == LEFT
    assert (told["reward_first"], told["reward_last"]) == pytest.approx((-0.4, -0.2))
    assert told["nats_from_base"] == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("knobs", "sentence"),
    [
        ({"phase": 99}, "There are 32 prompts, and a phase takes 99"),
        ({"answers": 1}, "give 2 or more"),
        ({"rank": 0}, "--rank 0: give 1 or more"),
        ({"longest": 2048}, "the engine reads 1024 tokens at most"),
        ({"longest": 20}, r"nothing to learn from: .* \(32 longer than 12 tokens\)"),
        ({"batch": 12}, "must be whole batches of --batch 12"),
    ],
)
def test_recipes_that_do_not_fit_are_refused_in_words(
    settings: Settings, knobs: dict[str, Any], sentence: str
):
    with pytest.raises(Invalid, match=sentence):
        learnt(settings, ("length:-1",), **knobs)
