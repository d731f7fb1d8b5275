"""A round: what people said becomes a candidate on trial, or a sentence that says why not."""

import json
import shutil
from pathlib import Path

import pytest
from filelock import FileLock

from align.merging import TrainingFailed
from align.stages import learnt_by
from assistant.errors import Invalid, ModelError, NotFound
from assistant.registry import Registry
from assistant.settings import Settings
from assistant.trials import Trials
from assistant.version import Version
from tests.align.conftest import NAME
from tests.align.lessons import files_no_larger_than, judge, tree_hash, weights_hash
from tests.align.rounds import STEEP, begun, copied, killed_when, knobs, run, versions
from tests.align.test_sampling import children_of
from tests.serving import eventually

PAIRS, HELD_OUT, THUMBS = 30, 3, 12
YES_ONLY = " yes yes yes yes"


@pytest.fixture(scope="module")
def judged(measured_home: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A home in which enough was said; copy it."""
    settings = copied(measured_home, tmp_path_factory.mktemp("judged") / "home")
    judge(settings, pairs=PAIRS, ups=THUMBS, downs=THUMBS)
    return settings


@pytest.fixture(scope="module")
def finished(judged: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A home in which a round has run to its end without a break; read it only."""
    settings = copied(judged, tmp_path_factory.mktemp("finished") / "home")
    run(settings)
    return settings


@pytest.fixture
def home(judged: Settings, tmp_path: Path) -> Settings:
    return copied(judged, tmp_path / "home")


@pytest.fixture
def after(finished: Settings, tmp_path: Path) -> Settings:
    """A home with a finished round, to go on from."""
    return copied(finished, tmp_path / "home")


def read(settings: Settings, name: str) -> dict:
    return json.loads((settings.home / "rounds" / "round-001" / name).read_text())


def stopped_when_begun(settings: Settings, **more) -> None:
    """Begin a round on a disk that is full before anything is learnt."""
    with files_no_larger_than(200_000), pytest.raises(OSError, match="File too large"):
        run(settings, knobs(**more))


def test_what_people_said_becomes_a_candidate_on_trial(finished: Settings):
    outcome = read(finished, "outcome.json")
    assert (outcome["state"], outcome["candidate"]) == ("on trial", "round-001")
    assert [c["name"] for c in outcome["checks"] if c["harm"]] == []
    assert outcome["checks"][-1]["says"].startswith(f"of {HELD_OUT} held-out pairs")
    registry = Registry(finished.home)
    candidate = registry.get("round-001")
    assert (candidate.kind, candidate.base) == ("round", NAME)
    assert candidate.source.startswith(f"dpo on {PAIRS - HELD_OUT} rows (14 steps")
    assert f"→ kto on {2 * THUMBS} rows (12 steps" in candidate.source
    assert candidate.content_hash != registry.get(NAME).content_hash
    registry.verify(candidate)
    assert [version.name for version in registry.versions()] == [NAME, "round-001"]
    assert registry.current == registry.get(NAME)  # people's votes promote, not a round
    trial = Trials(finished.home).running()
    assert trial is not None
    assert (trial.candidate, trial.against) == ("round-001", NAME)


def test_a_round_tells_its_rows_and_keeps_every_stages_adapter_and_curve(finished: Settings):
    told = read(finished, "data.json")
    assert told["given"] == {
        "corrections": 0,
        "pairs": PAIRS,
        "good answers": THUMBS,
        "bad answers": THUMBS,
    }
    assert told["stages"]["dpo"]["held_out"] == HELD_OUT
    made = Registry(finished.home).get("round-001").path / "made"
    story = json.loads((made / "training.json").read_text())
    assert [(s["stage"], s["rows"]) for s in story["stages"]] == [("dpo", 27), ("kto", 24)]
    assert len(story["judgements"]) == PAIRS - HELD_OUT + 2 * THUMBS
    for stage in ("dpo", "kto"):
        assert (made / stage / "adapter" / "adapter_model.safetensors").is_file()
        assert (made / stage / "curve.jsonl").is_file()


def test_a_second_round_waits_for_the_trial_and_changes_nothing(after: Settings):
    before = [tree_hash(after.home / part) for part in ("rounds", "versions", "trials")]
    with pytest.raises(Invalid, match="round-001 is on trial; people's votes decide it first"):
        run(after)
    assert [tree_hash(after.home / part) for part in ("rounds", "versions", "trials")] == before


def withdraw(settings: Settings) -> None:
    trials = Trials(settings.home)
    running = trials.running()
    assert running is not None
    trials.end(running, "withdrawn", "by hand", None)


def test_nothing_is_done_twice_where_nothing_new_was_said(after: Settings):
    withdraw(after)
    before = tree_hash(after.home / "rounds")
    with pytest.raises(Invalid, match="Nothing was said since round-001"):
        run(after)
    assert tree_hash(after.home / "rounds") == before
    stopped_when_begun(after, seed=1)
    assert begun(after) == ["round-001", "round-002"]


def test_one_more_judgement_is_reason_for_another_round(after: Settings):
    withdraw(after)
    judge(after, pairs=1)
    stopped_when_begun(after)
    assert begun(after) == ["round-001", "round-002"]


def test_a_promoted_candidate_has_learnt_all_but_what_was_held_out(after: Settings):
    registry = Registry(after.home)
    withdraw(after)
    registry.promote("round-001")
    assert len(learnt_by(registry.get("round-001"), registry)) == 51
    too_little = f"0 corrections, {HELD_OUT} pairs, 0 good answers, 0 bad answers"
    with pytest.raises(Invalid, match=too_little):
        run(after)
    assert begun(after) == ["round-001"]


def test_a_round_killed_between_registering_and_noting_it_goes_on(after: Settings):
    shutil.rmtree(after.home / "rounds" / "round-001" / "register")
    (after.home / "rounds" / "round-001" / "outcome.json").unlink()
    before = tree_hash(after.home / "versions")
    outcome, said = run(after)
    assert outcome["state"] == "on trial"
    assert "register: begins" in said
    assert not [line for line in said if line.startswith(("dpo: begins", "check: begins"))]
    assert tree_hash(after.home / "versions") == before
    assert len(Trials(after.home).all()) == 1


@pytest.mark.long
def test_killed_anywhere_a_round_ends_as_if_it_had_not_been(home: Settings, finished: Settings):
    place = home.home / "rounds" / "round-001"
    checkpoint = place / ".dpo" / "model" / "made" / "checkpoints" / "checkpoint-10"
    killed_when(checkpoint / "trainer_state.json", home)
    assert not (place / "dpo").exists()
    mark(place / ".dpo" / "model" / "made" / "curve.jsonl")

    said = killed_when(place / ".register", home)
    assert "dpo: finished" in said

    said = killed_when(home.home / "engine" / "measuring" / "round-001.log", home)
    assert "dpo: finished before" in said
    assert not (place / "check").exists()
    assert eventually(lambda: children_of(home.home) == [], seconds=30)

    # The candidate has the weights, and so the measures, of the round that was not killed.
    shutil.copytree(finished.home / "measures", home.home / "measures", dirs_exist_ok=True)
    outcome, said = run(home)
    assert "register: finished before" in " ".join(said)
    expected = read(finished, "outcome.json")
    assert {**outcome, "seconds": 0} == {**expected, "seconds": 0}
    one, other = (Registry(s.home).get("round-001") for s in (home, finished))
    assert weights_hash(one.path) == weights_hash(other.path)
    assert one.content_hash == other.content_hash
    for stage in ("dpo", "kto"):
        assert curve(one, stage) == curve(other, stage)
    assert "kept" in lines(one, "dpo")[0]  # what was learnt before the kill was not learnt again
    assert len(Trials(home.home).all()) == 1


def mark(curve: Path) -> None:
    """Mark the first step of a curve, and add one that no checkpoint knows."""
    first, *others = curve.read_text().splitlines()
    first = json.dumps(json.loads(first) | {"kept": True})
    beyond = json.dumps({"step": 99, "loss": 0.0, "grad_norm": 0.0})
    curve.write_text("\n".join([first, *others, beyond, ""]))


def lines(version: Version, stage: str) -> list[dict]:
    text = (version.path / "made" / stage / "curve.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def curve(version: Version, stage: str) -> list[tuple[int, float, float]]:
    return [(e["step"], e["loss"], e["grad_norm"]) for e in lines(version, stage)]


def test_harm_keeps_a_candidate_from_trial(measured_home: Settings, tmp_path: Path):
    settings = copied(measured_home, tmp_path / "home")
    judge(settings, pairs=PAIRS, chosen=YES_ONLY)
    outcome, _ = run(settings, knobs(STEEP))
    assert outcome["state"] == "refused"
    assert any(reason.startswith("perplexity") for reason in outcome["reasons"])
    assert versions(settings) == [NAME, "round-001"]
    assert Trials(settings.home).all() == []
    with pytest.raises(Invalid, match="Nothing was said since round-001"):
        run(settings, knobs(STEEP))


def test_too_little_is_said_in_numbers_and_leaves_nothing(settings: Settings):
    judge(settings, pairs=18, ups=10, downs=4, corrections=1)
    with pytest.raises(Invalid) as refused:
        run(settings)
    assert "(1 corrections, 19 pairs, 10 good answers, 4 bad answers, with consent)" in str(
        refused.value
    )
    assert "1 more pairs with a better side" in str(refused.value)
    assert begun(settings) == []


def test_training_that_fails_makes_way_for_another_recipe(home: Settings):
    with pytest.raises(TrainingFailed, match="smaller --learning-rate"):
        run(home, knobs(STEEP | {"learning_rate": 1e20}))
    assert begun(home) == []
    with pytest.raises(Invalid, match="27 longer than 5 tokens"):
        run(home, knobs(STEEP | {"longest": 5}))
    assert begun(home) == []
    assert versions(home) == [NAME]


def test_what_a_full_disk_interrupted_goes_on_with_what_it_began_with(home: Settings):
    stopped_when_begun(home)
    recipe = read(home, "begun.json")["recipes"]["dpo"]
    judge(home, pairs=3)
    stopped_when_begun(home, seed=3)
    assert begun(home) == ["round-001"]
    assert read(home, "begun.json")["recipes"]["dpo"] == recipe
    assert read(home, "begun.json")["seed"] == 0


def test_rows_of_a_run_that_was_killed_while_collecting_are_not_used(home: Settings):
    left = home.home / "rounds" / ".round-001"
    left.mkdir(parents=True)
    (left / "sft.held-out.jsonl").write_text("said before it was taken back")
    stopped_when_begun(home)
    assert begun(home) == ["round-001"]
    assert not list((home.home / "rounds").rglob("sft*"))


def test_a_number_is_never_given_twice(after: Settings):
    withdraw(after)
    shutil.rmtree(after.home / "rounds" / "round-001")
    stopped_when_begun(after)
    assert begun(after) == ["round-002"]


@pytest.mark.parametrize("base", ["nothing", "no/such/folder"])
def test_a_base_that_is_nowhere_is_said(home: Settings, base: str):
    with pytest.raises(NotFound, match=rf"'{base}' is neither a version \(there are: tiny\)"):
        run(home, knobs(base=base))
    assert begun(home) == []


def test_a_base_without_its_weights_is_said(home: Settings):
    (home.home / "versions" / NAME / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"'tiny' lacks model\.safetensors"):
        run(home)
    assert begun(home) == []


def test_a_base_that_went_away_since_a_round_began_is_said(home: Settings):
    stopped_when_begun(home)
    (home.home / "versions" / NAME).rename(home.home / "elsewhere")
    with pytest.raises(Invalid, match="round-001 began from tiny, which is gone"):
        run(home)
    (home.home / "elsewhere").rename(home.home / "versions" / NAME)
    stopped_when_begun(home)


def test_two_rounds_never_run_at_once(home: Settings):
    (home.home / "rounds").mkdir()
    with (
        FileLock(home.home / "rounds" / "lock"),
        pytest.raises(Invalid, match="A round is running already"),
    ):
        run(home)
