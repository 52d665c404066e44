"""What tests of crowd platforms begin with: a study of theirs, and somebody who arrives."""

from decimal import Decimal
from typing import Any

from django.http import HttpResponse
from django.test import Client

from annotation.crowd.studies import ProlificTerms, link_study, set_up_study
from annotation.models import CrowdStudy, Platform, Project
from tests.prolific_server import STUDY, ProlificServer

TERMS = ProlificTerms(minutes=12, reward=Decimal("1.50"), places=10)
PERSON, SESSION = "person0000000000000000001", "session000000000000000001"
UNSIGNED = {"PROLIFIC_PID": PERSON, "STUDY_ID": STUDY, "SESSION_ID": SESSION}


def make_crowd_study(
    project: Project, prolific: ProlificServer, check: str = "signed", *, name: str = "First wave", **terms: Any
) -> CrowdStudy:
    """Return a study on Prolific of three answers a visit, known there and here by the same id."""
    study = set_up_study(
        project,
        platform=Platform.PROLIFIC,
        name=name,
        arrival_check=check,
        answers_wanted=3,
        terms=TERMS._replace(**terms),
    )
    link_study(study, STUDY)
    prolific.add_study()
    return study


def arrive(client: Client, study: CrowdStudy, token: str = "", **parameters: str) -> HttpResponse:
    """Open the study's address as the platform writes it."""
    named = {"prolific_token": token} if token else {}
    response: HttpResponse = client.get(f"/study/{study.pk}/", {**named, **parameters})  # type: ignore[assignment]
    return response
