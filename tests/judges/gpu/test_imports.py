"""The rest of the product runs where torch is installed, and never imports it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
EVERYTHING = """
import importlib, pkgutil, sys
import django
django.setup()
from django.core.management import call_command
names = ["annotation", "judges", "routing", "exports", "dashboard", "config"]
for name in names:
    for module in pkgutil.walk_packages(importlib.import_module(name).__path__, name + "."):
        if ".migrations" not in module.name:
            importlib.import_module(module.name)
call_command("check")
found = sorted(name for name in sys.modules if name.split(".")[0] in {"torch", "transformers"})
sys.exit(f"imported: {found[:3]}" if found else 0)
"""


def python(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter at the root of the checkout."""
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240
    )


@pytest.mark.gpu_judge
def test_no_module_of_the_product_imports_torch() -> None:
    done = python(EVERYTHING)
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["System check identified no issues (0 silenced)."])


@pytest.mark.gpu_judge
@pytest.mark.parametrize("place", ["judges/asking.py", "exports/reading.py", "judges/gpu/asking.py"])
def test_the_linter_refuses_torch_outside_its_fence(place: str) -> None:
    inside = "def f() -> None:\\n    import torch\\n    from transformers import AutoModel\\n"
    for code, refused in (("import torch\n", True), (inside.replace("\\n", "\n"), not place.startswith("judges/gpu"))):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", "check", "--select", "TID", "--stdin-filename", place, "-"],
            cwd=ROOT,
            input=code,
            capture_output=True,
            text=True,
        )
        assert (done.returncode == 1) is refused, (place, code, done.stdout)
