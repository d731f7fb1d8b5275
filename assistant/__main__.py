"""`assistant …`: what an operator does besides opening the page."""

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from assistant.commands.keys import keys
from assistant.errors import AssistantError, NotFound
from assistant.settings import Settings, from_environment
from assistant.terminal import nobody_reads

if TYPE_CHECKING:
    from assistant.feedback.store import FeedbackStore

APP = Path(__file__).resolve().parents[1] / "app.py"
commands = tyro.extras.SubcommandApp()
feedback = tyro.extras.SubcommandApp()
commands.command(feedback, name="feedback", help="What people said: stats, export, import.")
commands.command(keys, name="keys", help="Who may use the API: create, list, revoke, usage.")


@commands.command
def serve() -> None:
    """Serve page and API, as `python app.py` does; takes the same flags."""
    # Reached only for its help: main() hands `serve` and its flags to app.py.


@commands.command
def models(*, json: bool = False) -> None:
    """List the versions on this machine; * marks the current one.

    Args:
        json: Print the cards as JSON.
    """
    from dataclasses import asdict

    from assistant.registry import Registry

    registry = Registry(_settings().home)
    current = registry.current
    versions = registry.versions()
    if json:
        _print_json([asdict(v) | {"current": v == current} for v in versions])
        return
    for version in versions:
        mark = "*" if version == current else " "
        print(f"{mark} {version.name:40} {version.kind:9} {version.created_at}  {version.source}")
    print("Next: assistant serve" if versions else "None yet. Next: assistant serve")


@commands.command
def promote(name: Annotated[str, tyro.conf.Positional]) -> None:
    """Make a version the current one; a running program swaps to it without dropping an answer.

    Args:
        name: The version, as `assistant models` names it.
    """
    from assistant.registry import Registry

    version = Registry(_settings().home).promote(name)
    print(f"{version.name} is current. Next: assistant models, or assistant rollback")


@commands.command
def rollback() -> None:
    """Make the version current that was so before the current one."""
    from assistant.registry import Registry

    version = Registry(_settings().home).rollback()
    print(f"{version.name} is current again. Next: assistant models")


@commands.command
def withdraw() -> None:
    """End the running trial without promoting its candidate."""
    from assistant.trials import Trials

    trials = Trials(_settings().home)
    trial = trials.running()
    if trial is None:
        raise NotFound("No version is on trial.")
    trials.end(trial, "withdrawn", "by hand", None)
    print(f"{trial.candidate} is no longer on trial. Next: align round")


@commands.command
def doctor() -> None:
    """Look over the machine, the versions and the store, and say what to do."""
    from assistant.doctor import examine

    lines = examine(_settings())
    for line in lines:
        print(line)


@feedback.command
def stats(*, json: bool = False) -> None:
    """Count conversations, judgements and the training rows they make.

    Args:
        json: Print them as JSON.
    """
    from assistant.feedback.rows import SHAPES
    from assistant.feedback.stats import count

    with _store() as store:
        counts = count(store)
    if json:
        _print_json(counts)
        return
    print(f"conversations   {counts['conversations']}, {counts['consented']} may train")
    for kind, number in counts["judgements"].items():
        print(f"judgements      {number} {kind}")
    for shape in SHAPES:
        rows = counts["rows"][shape]
        print(f"rows            {rows['rows']} {shape}")
        for reason, number in rows["left_out"].items():
            print(f"                {number} left out: {reason}")
    print("Next: assistant feedback export rows.jsonl --shape preference")


@feedback.command
def export(
    file: Annotated[Path, tyro.conf.Positional],
    *,
    shape: Literal["preference", "unpaired", "messages"] = "preference",
) -> None:
    """Write training rows in TRL's shapes to a .jsonl or .parquet file, with a manifest.

    Args:
        file: Where to write.
        shape: preference (DPO, reward), unpaired (KTO) or messages (SFT).
    """
    from assistant.feedback.export import write
    from assistant.feedback.rows import build

    with _store() as store:
        manifest = write(build(shape, store.snapshot()), shape, file)
    print(f"{manifest['rows']} rows written to {file}")
    for reason, number in manifest["left_out"].items():
        print(f"{number} left out: {reason}")


@feedback.command(name="import")
def import_(file: Annotated[Path, tyro.conf.Positional], *, skip_broken: bool = False) -> int:
    """Read judgements given elsewhere: pairs, rankings, thumbs, chats, in the usual formats.

    Importing states that you have the right to train on these rows.

    Args:
        file: What to read.
        skip_broken: Import the sound rows even if some are broken.
    """
    with _store() as store:
        report = store.load(file, skip_broken=skip_broken)
    for line, reason in sorted(report.broken.items()):
        print(f"line {line}: {reason}")
    if report.ignored_columns:
        print(f"columns not kept: {', '.join(sorted(report.ignored_columns))}")
    print(f"{report.imported} of {report.read} rows imported, {len(report.broken)} broken")
    if report.broken and not skip_broken:
        print("Nothing was imported. Mend the lines above, or add --skip-broken.")
        return 1
    print("Next: assistant feedback stats")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; what went wrong is one sentence and exit code 1."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["serve"] and not {"-h", "--help"} & set(given):
        os.execv(sys.executable, [sys.executable, str(APP), *given[1:]])
    try:
        code: int | None = commands.cli(prog="assistant", args=given)
        sys.stdout.flush()
    except AssistantError as error:
        print(error, file=sys.stderr)
        return 1
    except BrokenPipeError:
        return nobody_reads()
    return code or 0


def _settings() -> Settings:
    return from_environment(os.environ)


def _store() -> "FeedbackStore":
    from assistant.feedback.store import FeedbackStore

    return FeedbackStore(_settings().database)


def _print_json(value: object) -> None:
    dump: Callable[..., str] = json.dumps
    print(dump(value, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    sys.exit(main())
