"""Production refuses to start half-configured; the embedded profile makes its own secret."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

COMPLETE = {
    "TIEBREAK_PROFILE": "production",
    "SECRET_KEY": "x" * 60,
    "ALLOWED_HOSTS": "tiebreak.example.org",
    "DATABASE_URL": "postgres://tiebreak@127.0.0.1/tiebreak",
    "BROKER_URL": "amqp://guest:guest@127.0.0.1:5672//",
}


def read_settings(tmp_path: Path, environment: dict[str, str], code: str = "") -> subprocess.CompletedProcess[str]:
    base = {key: value for key, value in os.environ.items() if key in {"PATH", "HOME", "PYTHONPATH", "LANG"}}
    return subprocess.run(
        [sys.executable, "-c", f"from config import settings; {code}"],
        env={**base, "TIEBREAK_VAR": str(tmp_path / "var"), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_complete_production_environment_starts(tmp_path: Path) -> None:
    result = read_settings(tmp_path, COMPLETE, "print(settings.DEBUG, settings.SESSION_COOKIE_SECURE)")
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "False True"


@pytest.mark.parametrize("missing", ["SECRET_KEY", "ALLOWED_HOSTS", "DATABASE_URL", "BROKER_URL"])
def test_production_refuses_to_start_without(tmp_path: Path, missing: str) -> None:
    environment = {key: value for key, value in COMPLETE.items() if key != missing}
    result = read_settings(tmp_path, environment)
    assert result.returncode != 0
    assert missing in result.stderr


def test_production_refuses_every_host(tmp_path: Path) -> None:
    result = read_settings(tmp_path, {**COMPLETE, "ALLOWED_HOSTS": "*"})
    assert result.returncode != 0
    assert "ALLOWED_HOSTS" in result.stderr


def test_embedded_installations_make_different_secrets_only_their_owner_can_read(tmp_path: Path) -> None:
    keys = []
    for name in ("one", "two"):
        result = read_settings(tmp_path / name, {}, "print(settings.SECRET_KEY)")
        assert result.returncode == 0, result.stderr
        keys.append(result.stdout.strip())
        secret = tmp_path / name / "var" / "secret_key"
        assert secret.read_text() == keys[-1]
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert keys[0] != keys[1]
    assert all(len(key) > 50 for key in keys)


def test_production_passes_djangos_own_deployment_check(tmp_path: Path) -> None:
    base = {key: value for key, value in os.environ.items() if key in {"PATH", "HOME", "LANG"}}
    result = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        env={**base, "TIEBREAK_VAR": str(tmp_path), **COMPLETE, "SECRET_KEY": "aB3$x" * 20},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("name", ["TIEBREAK_PROLIFIC_URL", "TIEBREAK_PROLIFIC_KEYS_URL"])
def test_a_platforms_token_is_sent_by_https_or_on_this_machine_only(tmp_path: Path, name: str) -> None:
    for url in ("http://api.prolific.com/api/v1/", "ftp://127.0.0.1/", "//127.0.0.1/", "http://127.0.0.1.example.org/"):
        result = read_settings(tmp_path, {name: url})
        assert result.returncode != 0
        assert name in result.stderr
    assert read_settings(tmp_path, {name: "http://127.0.0.1:8000/api/v1/"}).returncode == 0


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("TIEBREAK_GPU_MODELS", '["/srv/models"]', "takes a JSON object of names and places"),
        ("TIEBREAK_GPU_MODELS", '{"qwen": ""}', "takes a JSON object of names and places"),
        ("TIEBREAK_GPU_DEVICE", "tpu", "takes 'auto', 'cuda' or 'cpu'"),
        ("TIEBREAK_GPU_USD_PER_HOUR", "two", "takes US dollars, as in 2.50"),
    ],
)
def test_what_says_which_models_are_run_and_where_is_refused_where_it_makes_no_sense(
    tmp_path: Path, name: str, value: str, said: str
) -> None:
    result = read_settings(tmp_path, {name: value})
    assert result.returncode != 0
    assert f"{name} " in result.stderr
    assert said in result.stderr


def test_no_model_is_run_unless_the_operator_names_it(tmp_path: Path) -> None:
    assert read_settings(tmp_path, {}, "print(settings.GPU_MODELS)").stdout.strip() == "{}"
    named = read_settings(tmp_path, {"TIEBREAK_GPU_MODELS": '{"q": "/srv/q"}'}, "print(settings.GPU_MODELS['q'])")
    assert named.stdout.strip() == "/srv/q"
