"""The documents: what they name exists, and what they promise is offered."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from assistant.feedback.records import PAIR_CHOICES, REASONS
from assistant.settings import from_environment

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: str(d.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path):
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
        assert (document.parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: str(d.relative_to(ROOT)))
def test_documents_name_no_machine_and_no_index(document: Path):
    text = document.read_text(encoding="utf-8")
    assert not re.search(r"pypi|/(root|work|tmp)/|jfrog|artifactory", text)


def test_every_make_target_and_command_of_the_readme_exists():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"\bmake ([a-z-]+)", readme)) - {"it", "the"} <= targets
    commands = set(re.findall(r"bin/assistant ([a-z ]+?)(?:\s{2,}| [a-z]+\.|$)", readme, re.M))
    assert len(commands) >= 5
    for command in commands:
        subprocess.run(
            [sys.executable, "-m", "assistant", *command.split(), "--help"],
            check=True,
            capture_output=True,
        )


def test_every_variable_of_the_readme_is_read_and_none_is_missing():
    read: set[str] = set()

    class Environment(dict[str, str]):
        def get(self, name: str, default: object = None):
            read.add(name)
            return super().get(name, default)

    from_environment(Environment())
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"ASSISTANT_[A-Z_]+", readme)) == read


def test_the_tree_of_the_readme_is_the_tree():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    tree = readme.split("```")[-2]
    places = [ROOT, ROOT / "assistant", ROOT / "align"]
    for name in re.findall(r"^  (?:  )?([a-z_]+\.py|[a-z]+/)", tree, re.M):
        assert any((place / name).exists() for place in places), name
    small = {"__init__.py", "__main__.py", "errors.py", "home.py", "sse.py", "prompts.py"}
    small |= {"doctor.py", "engine_child.py", "progress.py", "steps.py", "rendering.py"}
    small |= {"terminal.py", "disk.py", "bodies.py"}
    for file in [*(ROOT / "assistant").glob("*.py"), *(ROOT / "align").glob("*.py")]:
        assert file.name in tree or file.name in small, file.name


def test_the_api_document_knows_every_reason_and_choice():
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    for word in (*PAIR_CHOICES, *REASONS["up"], *REASONS["down"]):
        assert re.search(rf"\b{word}\b", text), word
