"""Learning from rewards: a tiny model does more of what is rewarded, in phases of an engine."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from peft import LoraConfig, get_peft_model

from align.loading import load
from align.recipes import RLHF, Job
from align.rl.drawing import Engine
from align.stages import make, plan
from assistant.errors import Invalid
from assistant.registry import Registry
from assistant.settings import Settings
from assistant.version import Version
from tests.align.lessons import write
from tests.align.rounds import aligned
from tests.align.test_sampling import children_of

PROMPTS = 32
YES = "def yes(talk, facts):\n    return 'yes' in talk[-1]['content']\n"
SHORT: dict[str, Any] = {
    "phase": 16, "answers": 8, "batch": 16, "micro_batch": 16, "answer_tokens": 8,
    "learning_rate": 3e-3, "rank": 8, "beta": 0.001, "drift": 9.0, "budget": 9.0, "longer": 99.0,
    "repeats": 1.0,
}  # fmt: skip


def yes_rather_than_no(prompt: str) -> dict[str, str]:
    return {"prompt": prompt, "chosen": "yes", "rejected": "no"}


def learnt(settings: Settings, reward: tuple[str, ...], **knobs: Any) -> Any:
    lines = [{"prompt": f"Is {number} a number?", "way": number} for number in range(PROMPTS)]
    file = write(settings.home / "prompts.jsonl", lines)
    recipe = RLHF(reward=reward, **SHORT | knobs)
    return make("rlhf", Job(data=(str(file),)), recipe, settings, lambda _: None)


def test_what_is_rewarded_is_done_more(settings: Settings, tmp_path: Path):
    file = tmp_path / "own.py"
    file.write_text(YES)
    judged = [yes_rather_than_no(f"Is it {number}?") for number in range(8)]
    for pair in judged[::2]:  # so that nothing that is learnt is against what people prefer
        pair["chosen"], pair["rejected"] = pair["rejected"], pair["chosen"]
    judged.append(yes_rather_than_no("Is 3 a number?"))
    pairs = write(tmp_path / "pairs.jsonl", judged)
    rewards = (f"{file}:yes:0.01", "length:-1")
    version = learnt(settings, rewards, method="grpo", held_out=str(pairs), anchor=0.01)
    assert (version.kind, version.name) == ("rlhf", "rlhf-001")
    made = version.path / "made" / "rlhf"
    curve = [json.loads(line) for line in (made / "curve.jsonl").read_text().splitlines()]
    rewarded = [step["reward"] for step in curve if "reward" in step]
    assert len(curve) == 16  # steps, of two phases
    assert not any("entropy" in step for step in curve)  # nobody computes it
    assert all(step["moved"] >= 0 for step in curve)  # plain text is read beside it
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
    assert told["metrics"]["held_out_left_out"] == {"of a prompt that is learnt from": 1}
    assert told["metrics"]["held_out_right_first"] == 0.5  # nothing had moved yet
    assert told["metrics"]["held_out_right_last"] * 16 % 1 == 0  # of the eight unseen ones
    assert told["recipe"]["files"] == {str(file): sha256(YES.encode()).hexdigest()}
    assert "prompts (16 steps, reward " in version.source


@pytest.mark.long
def test_without_any_reward_nothing_is_made_of_it(settings: Settings):
    file = settings.home / "own.py"
    file.write_text("def nothing(talk, facts):\n    return None\n")
    with pytest.raises(Invalid, match=r"No answer got a reward \(.*: it returned nothing\)"):
        learnt(settings, (f"{file}:nothing",))
    assert [version.name for version in Registry(settings.home).versions()] == ["tiny"]


@pytest.mark.long
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


@pytest.mark.long
def test_killed_between_phases_it_tells_each_of_them_once(settings: Settings, tmp_path: Path):
    file = tmp_path / "own.py"
    file.write_text(
        "def half(talk, facts):\n    return len(talk[-1]['content']) if facts['odd'] else None\n"
    )
    lines = [{"prompt": f"Is {number} a number?", "odd": number % 2} for number in range(PROMPTS)]
    prompts = write(settings.home / "prompts.jsonl", lines)
    made = settings.home / "making" / "rlhf-001" / ".rlhf" / "model" / "made"
    knobs = SHORT | {"batch": 128, "phase": 16, "epochs": 2, "save_every": 0}
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in knobs.items()]
    command = ["rlhf", "--data", str(prompts), "--reward", f"{file}:half", *flags]
    aligned(command, settings, until=made / "checkpoints" / "checkpoint-2")
    aligned(command, settings)
    version = Registry(settings.home).get("rlhf-001")
    kept = version.path / "made" / "rlhf"
    curve = [json.loads(line) for line in (kept / "curve.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in curve] == [1, 2, 3, 4]
    samples = [json.loads(line) for line in (kept / "samples.jsonl").read_text().splitlines()]
    assert [sample["step"] for sample in samples] == [step for step in range(4) for _ in range(16)]
    told = json.loads((version.path / "made" / "training.json").read_text())["stages"][0]
    [missing] = told["metrics"]["without_reward"].values()
    assert missing == {"it returned nothing": 2 * PROMPTS // 2 * 8}  # of two epochs
    assert min(told["metrics"]["seconds"].values()) > 0  # also of what the killed process did


@pytest.mark.long
def test_a_dry_run_tells_what_two_phases_take_and_leaves_nothing(
    settings: Settings, capsys: pytest.CaptureFixture[str]
):
    lines = [{"prompt": f"Is {number} a number?"} for number in range(48)]
    prompts = write(settings.home / "prompts.jsonl", lines)
    recipe = RLHF(reward=("length:-1",), **SHORT | {"epochs": 2})
    found = plan(Job(data=(str(prompts),)), recipe, settings, lambda _: None)
    assert (found.prompts, found.phases, found.samples, found.steps) == (48, 6, 128, 8)
    assert {"drawing", "refreshing", "rewarding", "learning"} <= set(found.phase_seconds)
    assert min(found.phase_seconds.values()) > 0
    assert found.seconds > found.once_seconds > 1  # an engine was started
    assert found.memory > 2**29
    assert "48 prompts make 6 phases of 128 samples" in found.told()
    assert [version.name for version in Registry(settings.home).versions()] == ["tiny"]
    assert list((settings.home / "making").iterdir()) == []


def test_few_judgements_held_out_tell_nothing(settings: Settings, tmp_path: Path):
    pairs = write(tmp_path / "pairs.jsonl", [yes_rather_than_no("Is 3 a number?")])
    with pytest.raises(Invalid, match="1 pairs are left, and 8 are needed to tell anything"):
        learnt(settings, ("length:-1",), held_out=str(pairs))


def test_what_only_learnt_prompts_were_judged_about_is_held_back_from_learning(
    settings: Settings, tmp_path: Path
):
    asked = [f"Is {number} a number?" for number in range(20)]
    pairs = write(tmp_path / "pairs.jsonl", [yes_rather_than_no(prompt) for prompt in asked])
    with pytest.raises(Invalid, match="There are 24 prompts, and a phase takes 32"):
        learnt(settings, ("length:-1",), held_out=str(pairs), phase=32)


def test_rows_must_have_what_rewards_look_at(settings: Settings):
    with pytest.raises(Invalid, match="No row has 'answer', which --reward verifier:numeric looks"):
        learnt(settings, ("verifier:numeric",))


@pytest.mark.parametrize(
    ("knobs", "sentence"),
    [
        ({"phase": 99}, "There are 32 prompts, and a phase takes 99"),
        ({"answers": 1}, "give 2 or more"),
        ({"rank": 0}, "--rank 0: give 1 or more"),
        ({"longest": 2048}, "the engine reads 1024 tokens at most"),
        ({"longest": 20}, r"nothing to learn from: .* \(32 longer than 12 tokens\)"),
        ({"beta": 0}, "--beta 0: give more than 0"),
        ({"batch": 12}, "must be whole batches of --batch 12"),
        ({"batch": 0}, "--batch 0: give 1 or more"),
        ({"micro_batch": 0}, "--micro-batch 0: give 1 or more"),
        ({"phase": 0}, "--phase 0: give 1 or more"),
        ({"answer_tokens": 0}, "--answer-tokens 0: give 1 or more"),
    ],
)
def test_recipes_that_do_not_fit_are_refused_in_words(
    settings: Settings, knobs: dict[str, Any], sentence: str
):
    with pytest.raises(Invalid, match=sentence):
        learnt(settings, ("length:-1",), **knobs)
