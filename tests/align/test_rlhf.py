"""Learning from rewards: a tiny model says more of what is rewarded, in phases of an engine."""

import json
from pathlib import Path
from typing import Any

import pytest

from align.recipes import RLHF, Job
from align.stages import make
from assistant.errors import Invalid
from assistant.registry import Registry
from assistant.settings import Settings
from tests.align.lessons import write

PROMPTS = 16
YES = "def yes(talk, facts):\n    return 'yes' in talk[-1]['content']\n"
SHORT: dict[str, Any] = {
    "phase": 8, "answers": 4, "batch": 16, "micro_batch": 8, "answer_tokens": 8,
    "learning_rate": 2e-2, "rank": 4, "drift": 9.0, "budget": 9.0,
}  # fmt: skip


def learnt(settings: Settings, reward: tuple[str, ...], **knobs: Any) -> Any:
    lines = [{"prompt": f"Is {number} a number?", "way": number} for number in range(PROMPTS)]
    file = write(settings.home / "prompts.jsonl", lines)
    recipe = RLHF(reward=reward, **SHORT | knobs)
    return make("rlhf", Job(data=(str(file),)), recipe, settings, lambda _: None)


def test_what_is_rewarded_is_said_more_often(settings: Settings, tmp_path: Path):
    file = tmp_path / "own.py"
    file.write_text(YES)
    version = learnt(settings, (f"{file}:yes", "length:-0.01"), method="grpo")
    assert (version.kind, version.name) == ("rlhf", "rlhf-001")
    made = version.path / "made" / "rlhf"
    curve = [json.loads(line) for line in (made / "curve.jsonl").read_text().splitlines()]
    rewarded = [step["reward"] for step in curve if "reward" in step]
    assert len(curve) == 4  # steps, of two phases
    assert len(rewarded) == 2
    assert rewarded[1] > rewarded[0]
    apart = [step["sampling/sampling_logp_difference/mean"] for step in curve if "reward" in step]
    assert max(apart) < 0.05  # after its weights changed, too, the engine drew from the same model
    samples = [json.loads(line) for line in (made / "samples.jsonl").read_text().splitlines()]
    assert {sample["step"] for sample in samples} == {0, 2}
    for sample in samples:
        assert sample["rewards"][f"{file}:yes"] == float("yes" in sample["answer"])
    told = json.loads((version.path / "made" / "training.json").read_text())["stages"][0]
    assert told["metrics"]["without_reward"] == {}
    assert told["metrics"]["reward_last"] > told["metrics"]["reward_first"]


def test_without_any_reward_nothing_is_made_of_it(settings: Settings):
    with pytest.raises(Invalid, match=r"No answer got a reward \(verifier:numeric: the row has no"):
        learnt(settings, ("verifier:numeric",))
    assert [version.name for version in Registry(settings.home).versions()] == ["tiny"]


@pytest.mark.parametrize(
    ("knobs", "sentence"),
    [
        ({"phase": 99}, "There are 16 prompts, and a phase takes 99"),
        ({"answers": 1}, "give 2 or more"),
        ({"batch": 12}, "must be whole batches of --batch 12"),
    ],
)
def test_recipes_that_do_not_fit_are_refused_in_words(
    settings: Settings, knobs: dict[str, Any], sentence: str
):
    with pytest.raises(Invalid, match=sentence):
        learnt(settings, ("length:-1",), **knobs)
