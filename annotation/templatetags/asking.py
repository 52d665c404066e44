"""Filters and tags for what the screen asks, and for what was answered of it so far."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from django import template
from django.utils.functional import Promise

from annotation.questionnaires import Questionnaire
from annotation.wording import ACTS, ROLES, STEP_NAME

register = template.Library()


class KeyedAct(NamedTuple):
    """An act of the screen, its key, and what it is called."""

    act: str
    key: str
    name: str | Promise


@register.filter
def item(values: Mapping[str, Any], name: str) -> Any:
    """Return one value of a mapping, '' where it has none."""
    return values.get(name, "")


@register.filter
def list_of(values: Mapping[str, Any], name: str) -> list[str]:
    """Return the values of a field that may be sent more than once."""
    value = values.get(name, [])
    return [str(one) for one in value] if isinstance(value, list) else [str(value)]


@register.filter
def chip(letter: str, index: int) -> str:
    """Return what a reason's chip sends: the response's letter and the reason's place."""
    return f"{letter}:{index}"


@register.filter
def role_name(role: str) -> str | Promise:
    """Return what a turn's role is called."""
    return ROLES.get(role, role)


@register.simple_tag
def acts_asked(asks: Questionnaire, keys: Mapping[str, str]) -> list[KeyedAct]:
    """Return the acts that this screen has, beside the steps of its rows."""
    return list(_acts_of(asks, keys))


@register.simple_tag
def step_acts(keys: Mapping[str, str]) -> list[KeyedAct]:
    """Return the acts that answer a row, each with its key."""
    return [
        KeyedAct(f"step{number}", keys.get(f"step{number}", ""), STEP_NAME % {"number": number})
        for number in range(1, 11)
    ]


def _acts_of(asks: Questionnaire, keys: Mapping[str, str]) -> Iterator[KeyedAct]:
    absent = set()
    if not (asks.asks_choice and asks.both_bad):
        absent.add("both_bad")
    if not (asks.asks_choice and asks.unsure):
        absent.add("unsure")
    if not asks.rationale:
        absent.add("rationale")
    if not asks.spans:
        absent.add("cite")
    if asks.is_slate:
        absent.add("diff")
    for act, name in ACTS.items():
        if act not in absent:
            yield KeyedAct(act, keys.get(act, ""), name)
