"""Adjudication: somebody decides what people could not, after a look of their own.

The adjudicator answers the pair on the annotator's screen first, as everybody did, and sees no vote and no judge. Only
then come the earlier votes, without names and in an order that tells nothing. What they decide becomes the label, with
both in its provenance; the votes stay as they are.
"""

import hashlib
from collections import Counter
from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple

from django.db import transaction
from django.db.models import Exists, F, OuterRef, QuerySet

from annotation.aggregating import DECIDING
from annotation.models import Assignment, AssignmentState, Pair, Preference, Project, Rater, Task, Tier
from annotation.opening import SLATES, Opening, open_tasks
from routing.errors import RoutingError
from routing.labels.resolving import resolve_labels
from routing.models import Adjudication, Cause, Label, LabelSource, PlanState, Route, RouteSource

COMMENT_LIMIT = 2000
# Below this share of votes for the first place people differ enough for a third look.
MOST_AGREEMENT = 0.67
LEAST_VOTES = 2


class Candidate(NamedTuple):
    """A pair on which people differ; the three parts of its weight go from 0 to 1.

    `disagreement` is the share of votes that are not for the first place; `doubt` is the chance that the label is
    wrong, or the router's P(judge wrong) where a label is open; `value` is 1 in the audit slice, on which every
    estimate rests, else how near the top of the plan's expected gain the pair stands.
    """

    label: Label
    disagreement: float
    doubt: float
    value: float

    @property
    def weight(self) -> float:
        """Return what orders the queue: the sum of the three."""
        return self.disagreement + self.doubt + self.value


def candidates(project: Project, *, limit: int) -> list[Candidate]:
    """Return the pairs to adjudicate first: two votes or more that differ, and nobody at it. Three queries.

    A pair of a project that orders several responses has no one answer to decide and is never among them.
    """
    if project.template in SLATES:
        return []
    at_it = Task.objects.filter(pair=OuterRef("pair"), tier=Tier.FINAL)
    labels = Label.objects.filter(~Exists(at_it), pair__project=project, source=LabelSource.HUMAN)
    differing = list(
        labels.filter(n_votes__gte=LEAST_VOTES, agreement__lt=MOST_AGREEMENT + 1e-9).select_related("pair__prompt")
    )
    routes = {
        route.pair_id: route
        for route in Route.objects.filter(
            plan__project=project, plan__state=PlanState.APPLIED, pair__in=[label.pair_id for label in differing]
        ).order_by("plan__applied_at")
    }
    gains = sorted(route.expected_gain for route in routes.values() if route.expected_gain is not None)
    found = [_candidate(label, routes.get(label.pair_id), gains) for label in differing]
    return sorted(found, key=lambda one: (-one.weight, one.label.pair.external_id))[:limit]


def _candidate(label: Label, route: Route | None, gains: list[float]) -> Candidate:
    doubt = 0.5
    if label.p_correct is not None:
        doubt = 1.0 - label.p_correct
    elif route is not None and route.p_wrong is not None:
        doubt = route.p_wrong
    value = 0.0
    if route is not None and route.source == RouteSource.AUDIT:
        value = 1.0
    elif route is not None and route.expected_gain is not None:
        value = sum(gain <= route.expected_gain for gain in gains) / len(gains)
    return Candidate(label, 1.0 - (label.agreement or 0.0), doubt, value)


def open_adjudication(project: Project, *, limit: int) -> int:
    """Send the first candidates to adjudicators, in their order; return how many."""
    chosen = candidates(project, limit=limit)
    openings = [Opening(one.label.pair_id, one.weight) for one in chosen]
    return open_tasks(project, openings, votes_wanted=1, tier=Tier.FINAL)


def looks_of(rater: Rater) -> "QuerySet[Assignment]":
    """Return the pairs that somebody has looked at for adjudication, the last first; `preference` is their look."""
    looked = Assignment.objects.filter(rater=rater, task__tier=Tier.FINAL, state=AssignmentState.SUBMITTED)
    looked = looked.filter(repeats__isnull=True, preference__isnull=False)
    return looked.select_related("task__pair", "preference").order_by("-finished_at")


class Vote(NamedTuple):
    """An earlier vote as an adjudicator sees it: without a name. `saw_first` is the stored side, or nothing."""

    name: str
    choice: str
    strength: int | None
    rationale: str
    saw_first: str


