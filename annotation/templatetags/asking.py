"""Filters and tags for what the screen asks, and for what was answered of it so far."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from django import template
from django.template import Context
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from annotation.composing import draw_task
from annotation.questionnaires import Questionnaire
from annotation.showing import Screen
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


@register.filter
def ago(moment: datetime) -> str:
    """Say how long ago something was, in one unit."""
    minutes = int((timezone.now() - moment).total_seconds() // 60)
    hours, days = minutes // 60, minutes // (24 * 60)
    if minutes < 1:
        return _("just now")
    if hours < 1:
        return ngettext("%(n)d minute ago", "%(n)d minutes ago", minutes) % {"n": minutes}
    if days < 1:
        return ngettext("%(n)d hour ago", "%(n)d hours ago", hours) % {"n": hours}
    return ngettext("%(n)d day ago", "%(n)d days ago", days) % {"n": days}


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


@register.simple_tag(takes_context=True)
def task(context: Context, screen: Screen, error: str = "") -> SafeString:
    """Draw a pair, or why there is none; `error` says what was wrong with what was sent."""
    return draw_task(context, screen, error)


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
