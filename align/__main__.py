"""`align …`: make the next version. Every command ends by naming the next one to run."""

import contextlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from align import ranks
from align.data.commands import data
from align.quick.building import KERNELS
from align.recipes import DPO, KTO, RLHF, SFT, AsJson, Job, Pretrain, Recipe, Reward, Round, Safety
from align.stopping import why_stopped
from assistant.errors import AssistantError
from assistant.machine import Machine
from assistant.settings import Settings, from_environment
from assistant.terminal import nobody_reads

NICENESS = 19
# Read when OpenMP is loaded: threads that wait for each other soon yield, so that a served model on
# the same cores gets them at once.
GENTLE = {
    "GOMP_SPINCOUNT": "1000",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TQDM_DISABLE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}
Asked = tyro.conf.OmitArgPrefixes[Job]
commands = tyro.extras.SubcommandApp()
commands.command(data, name="data", help="Look at what would be learnt from, and clean it.")


@commands.command
def sft(job: Asked, recipe: tyro.conf.OmitArgPrefixes[SFT], *, json: AsJson = False) -> None:
    """Learn to imitate good answers."""
    _make("sft", job, recipe, json)


@commands.command
def pretrain(
    job: Asked, recipe: tyro.conf.OmitArgPrefixes[Pretrain], *, json: AsJson = False
) -> None:
    """Learn to continue text as it was written."""
    _make("pretrain", job, recipe, json)


@commands.command
def reward(job: Asked, recipe: tyro.conf.OmitArgPrefixes[Reward], *, json: AsJson = False) -> None:
    """Learn to score answers as people judge them."""
    _make("reward", job, recipe, json)


@commands.command
def dpo(job: Asked, recipe: tyro.conf.OmitArgPrefixes[DPO], *, json: AsJson = False) -> None:
    """Learn to prefer the better of two answers."""
    _make("dpo", job, recipe, json)


@commands.command
def kto(job: Asked, recipe: tyro.conf.OmitArgPrefixes[KTO], *, json: AsJson = False) -> None:
    """Learn from verdicts on single answers: thumbs, equally good, both bad."""
    _make("kto", job, recipe, json)


@commands.command
def rlhf(
    job: Asked,
    recipe: tyro.conf.OmitArgPrefixes[RLHF],
    *,
    dry_run: Annotated[bool, tyro.conf.arg(help="Only tell what it takes, by two phases.")] = False,
    json: AsJson = False,
) -> None:
    """Learn from rewards for answers of one's own: verifiers, reward models, rules."""
    if dry_run:
        _plan(job, recipe, json)
        return
    _make("rlhf", job, recipe, json)


@commands.command
def safety(job: Asked, recipe: tyro.conf.OmitArgPrefixes[Safety], *, json: AsJson = False) -> None:
    """Learn to refuse what does harm and nothing else, and to tell the two apart."""
    KERNELS.begin()
    from dataclasses import asdict

    from align.safety.making import make

    version, moderator = make(job, recipe, _settings(), _report(json))
    if json:
        _print_json({"version": asdict(version), "moderation": asdict(moderator)})
        return
    for made in (version, moderator):
        print(f"{made.name}: {made.source}")
    print(f"Next: assistant promote {version.name}; /v1/moderations uses {moderator.name}")


@commands.command(name="round")
def round_(
    sft: SFT,
    dpo: DPO,
    kto: KTO,
    *,
    base: str = "current",
    seed: int = 0,
    replay: float = 0.0,
    trainings: int | None = None,
    json: AsJson = False,
) -> None:
    """Turn what people said into a candidate, check it for harm, and put it on trial.

    Args:
        sft: How corrections are imitated.
        dpo: How pairs are learnt.
        kto: How verdicts on single answers are learnt.
        base: What to start from.
        seed: Everything random follows from it.
        replay: Share of each stage's rows that the base has learnt from before, against forgetting.
        trainings: Trainings with other seeds whose weights are averaged; without it two where few
            rows were given, and otherwise one.
    """
    KERNELS.begin()
    from align import round as rounds

    asked = Round(base, seed, replay, trainings, sft, dpo, kto)
    outcome = rounds.run(asked, _settings(), _report(json))
    if json:
        _print_json(outcome)
        return
    for check in outcome["checks"]:
        print(
            f"  {check['name']:14} {check['before']:8.3g} → {check['after']:8.3g}   change "
            f"{check['low']:+.3g} to {check['high']:+.3g}   {'HARM' if check['harm'] else ''}"
        )
    if outcome["state"] == "refused":
        print(f"{outcome['candidate']} is not put on trial: {'; '.join(outcome['reasons'])}.")
        print("Next: give more judgements, or align round with another recipe")
        return
    print(f"{outcome['candidate']} is on trial. Next: vote in the Compare tab")