def votes_on(pair: Pair) -> list[Vote]:
    """Return the votes that count on a pair, in an order drawn by pair and person, under names that say nothing."""
    votes = Preference.objects.counted().of_people().filter(pair=pair)
    drawn = sorted(votes, key=lambda vote: hashlib.sha256(f"{pair.pk}{vote.rater_id}".encode()).digest())
    return [
        Vote(f"Person {number}", vote.choice, vote.strength, vote.rationale, vote.shown_order[:1])
        for number, vote in enumerate(drawn, start=1)
    ]


def adjudicate(
    pair: Pair, rater: Rater, *, choice: str, causes: Collection[str], comment: str = "", now: datetime
) -> Adjudication:
    """Decide a pair after a look of one's own; the decision becomes its label. A later one takes its place.

    Locks the pair, as making its label does. Raises `RoutingError` without a look, without a cause where the votes
    differ, and for a choice that decides nothing.
    """
    comment = comment.replace("\x00", "").strip()
    if choice not in DECIDING:
        raise RoutingError(f"{choice!r} decides nothing. Choose one of: {', '.join(DECIDING)}.")
    if unknown := sorted(set(causes) - set(Cause.values)):
        raise RoutingError(f"{unknown[0]!r} is no known cause. They are: {', '.join(Cause.values)}.")
    if len(comment) > COMMENT_LIMIT:
        raise RoutingError(f"The comment has {len(comment):,} characters; {COMMENT_LIMIT:,} fit. Shorten it.")
    with transaction.atomic():
        Pair.objects.select_for_update(no_key=True).get(pk=pair.pk)
        look = looks_of(rater).filter(task__pair=pair).first()
        if look is None or look.preference is None:
            raise RoutingError("Answer this pair on the annotation screen first; the votes are shown after that.")
        votes = Counter(vote.choice for vote in votes_on(pair))
        if len(votes) > 1 and not causes:
            raise RoutingError("Say why people differed: mark at least one cause.")
        Adjudication.objects.filter(pair=pair, is_current=True).update(is_current=False)
        decided = Adjudication.objects.create(
            pair=pair,
            rater=rater,
            look=look.preference,
            choice=choice,
            causes=sorted(causes),
            comment=comment,
            votes=dict(sorted(votes.items())),
            created_at=now,
        )
        _store_label(decided, look.preference.choice, now=now)
    return decided


def set_aside(pair: Pair) -> bool:
    """Take back the decision on a pair and make its label from the votes again; say whether there was one."""
    with transaction.atomic():
        Pair.objects.select_for_update(no_key=True).get(pk=pair.pk)
        if not Adjudication.objects.filter(pair=pair, is_current=True).update(is_current=False):
            return False
        Label.objects.filter(pair=pair, source=LabelSource.ADJUDICATED).delete()
        resolve_labels(pair.project, [pair.pk])
    return True


def _store_label(decided: Adjudication, first_look: str, *, now: datetime) -> None:
    n_votes, agreeing = sum(decided.votes.values()), decided.votes.get(decided.choice, 0)
    stored = Label.objects.filter(pair=decided.pair).first()
    known = {} if stored is None else stored.provenance
    if stored is not None and stored.source != LabelSource.ADJUDICATED:
        known = {**known, "before": {"source": stored.source, "choice": stored.choice}}
    values = {
        "source": LabelSource.ADJUDICATED,
        "choice": decided.choice,
        "prob_a": {"a": 1.0, "b": 0.0}.get(decided.choice, 0.5),
        "p_correct": None,
        "strength": decided.look.strength if first_look == decided.choice else None,
        "n_votes": n_votes,
        "agreement": agreeing / n_votes if n_votes else None,
        "provenance": {
            "rule": "adjudicated",
            "adjudication": str(decided.pk),
            "adjudicator": str(decided.rater_id),
            "first_look": first_look,
            "votes": decided.votes,
            "causes": decided.causes,
            **{name: known[name] for name in KEPT if name in known},
        },
        "resolved_at": now,
    }
    Label.objects.update_or_create(pair=decided.pair, defaults=values)


# What a label goes on to say: what it was before, whose votes there are, and the plan that its pair was in.
KEPT = ("before", "plan", "route", "audit", "selection_prob", "p_wrong", "predictor", "origins", "raters")


def causes_of(project: Project) -> dict[str, int]:
    """Return how often each cause was given in the decisions that stand, the most frequent first. One query."""
    decided = Adjudication.objects.filter(pair__project=project, is_current=True).values_list("causes", flat=True)
    counted = Counter(cause for causes in decided for cause in causes)
    return dict(counted.most_common())


def waiting(project: Project) -> int:
    """Return how many pairs wait for an adjudicator's look."""
    return Task.objects.filter(project=project, tier=Tier.FINAL, taken__lt=F("votes_wanted")).count()
