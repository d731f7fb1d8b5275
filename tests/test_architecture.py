"""The shape of the code: who may import whom, and how large a file may grow."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("assistant", "align")
LONGEST_FILE = 300

# Heavy libraries, and the only places that may import them.
HEAVY = {
    "gradio": ("assistant/page/",),
    "torch": ("assistant/embedded.py", "assistant/inside_vllm/", "align/"),
    "transformers": ("assistant/embedded.py", "align/"),
    "trl": ("align/",),
    "peft": ("align/",),
    "vllm": ("assistant/engine_child.py", "assistant/inside_vllm/"),
}
CATCH_ALL = {"utils", "util", "helpers", "common", "misc", "base", "core", "manager", "tools"}


def sources() -> list[Path]:
    found = [ROOT / "app.py"]
    for package in PACKAGES:
        found += sorted((ROOT / package).rglob("*.py"))
    return found


def name_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(file: Path, *, when_loaded: bool = False) -> set[str]:
    """The modules a file imports, anywhere in it or only while it is loaded."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    nodes = _outside_functions(tree) if when_loaded else ast.walk(tree)
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _outside_functions(tree: ast.AST):
    for node in ast.iter_child_nodes(tree):
        yield node
        is_check = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if not is_check and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _outside_functions(node)


def test_serving_never_imports_training_or_the_program():
    for file in sources():
        if name_of(file).startswith("assistant"):
            assert not [i for i in imports(file) if i.split(".")[0] in ("align", "app")], file


def test_nothing_of_ours_is_imported_in_a_circle():
    names = {name_of(file): file for file in sources()}
    needs = {n: imports(f, when_loaded=True) & set(names) for n, f in names.items()}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " → ".join((*path, name))
        if name not in done:
            for needed in needs[name]:
                visit(needed, (*path, name))
            done.add(name)

    for name in names:
        visit(name, ())


def test_layers_below_know_nothing_of_those_above():
    above = {
        "assistant/feedback/": ("assistant.api", "assistant.page", "assistant.fleet"),
        "assistant/api/": ("assistant.page",),
        "assistant/page/": ("assistant.api",),
    }
    for file in sources():
        where = str(file.relative_to(ROOT))
        for layer, forbidden in above.items():
            if where.startswith(layer):
                assert not [i for i in imports(file) if i.startswith(forbidden)], where


def test_heavy_libraries_are_imported_only_where_they_are_used():
    for file in sources():
        where = str(file.relative_to(ROOT))
        for library, allowed in HEAVY.items():
            if library in {i.split(".")[0] for i in imports(file)}:
                assert where.startswith(allowed) if allowed else False, f"{where}: {library}"


@pytest.mark.parametrize("module", ["assistant.__main__", "assistant.settings", "app"])
def test_starting_loads_nothing_heavy(module: str):
    code = f"import {module}, sys; print(*sorted(set(sys.modules) & {set(HEAVY)!r}))"
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert said.stdout.strip() == ""


def test_files_can_be_held_in_the_head():
    tests = [*(ROOT / "tests").rglob("*.py"), *(ROOT / "requirements").glob("*.py")]
    for file in [*sources(), *tests]:
        lines = len(file.read_text(encoding="utf-8").splitlines())
        assert lines <= LONGEST_FILE, f"{file.relative_to(ROOT)} has {lines} lines"


def test_no_file_is_named_for_everything():
    for file in sources():
        assert not CATCH_ALL & set(file.relative_to(ROOT).with_suffix("").parts), file


def test_the_tests_mirror_the_tree():
    for folder in (ROOT / "tests" / package for package in PACKAGES):
        for test in folder.rglob("test_*.py"):
            mirrored = ROOT / test.relative_to(ROOT / "tests").parent
            assert mirrored.is_dir(), f"{test} tests nothing at its place"