@commands.command(name="publish")
def publish_(
    version: tyro.conf.Positional[str] = "current",
    *,
    form: Literal["int8", "bf16"] = "int8",
    json: AsJson = False,
) -> None:
    """Serve a version in 8 bits, if that is faithful enough, or in bf16 again.

    Args:
        version: Whose form to change: `current` or a version's name.
        form: Weights and activations in 8 bits, or the version's own files.
    """
    from dataclasses import asdict

    from align.publish import publish

    made = publish(version, form, _settings(), _report(json))
    if json:
        _print_json(asdict(made.published))
        return
    for name, check in made.published.checks.items():
        print(f"  {name:14} {check['value']:8.3g}   {'FAILED' if check['failed'] else ''}")
    for reason in made.published.reasons:
        print(f"{made.name} stays in bf16: {reason}")
    print(f"{made.name} is served in {made.published.form} from the engine's next start on")


@commands.command
def story(
    folder: Path = Path("from-scratch-results"),
    *,
    out: Path | None = None,
    text: Path | None = None,
    minutes: float = 12.0,
    seed: int = 0,
) -> None:
    """Make a base of one's own an assistant, step by step, and tell it in pictures.

    Args:
        folder: Where its home, its data and what it said are kept; the same folder goes on.
        out: Where the story goes; without it, into `story` in the folder.
        text: More to read in pre-training: a file whose documents are apart by an empty line.
        minutes: Of pre-training, about, on two cores.
        seed: Everything random follows from it.
    """
    KERNELS.begin()
    from align.story import road

    print(f"To watch it in the page's Align tab: ASSISTANT_HOME={folder / 'home'} make chat")
    for file in road.run(folder, out or folder / "story", text, minutes, seed, _report(False)):
        print(file)
    print(f"Next: ASSISTANT_HOME={folder / 'home'} make chat, and look at each version")


def run() -> int:
    """The program: `main`, once the allocator is there that makes training a quarter faster."""
    allocator = Machine.this().tcmalloc
    if allocator and "LD_PRELOAD" not in os.environ:
        again = [sys.executable, "-m", "align", *sys.argv[1:]]
        os.execve(sys.executable, again, os.environ | {"LD_PRELOAD": allocator})
    if ranks.follower():
        _be_gentle()
        return ranks.leave(ranks.follow())
    code = main()
    if code == 0:  # else whoever launched them ends the others
        ranks.release()
    return ranks.leave(code)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; what went wrong is one sentence and exit code 1."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    _be_gentle()
    try:
        commands.cli(prog="align", args=given)
        sys.stdout.flush()
    except AssistantError as error:
        print(error, file=sys.stderr)
        return 1
    except BrokenPipeError:
        return nobody_reads()
    except (KeyboardInterrupt, MemoryError, RuntimeError, OSError) as error:
        why = why_stopped(error)
        if not why:
            raise
        print(f"Stopped{why}", file=sys.stderr)
        return 130 if isinstance(error, KeyboardInterrupt) else 1
    return 0


def _make(stage: str, job: Job, recipe: Recipe, as_json: bool) -> None:
    KERNELS.begin()
    from dataclasses import asdict

    from align.stages import make

    version = make(stage, job, recipe, _settings(), _report(as_json))
    if as_json:
        _print_json(asdict(version))
        return
    following = "assistant promote" if version.speaks else "align data generate --scorer"
    print(f"{version.name}: {version.source}. Next: {following} {version.name}")


def _plan(job: Job, recipe: RLHF, as_json: bool) -> None:
    KERNELS.begin()
    from dataclasses import asdict

    from align.stages import plan

    found = plan(job, recipe, _settings(), _report(as_json))
    if as_json:
        _print_json(asdict(found) | {"seconds": found.seconds})
        return
    print(found.told())


def _be_gentle() -> None:
    """Leave the processor to whoever serves people."""
    for name, value in GENTLE.items():
        os.environ.setdefault(name, value)
    if hasattr(os, "nice"):
        os.nice(NICENESS - os.nice(0))
    if hasattr(os, "sched_setscheduler"):
        with contextlib.suppress(OSError):  # whoever serves interrupts it at once
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def _report(quiet: bool) -> Callable[[str], None]:
    out = sys.stderr if quiet else sys.stdout
    return lambda line: print(line, file=out, flush=True)


def _settings() -> Settings:
    return from_environment(os.environ)


def _print_json(value: Any) -> None:
    dump: Callable[..., str] = json.dumps
    print(dump(value, indent=2, ensure_ascii=False, default=str))


if __name__ == "__main__":
    sys.exit(run())
