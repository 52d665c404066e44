"""Any other platform: people arrive with an id in the address, and leave by an address with a code in it.

CloudResearch Connect, SONA, Besample and most others work so. Nothing in such an arrival is signed: whoever knows
somebody's id can arrive as them. What the end page gives is to be compared with the platform's list before anybody is
paid.
"""

import re
import string
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any
from urllib.parse import quote, urlsplit

from django.conf import settings

from annotation.crowd.errors import CrowdError

LONGEST_NAME = 64
# What platforms' ids look like: printable, without spaces, not endless.
IDENTIFIER = re.compile(r"[\x21-\x7e]{1,128}")
MOST_CAPTURED = 10


@dataclass(frozen=True)
class GenericSettings:
    """How a platform writes its addresses.

    `return_url` may hold `{code}`, `{id}` and each captured parameter in braces, in its path or query.
    """

    id_parameter: str = "participantId"
    visit_parameter: str = ""
    captured_parameters: tuple[str, ...] = ()
    return_url: str = ""

    def value(self) -> dict[str, Any]:
        """Return this as JSON holds it."""
        return {**asdict(self), "captured_parameters": list(self.captured_parameters)}


# What is known of some platforms; a manager starts from one and changes what differs.
PRESETS: dict[str, GenericSettings] = {
    "CloudResearch Connect": GenericSettings("participantId", "assignmentId", ("projectId",)),
    "SONA": GenericSettings("survey_code"),
}


def read_generic(values: Mapping[str, Any]) -> GenericSettings:
    """Return settings that were typed in, checked. Raises `CrowdError`."""
    unknown = sorted(set(values) - {one.name for one in fields(GenericSettings)})
    if unknown:
        raise CrowdError(f"There is no setting {', '.join(unknown)} of such a study.")
    read = GenericSettings(**{**values, "captured_parameters": tuple(values.get("captured_parameters", ()))})
    names = [read.id_parameter, *([read.visit_parameter] if read.visit_parameter else []), *read.captured_parameters]
    for name in names:
        if not 1 <= len(name) <= LONGEST_NAME or not all(c.isascii() and (c.isalnum() or c in "_-") for c in name):
            raise CrowdError(f"{name[:70]!r} cannot be a parameter's name: use 1 to 64 letters a-z, digits, - and _.")
    if len(set(names)) != len(names) or {"code", "id"} & set(read.captured_parameters):
        raise CrowdError("Each parameter needs a name of its own; 'code' and 'id' have a meaning already.")
    if len(read.captured_parameters) > MOST_CAPTURED:
        raise CrowdError(f"At most {MOST_CAPTURED} parameters can be captured.")
    if read.return_url:
        _check_return_url(read)
    return read


def return_url(asked: GenericSettings, *, code: str, participant_id: str, captured: Mapping[str, str]) -> str:
    """Return where the end page leads back to; '' where there is no address. Values cannot leave their place in it."""
    values = {
        "code": code,
        "id": participant_id,
        **{name: captured.get(name, "") for name in asked.captured_parameters},
    }
    return asked.return_url.format(**{name: quote(value, safe="") for name, value in values.items()})


def _check_return_url(asked: GenericSettings) -> None:
    try:
        parts = urlsplit(asked.return_url)
        host = parts.hostname or ""
        pieces = list(string.Formatter().parse(asked.return_url))
    except ValueError as error:
        raise CrowdError(f"The return address cannot be read: {error}.") from error
    known = {"code", "id", *asked.captured_parameters}
    for _literal, name, spec, conversion in pieces:
        if name is not None and (name not in known or spec or conversion):
            raise CrowdError(f"The return address names {{{name}}}; it can name {', '.join(sorted(known))}.")
    if "{" in parts.netloc or parts.scheme != "https" or parts.username is not None or parts.port not in (None, 443):
        raise CrowdError("The return address begins with https:// and the platform's host.")
    if not is_return_host(host):
        raise CrowdError(
            f"The end page may not lead to {host or 'nowhere'}. The operator of this site allows hosts in "
            f"TIEBREAK_CROWD_RETURN_HOSTS; now: {', '.join(settings.CROWD_RETURN_HOSTS)}."
        )


def is_return_host(host: str) -> bool:
    """Say whether the operator lets end pages lead to a host."""
    return any(
        host == allowed or (allowed.startswith(".") and host.endswith(allowed))
        for allowed in settings.CROWD_RETURN_HOSTS
    )
