"""What a project's method knows of its people: learned from all answers, kept, and learned again as they grow."""

from collections.abc import Collection
from typing import NamedTuple
from uuid import UUID

import pandas as pd
from django.utils import timezone

from annotation.aggregating.deciding import COUNTED, Learned, decide, learn, needs_contenders
from annotation.aggregating.reading import contender_frame, vote_frame
from annotation.aggregating.voting import DECIDING
from annotation.models import CrowdFit, Method, Preference, Project

# People are judged anew once there are so many more answers than they were judged by: not after every one.
GROWTH = 0.1


class Decided(NamedTuple):
    """People's votes on some pairs (`vote_frame`), and the answers they come to (`deciding.decide`)."""

    votes: pd.DataFrame
    answers: pd.DataFrame


def decide_pairs(project: Project, learned: Learned, pair_ids: Collection[UUID]) -> Decided:
    """Return the votes and the human answers of these pairs.

    Where responses are compared across pairs, the answers on the other pairs of their prompts are read too.
    """
    votes = vote_frame(project, pair_ids)
    if not needs_contenders(learned.method):
        return Decided(votes, decide(votes, learned))
    contenders = contender_frame(project, pair_ids)
    every = vote_frame(project, contenders.index)
    answers = decide(every, learned, contenders)
    return Decided(votes, answers[answers.index.isin({str(pair_id) for pair_id in pair_ids})])


def learn_crowd(project: Project) -> Learned:
    """Return what the project's method learns from all answers there are, and keep it. Reads every vote, where needed.

    Two that learn at once learn the same, or the later one keeps the newer.
    """
    method = Method(project.aggregation)
    if method in COUNTED:
        return Learned(method, {})
    votes = vote_frame(project)
    learned = learn(method, votes, contender_frame(project) if needs_contenders(method) else None)
    n = int(votes["choice"].isin(DECIDING).sum())
    kept = {"method": method, "parameters": learned.parameters, "votes": n, "fitted_at": timezone.now()}
    CrowdFit.objects.update_or_create(project=project, defaults=kept)
    return learned


def learned_of(project: Project) -> Learned:
    """Return what was learned last for the project's method, or learn it now."""
    method = Method(project.aggregation)
    if method in COUNTED:
        return Learned(method, {})
    kept = CrowdFit.objects.filter(project=project, method=method).first()
    return learn_crowd(project) if kept is None else Learned(method, kept.parameters)


def has_outgrown(project: Project) -> bool:
    """Say whether so many answers came in that people should be judged anew; two queries, one where none is needed."""
    if project.aggregation in COUNTED:
        return False
    kept = CrowdFit.objects.filter(project=project, method=project.aggregation).only("votes").first()
    votes = Preference.objects.counted().of_people().filter(pair__project=project, choice__in=DECIDING).count()
    return kept is None or votes < kept.votes or votes > kept.votes * (1 + GROWTH)
