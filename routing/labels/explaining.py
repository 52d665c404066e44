"""The second pass: reasons are asked for only where somebody will read them."""

from decimal import Decimal

from django.db.models import Exists, OuterRef, Q, QuerySet

from annotation.models import Pair, User
from judges.models import JudgeRun, JudgeVersion
from judges.running import start_explaining
from routing.models import Label, LabelSource


def pairs_to_explain(version: JudgeVersion) -> QuerySet[Pair]:
    """Return the pairs whose label is this version's, or that nobody's answer won: those whose reason is read."""
    labels = Label.objects.filter(pair=OuterRef("pk"))
    own = Q(source=LabelSource.AI, provenance__judge=version.judge.name, provenance__judge_version=version.number)
    return Pair.objects.filter(Exists(labels.filter(own | Q(choice=""))), project=version.judge.project_id)


def ask_reasons(
    version: JudgeVersion, *, budget_usd: Decimal | None = None, started_by: User | None = None, send: bool = True
) -> JudgeRun:
    """Start a run that asks a version for the reasons of its answers on those pairs.

    Raises `judges.errors.JudgeError` for a judge that cannot write, or a budget that cannot be kept.
    """
    return start_explaining(version, pairs_to_explain(version), budget_usd=budget_usd, started_by=started_by, send=send)
