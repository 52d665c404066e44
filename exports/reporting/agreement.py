"""How far people agree with each other, and every judge with them."""

from typing import Any

import pandas as pd
from django.db.models import Avg, Count, Q

from annotation.aggregating import dated_vote_frame, rating_frame
from annotation.agreeing import (
    REPEATS,
    agreement,
    coefficients,
)
from annotation.agreeing.people import (
    LEANS,
    STRENGTHS,
    by_side,
    by_strength,
    over_time,
    rating_agreement,
)
from annotation.models import (
    Pair,
    Preference,
    Project,
)
from annotation.sampling import Sample
from exports.reading import plan_names
from exports.reporting.judges import Cards, by_version, named
from exports.reporting.saying import AGREEMENT_SENTENCES
from exports.reporting.stating import stated
from routing.auditing.estimating import judge_accuracy
from routing.models import Label, LabelSource, Plan, PlanState

SENTENCES = {
    **AGREEMENT_SENTENCES,
    "raw": "Two people who answered one pair gave the same answer in {share} of {n} couples of answers.",
    "alpha_nominal": "Krippendorff's alpha is {number} over {n} pairs, an answer being the same or not.",
    "alpha_ordinal": "Krippendorff's ordinal alpha is {number} over {n} pairs: neighbouring answers count as nearer.",
    "alpha_interval": "Krippendorff's interval alpha is {number} over {n} pairs: answers count by their distance.",
    "fleiss": "Fleiss' kappa is {number} over {n} pairs, with one habit for all.",
    "kappa": "Weighted kappa is {number} over {n} pairs, beyond each person's own habits.",
    "ac2": "Gwet's AC2 is {number} over {n} pairs: AC1 with credit for near answers.",
    "ratings.alpha_ordinal": "Krippendorff's ordinal alpha of ratings is {number} over {n} responses.",
    "ratings.alpha_interval": "Krippendorff's interval alpha of ratings is {number} over {n} responses.",
    "judges.three_way": "The judge gave people's answer in {share} of {n} pairs, a tie being an answer.",
    "judges.two_way": "Where judge and people both take a side, it is the same in {share} of {n} pairs.",
}


def agreement_report(project: Project, *, sample: Sample | None = None, cards: Cards | None = None) -> dict[str, Any]:
    """Return how far people agree with each other, and every judge with people's consensus.

    `coefficients` has every usual one over all pairs, `criteria` the same criterion by criterion, `over_time` period by
    period, and `aggregation` what the votes came to. `seed` and `draws` are those of every interval.

    A judge's shares are over the pairs that people happened to answer; where the router chose those, they are the
    doubtful ones, so `plan_judge` weighs each answer by the probability that it was asked for (AIPW). `cards` are
    `judge_cards(project)`, for a caller that has them.
    """
    dated = dated_vote_frame(project, sample=sample)
    answers = Preference.objects.counted().of_people().filter(pair__project=project)
    whole = dated[dated["criterion"] == ""]
    return stated(
        {
            "seed": project.seed,
            "draws": REPEATS,
            "pairs": Pair.objects.in_project(project).count(),
            "pairs_with_votes": answers.aggregate(n=Count("pair", distinct=True))["n"],
            "votes_by_origin": dict(
                answers.values_list("rater__origin").annotate(n=Count("id")).order_by("rater__origin")
            ),
            "people": agreement(whole, seed=project.seed).as_dict(),
            "coefficients": _coefficients(whole, project.seed),
            "criteria": _by_criterion(project, dated[dated["criterion"] != ""], sample),
            "over_time": [
                {"period": period, **found.as_dict()} for period, found in over_time(whole, seed=project.seed)
            ],
            "aggregation": _aggregation(project),
            "judges": [
                {
                    **named(version),
                    "labelled_pairs": card.n_pairs,
                    "three_way": card.preference_three_way.as_dict(),
                    "two_way": card.preference_two_way.as_dict(),
                }
                for version, card in by_version(project, cards)
            ],
            "plan_judge": _plan_judge(project, sample),
        },
        SENTENCES,
    )


def _plan_judge(project: Project, sample: Sample | None) -> dict[str, Any]:
    plan = Plan.objects.filter(project=project, state=PlanState.APPLIED).order_by("-applied_at").first()
    if plan is None:
        return {"note": "no plan was applied yet"}
    named = {"plan": plan_names(project)[str(plan.pk)], "judge": plan.figures["judge"]["name"]}
    return {**named, **judge_accuracy(plan, sample=sample)}


def _coefficients(votes: pd.DataFrame, seed: int) -> dict[str, Any]:
    """Return every coefficient of these votes by side, and by side with its strength."""
    return {
        "sides": coefficients(by_side(votes), LEANS, seed=seed).as_dict(),
        "strengths": coefficients(
            by_strength(votes), STRENGTHS, seed=seed, what="pairs with two or more answers and a strength"
        ).as_dict(),
    }


def _by_criterion(project: Project, votes: pd.DataFrame, sample: Sample | None) -> list[dict[str, Any]]:
    """Return the coefficients of every criterion by which people chose or rated."""
    ratings = rating_frame(project, sample=sample)
    chosen, rated = dict(iter(votes.groupby("criterion"))), dict(iter(ratings.groupby("criterion")))
    return [
        {
            "criterion": name,
            **_coefficients(chosen.get(name, votes.iloc[:0]), project.seed),
            "ratings": rating_agreement(rated.get(name, ratings.iloc[:0]), seed=project.seed).as_dict(),
        }
        for name in sorted({*chosen, *rated}, key=str)
    ]


def _aggregation(project: Project) -> dict[str, Any]:
    """Return by what method people's votes become labels, and what these came to; two queries."""
    labels = Label.objects.filter(pair__project=project, source=LabelSource.HUMAN)
    found = labels.aggregate(
        labels=Count("id", filter=~Q(choice="")),
        open=Count("id", filter=Q(choice="")),
        contested=Count("id", filter=Q(provenance__contested=True)),
        suspected_flips=Count("id", filter=Q(provenance__suspected_flip=True)),
        mean_p_correct=Avg("p_correct"),
    )
    return {"method": project.aggregation, **found}
