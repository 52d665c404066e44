"""The documentation names what there is: settings, commands, verbs, files, dependencies."""

import importlib
import re
from pathlib import Path

import pytest
from django.core.management import get_commands

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
OURS = {"annotation", "judges", "routing", "exports", "dashboard"}


def text_of(*names: str) -> str:
    return "\n".join((ROOT / name).read_text() for name in names)


def test_every_environment_variable_the_settings_read_is_described() -> None:
    source = text_of("config/settings.py")
    read = set(re.findall(r'(?:env(?:\.\w+)?|_required)\(\s*"([A-Z_]+)"', source))
    assert {"DATABASE_URL", "SECRET_KEY", "TIEBREAK_JUDGE_HOSTS"} <= read
    described = set(re.findall(r"`([A-Z_]+)`", text_of("docs/operating.md")))
    assert read - described == set()
    assert {name for name in described if name.startswith("TIEBREAK_")} - read == set()


@pytest.mark.parametrize("command", sorted(name for name, app in get_commands().items() if app in OURS))
def test_every_command_is_described(command: str) -> None:
    assert any(command in path.read_text() for path in DOCUMENTS)


def test_every_verb_of_the_architecture_page_exists() -> None:
    rows = re.findall(r"^\| (?:`([\w.]+)`|) \| (.+?) \|", text_of("docs/architecture.md"), flags=re.MULTILINE)
    module = ""
    named = []
    for name, calls in rows:
        module = name or module
        if module.split(".")[0] in OURS:
            named += [(module, call) for call in re.findall(r"`(\w+)(?:\(|:)", calls)]
    assert len(named) > 25
    missing = [f"{module}.{call}" for module, call in named if not hasattr(importlib.import_module(module), call)]
    assert missing == []


def test_every_direct_dependency_has_its_reason() -> None:
    reasons = text_of("docs/dependencies.md")
    lists = text_of(
        "requirements/runtime.in",
        "requirements/dev.in",
        "requirements-local.txt",
        "requirements-gpu.txt",
        "requirements-consumers.txt",
    )
    names = re.findall(r"^([a-z][\w-]*)", lists, flags=re.MULTILINE)
    assert len(names) > 30
    assert [name for name in names if name not in reasons] == []


def test_links_and_pictures_between_documents_lead_somewhere() -> None:
    for path in DOCUMENTS:
        for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"
