"""How often responses name the model that wrote them."""

from typing import Any

from annotation.leaking import leak_report
from annotation.models import Project
from annotation.sampling import Sample
from exports.reporting.stating import stated

SENTENCES = {"share": "Of {n} responses, {share} name a model or its maker as their author."}


def blinding_report(project: Project, *, sample: Sample | None = None) -> dict[str, Any]:
    """Return how often responses name the model that wrote them, and which do."""
    return stated(leak_report(project, sample=sample), SENTENCES)
