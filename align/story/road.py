"""`align story`: pre-train, tune, align, ask, and tell; goes on where it was stopped."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from align.steps import Report, Steps
from align.story import asking, telling, walk
from align.story.telling import Told
from assistant.errors import Invalid
from assistant.registry import Registry
from assistant.settings import from_environment
from assistant.version import Version


def run(
    folder: Path, out: Path, text: Path | None, minutes: float, seed: int, report: Report
) -> list[Path]:
    """All of it, with a home of its own in `folder`; returns the stories that were written.

    Raises Invalid where there is no file `text`, or the folder holds what was made otherwise.
    """
    if text and not text.is_file():
        raise Invalid(f"There is no file {text} to read.")
    home = folder.resolve() / "home"
    settings = from_environment({"ASSISTANT_HOME": str(home)})
    there = walk.World.of(seed)
    files = walk.write_data(there, folder / "data", text, seed)
    way = walk.stages(minutes)
    walk.require_same(way, files, seed, folder)
    made = walk.walk(way, files, settings, seed, report)
    steps, took = Steps(folder / "asked", report), walk.minutes(home)

    def questioned(version: Version) -> Callable[[Path], dict[str, Any]]:
        return lambda _scratch: asking.ask(version, there, home)

    told = []
    for stage in way:
        version, asked = made[stage.name], None
        if version.speaks:
            work = questioned(version)
            asked = steps.do(stage.name, work, version=version.content_hash)
        told.append(Told(stage, version, asked, took.get(stage.name)))
    registry = Registry(home)
    if registry.current != told[-1].version:
        registry.promote(way[-1].name)
    return telling.tell(told, walk.machine(), out)
