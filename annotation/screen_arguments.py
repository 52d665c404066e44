"""How a command says what a screen asks: a file, single settings, or both."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from annotation.configuring import BESIDE
from annotation.questionnaires import parse_setting

SET_HELP = "a setting of the screen, as in points=5, reasons='clear; correct' or words.tie=Same; may be repeated"


def add_set_argument(parser: CommandParser) -> None:
    """Add `--set NAME=VALUE`."""
    parser.add_argument("--set", action="append", default=[], dest="changes", metavar="NAME=VALUE", help=SET_HELP)


def read_file(path: str) -> Mapping[str, Any]:
    """Return the object in a JSON file. Raises `CommandError` in words."""
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise CommandError(f"{path} is no JSON file: {error}.") from None
    if not isinstance(values, Mapping):
        raise CommandError(f'{path} holds no object of settings, as in {{"points": 5}}.')
    return values


def with_changes(values: Mapping[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """Return settings with those that `--set` named. `words.tie=Same` sets one of several.

    Raises `CommandError` for what is no name=value, and `QuestionnaireInvalid` for a value of another kind.
    """
    changed = dict(values)
    for change in changes:
        name, sign, text = change.partition("=")
        if not sign or not name:
            raise CommandError(f"--set takes name=value, not {change!r}.")
        whole, dot, part = name.partition(".")
        if dot and whole in ("words", "keys"):
            changed[whole] = {**changed.get(whole, {}), part: text}
        elif name in BESIDE:
            raise CommandError(f"--set {name} cannot be: it has an option of its own, or stands in a file.")
        else:
            changed[name] = parse_setting(name, text)
    return changed
