"""Mechanical Turk, small: a page in its frame leads to the study in a tab of its own, and hands the code in.

The study itself is never inside the frame, so that no cookie has to work in a third party's page and nothing but this
one page may be framed. A preview (`assignmentId=ASSIGNMENT_ID_NOT_AVAILABLE`) shows what there is to do; it makes no
row and leases nothing.
"""

from collections.abc import Mapping
from typing import NamedTuple
from xml.sax.saxutils import escape

from django.core import signing
from django.utils.translation import gettext as _

from annotation.crowd.errors import ArrivalRefused
from annotation.crowd.generic import IDENTIFIER
from annotation.models import CrowdStudy

PREVIEW = "ASSIGNMENT_ID_NOT_AVAILABLE"
# `turkSubmitTo` comes with the address: it is believed where it is one of these, letter by letter.
SUBMIT_ORIGINS = ("https://www.mturk.com", "https://workersandbox.mturk.com")
SUBMIT_PATH = "/mturk/externalSubmit"
FRAME_HEIGHT = 0  # MTurk: as tall as what is in it
SCHEMA = "http://mechanicalturk.amazonaws.com/AWSMechanicalTurkDataSchemas/2006-07-14/ExternalQuestion.xsd"
SALT = "annotation.crowd.mturk"
# As long as an assignment may last at most on most HITs; after that the frame is opened again.
TOKEN_SECONDS = 24 * 3600
TOKEN_PARAMETER = "arrival"  # noqa: S105  (the name of a parameter)


class Frame(NamedTuple):
    """What the page in the frame shows. A preview has neither a token nor a place to send to."""

    is_preview: bool
    assignment_id: str = ""
    submit_url: str = ""
    token: str = ""


def external_question(url: str) -> str:
    """Return the XML of a HIT whose question is the page at that address (https)."""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<ExternalQuestion xmlns="{SCHEMA}">\n'
        f"  <ExternalURL>{escape(url)}</ExternalURL>\n"
        f"  <FrameHeight>{FRAME_HEIGHT}</FrameHeight>\n</ExternalQuestion>\n"
    )


def read_frame(study: CrowdStudy, parameters: Mapping[str, str]) -> Frame:
    """Return what MTurk's frame asked for; nothing is stored. Raises `ArrivalRefused`."""
    assignment = parameters.get("assignmentId", PREVIEW)
    if assignment == PREVIEW:
        return Frame(is_preview=True)
    worker, origin = parameters.get("workerId", ""), parameters.get("turkSubmitTo", "")
    if origin not in SUBMIT_ORIGINS or not (IDENTIFIER.fullmatch(assignment) and IDENTIFIER.fullmatch(worker)):
        raise ArrivalRefused(_("Open this page from Mechanical Turk: its link has to say who you are."))
    signed = signing.dumps({"study": str(study.pk), "worker": worker, "assignment": assignment}, salt=SALT)
    return Frame(is_preview=False, assignment_id=assignment, submit_url=origin + SUBMIT_PATH, token=signed)


def read_token(study: CrowdStudy, token: str) -> dict[str, str]:
    """Return the worker and the assignment that our page in the frame signed. Raises `ArrivalRefused`."""
    try:
        said = signing.loads(token, salt=SALT, max_age=TOKEN_SECONDS)
    except signing.BadSignature as error:
        raise ArrivalRefused(_("This link has expired. Open it from Mechanical Turk again.")) from error
    if said.get("study") != str(study.pk):
        raise ArrivalRefused(_("This link is of another study. Open this one on Mechanical Turk again."))
    return {"worker": said["worker"], "assignment": said["assignment"]}
