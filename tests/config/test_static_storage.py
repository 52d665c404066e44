"""Whether what a browser fetches fits together under its hashed names, and how much it is."""

import gzip
import re
from pathlib import Path

import pytest
from django.core.management import call_command
from django.test import override_settings

SHEETS = ("tokens", "base", "components", "reading", "annotating/*")
HASHED = re.compile(r"\.[0-9a-f]{12}\.")
IMPORTS = re.compile(r"""(?:from|import) "\./([^"]+)\"""")


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("static")
    storages = {"staticfiles": {"BACKEND": "config.static_storage.ModuleStorage"}}
    with override_settings(STATIC_ROOT=root, STORAGES=storages):
        call_command("collectstatic", interactive=False, verbosity=0)
    return root


def test_every_module_imports_others_by_their_hashed_names(collected: Path) -> None:
    modules = [path for path in (collected / "js/annotating").glob("*.js") if HASHED.search(path.name)]
    imported = {(module.parent / name) for module in modules for name in IMPORTS.findall(module.read_text())}
    assert len(modules) > 10
    assert imported
    assert {path.name for path in imported} <= {path.name for path in modules}


def test_the_annotation_screen_is_light(collected: Path) -> None:
    files = [path for name in SHEETS for path in (collected / "css").glob(f"{name}.css")]
    files += [collected / "js/begin.js", *(collected / "js/annotating").glob("*.js")]
    plain = [path for path in files if not HASHED.search(path.name)]
    plain.append(collected / "django_htmx/htmx-2.min.js")
    assert sum(len(gzip.compress(path.read_bytes())) for path in plain) < 90_000
