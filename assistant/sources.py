"""From what someone calls a model (a version, a folder, a hub name) to a registered version."""

import asyncio
import re
import sys
from collections.abc import Callable
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError

from assistant.errors import ModelError, NotFound
from assistant.registry import NAME, SERVED_FILES, Registry
from assistant.version import Version, speaking

EMBEDDED = "smollm2-135m-instruct-q4"
HUB_NAME = re.compile(r"^[\w.-]+/[\w.-]+$")
Report = Callable[[str], None]


async def resolve(model: str, registry: Registry, report: Report) -> Version:
    """Find, make, register or download what `model` names; progress goes to `report`.

    Raises ModelError or NotFound with a sentence saying what can be used instead.
    """
    if model == "current" and (current := registry.current):
        return current
    if model in ("current", EMBEDDED):
        version = await embedded(registry, report)
        return registry.promote(version.name) if model == "current" else version
    if registry.has(model):
        return speaking(registry.get(model))
    if Path(model).is_dir():
        return await asyncio.to_thread(_in_place, Path(model), "folder", model, registry)
    if HUB_NAME.match(model):
        report(f"downloading {model}")
        folder = await asyncio.to_thread(_download, model)
        return await asyncio.to_thread(_in_place, folder, "hub", model, registry)
    known = ", ".join(v.name for v in registry.versions()) or "none yet"
    raise NotFound(
        f"{model!r} is neither a version (there are: {known}), nor a folder here, nor a hub name "
        "such as Qwen/Qwen3-0.6B."
    )


def resolve_now(model: str, registry: Registry, report: Report) -> Version:
    """`resolve` for programs that have nothing else to do meanwhile."""
    return asyncio.run(resolve(model, registry, report))


async def embedded(registry: Registry, report: Report) -> Version:
    """The embedded model; made in a process of its own the first time, since it needs torch."""
    if registry.has(EMBEDDED):
        return registry.get(EMBEDDED)
    report("making the embedded model ready: 0 %")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "assistant.embedded", str(registry.folder.parent)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    complaints = asyncio.create_task(process.stderr.read())
    try:
        told = 0
        async for line in process.stdout:
            done, total = map(int, line.split())
            if (tenth := 10 * done // total) > told:
                told = tenth
                report(f"making the embedded model ready: {10 * told} %")
        if await process.wait() != 0:
            words = (await complaints).decode(errors="replace").strip().splitlines()
            raise ModelError(words[-1] if words else "The embedded model could not be made.")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return registry.get(EMBEDDED)


def _in_place(folder: Path, kind: str, source: str, registry: Registry) -> Version:
    """The version registered for this folder, or a new one if there is none yet."""
    for version in registry.versions():
        if version.path == folder.resolve():
            return version
    name = _free_name(Path(source).resolve().name if kind == "folder" else source, registry)
    return registry.register_in_place(name, folder, kind=kind, source=source)


def _free_name(source: str, registry: Registry) -> str:
    plain = re.sub(r"[^a-z0-9._-]+", "-", source.split("/")[-1].lower()).strip("._-")[:56]
    plain = plain if NAME.match(plain) else f"model-{plain}".rstrip("-")
    if not registry.has(plain):
        return plain
    return next(n for i in range(2, 10_000) if not registry.has(n := f"{plain}-{i}"))


def _download(model: str) -> Path:
    try:
        return Path(snapshot_download(model, allow_patterns=list(SERVED_FILES)))
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise ModelError(
            f"The model {model!r} could not be had from the hub ({type(error).__name__}): check "
            "its name and the network, or set ASSISTANT_MODEL to a local folder."
        ) from error
