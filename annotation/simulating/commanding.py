"""How commands take the people of a simulated crowd, and their habits."""

from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandError, CommandParser

from annotation.commanding import parse_mapping
from annotation.simulating.people import BAD, HABITS, USUAL, Habits, Mix, read_habits, read_kinds


def add_crowd_arguments(parser: CommandParser, *, people: int) -> None:
    """Add the options that say who comes; `people` come by default."""
    parser.add_argument("--people", type=int, default=people, help="how many come at most (default: %(default)s)")
    parser.add_argument("--bad", type=float, default=0.0, help="which share of them is bad (default: %(default)s)")
    parser.add_argument(
        "--kinds", default=",".join(BAD), help="kinds of bad people, in equal parts (default: %(default)s)"
    )
    parser.add_argument("--experts", type=float, default=0.0, help="which share are experts (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of people, their answers and times (default: %(default)s)")
    parser.add_argument(
        "--habit",
        action="append",
        default=[],
        metavar="NAME=NUMBER",
        help="a habit of all: " + ", ".join(f"{name} ({getattr(USUAL, name):g})" for name in HABITS),
    )


def mix_typed(options: Mapping[str, Any], *, rate_per_hour: float | None = None) -> Mix:
    """Return who comes, as typed; all at once without a rate. Raises what reading it raises."""
    return Mix(
        people=options["people"],
        bad_share=options["bad"],
        bad_kinds=read_kinds(options["kinds"].split(",")),
        expert_share=options["experts"],
        rate_per_hour=rate_per_hour,
    )


def habits_typed(options: Mapping[str, Any]) -> Habits:
    """Return habits as typed. Raises `CommandError` for what is no number."""
    values = {}
    for name, text in parse_mapping(options["habit"], "--habit").items():
        try:
            values[name] = float(text)
        except ValueError:
            raise CommandError(f"--habit {name} takes a number, not {text!r}.") from None
    return read_habits(values)
