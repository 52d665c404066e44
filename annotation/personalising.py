"""How a person set up their screen: language, look, keys. Kept with the user, so that it follows them to any device."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from django.conf import settings
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from annotation.errors import AnnotationError, QuestionnaireInvalid
from annotation.models import User
from annotation.questionnaires import KEYS, Questionnaire, check_keys

LOOKS: dict[str, tuple[str, ...]] = {
    "theme": ("auto", "light", "dark"),
    "text_size": ("s", "m", "l", "xl"),
    "width": ("narrow", "normal", "wide"),
    "motion": ("auto", "reduce"),
}
NAMES: dict[str, Promise] = {
    "language": gettext_lazy("Language"),
    "theme": gettext_lazy("Colours"),
    "text_size": gettext_lazy("Size of the texts"),
    "width": gettext_lazy("Width of the lines"),
    "motion": gettext_lazy("Movement"),
}


@dataclass(frozen=True, slots=True)
class Interface:
    """A person's own settings. An empty `language` is the browser's; `keys` goes before the project's keys."""

    language: str = ""
    theme: str = "auto"
    text_size: str = "m"
    width: str = "normal"
    motion: str = "auto"
    keys: Mapping[str, str] = field(default_factory=dict)


def interface_of(user: User) -> Interface:
    """Return a person's settings; what is stored and no longer known has its default."""
    return read_interface(user.interface)


def read_interface(stored: Mapping[str, Any]) -> Interface:
    """Return settings as they are stored: with a user, or in a guest's session."""
    looks = {name: stored[name] for name, known in LOOKS.items() if stored.get(name) in known}
    language = stored.get("language", "")
    keys = {act: key for act, key in stored.get("keys", {}).items() if act in KEYS}
    return Interface(language=language if language in dict(settings.LANGUAGES) else "", keys=keys, **looks)


def save_interface(user: User, sent: Mapping[str, Any]) -> Interface:
    """Change the settings of a user that were sent and keep the others. Raises as `changed_interface`."""
    changed = changed_interface(interface_of(user), sent)
    user.interface = stored_interface(changed)
    user.save(update_fields=["interface"])
    return changed


def stored_interface(interface: Interface) -> dict[str, Any]:
    """Return settings as `read_interface` takes them."""
    return {**asdict(interface), "keys": dict(interface.keys)}


def changed_interface(changed: Interface, sent: Mapping[str, Any]) -> Interface:
    """Return settings with those that were sent. Raises `AnnotationError` in words.

    A key is sent as `key-ACT`; an empty one gives the act its usual key again.
    """
    for name, known in (*LOOKS.items(), ("language", ("", *dict(settings.LANGUAGES)))):
        if name in sent:
            if sent[name] not in known:
                raise AnnotationError(
                    _("%(setting)s cannot be %(value)s.") % {"setting": NAMES[name], "value": str(sent[name])[:40]}
                )
            changed = replace(changed, **{name: sent[name]})
    keys = {act: str(sent[f"key-{act}"]).strip() for act in KEYS if f"key-{act}" in sent}
    own = {act: key for act, key in {**changed.keys, **keys}.items() if key and key != KEYS[act]}
    try:
        check_keys(own)
    except QuestionnaireInvalid as error:
        raise AnnotationError(
            _("These keys cannot be kept. A key is one character, and no two acts may have the same.")
        ) from error
    return replace(changed, keys=own)


def personal(questionnaire: Questionnaire, interface: Interface) -> Questionnaire:
    """Return a project's questionnaire with a person's own keys; where these clash with the project's, without."""
    if not interface.keys:
        return questionnaire
    keys = {**questionnaire.keys, **interface.keys}
    try:
        check_keys(keys)
    except QuestionnaireInvalid:
        # The project gave a key of theirs to another act since they chose it: its own keys are shown and work.
        return questionnaire
    return replace(questionnaire, keys=keys)
