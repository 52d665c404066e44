"""Each person: work, agreement, gold, and how steady they are."""

from collections.abc import Callable
from typing import Any

from annotation.aggregating import (
    answer_frame,
    repeat_frame,
    vote_frame,
    work_counts,
    work_frame,
)
from annotation.aggregating.competence import Competence, competence
from annotation.agreeing import (
    LEAST_LABELS,
    Figure,
    Interval,
    too_few,
)
from annotation.agreeing.people import (
    OTHERS,
    Couple,
    WithOthers,
    couples_of,
    with_others,
)
from annotation.models import (
    Exclusion,
    Gold,
    Preference,
    Project,
    Rater,
    RaterKind,
)
from annotation.noticing import FALSE_FLAGS
from annotation.observing import signs_of
from annotation.sampling import Sample
from annotation.scoring import Score, marks_of, score_of
from annotation.suggesting import moved_by_suggestions
from annotation.wavering import steadiness
from exports.reporting.stating import stated

# What is said of each person's work, in this order.
WORK = (
    "origin",
    "answers",
    "unsure",
    "revised",
    "with_seconds",
    "median_seconds",
    "median_reading_seconds",
    "median_deciding_seconds",
    "total_seconds",
    "with_confidence",
    "mean_confidence",
)
NOBODY_ELSE = too_few(0, LEAST_LABELS, OTHERS)


SENTENCES = {
    "agreement_with_others": "This person's answers are those of others on the same pairs in {share} of {n} meetings.",
    "kappa_with_others": "Weighted kappa with the others is {number} over {n} meetings: 0 is chance, 1 is complete.",
    "ac1_with_others": "Gwet's AC1 with the others is {number} over {n} meetings.",
    "competence": "This person gives the true answer in {share} of cases, as others' {n} answers on the pairs tell.",
    "raw": "These two gave the same answer in {share} of {n} pairs.",
    "kappa": "Weighted kappa of these two is {number} over {n} pairs.",
    "ac1": "Gwet's AC1 of these two is {number} over {n} pairs.",
    "accuracy": "Of {n} answers on gold, {share} are right.",
    "three_way": "Asked again, the answer was the same in {share} of {n} hidden repeats.",
    "two_way": "Asked again, the side was the same in {share} of {n} hidden repeats that were decisive twice.",
    "first_again": "Of the {n} repeats that chose one place of the screen twice, {share} chose the first.",
    "first_shown": "The response shown first was chosen in {share} of {n} decisive answers; 50 % is no side bias.",
}


def people_report(
    project: Project, *, sample: Sample | None = None, name_of: Callable[[str], str] = str
) -> dict[str, Any]:
    """Return each person's answers, time, agreement with the others on the same pairs, and competence.

    `couples` has every two people with ten pairs in common or more, those with most first. An order of several
    responses is one answer; agreement counts the pairs it decides. `name_of` turns a rater's name
    into what the report calls them; an export passes pseudonyms.
    """
    votes = vote_frame(project, sample=sample)
    done = work_counts(project)
    done = done.join(work_frame(project, sample=sample).groupby("rater").median().add_prefix("median_"))
    done["mean_confidence"] = done.pop("total_confidence") / done["with_confidence"]
    agreed = with_others(votes, seed=project.seed)
    skills = competence(votes)
    ids = dict(zip(votes["rater"], votes["rater_id"], strict=True))
    people = [
        {
            "person": name_of(str(name)),
            **mine,
            **_with_others(agreed.get(str(name))),
            "competence": _competence(skills.get(ids.get(str(name), ""))),
        }
        for name, mine in done[list(WORK)].to_dict("index").items()
    ]
    couples = couples_of(votes, seed=project.seed)
    named = [_couple(one, name_of) for one in couples.found]
    return stated(
        {
            "votes": Preference.objects.counted().of_people().filter(pair__project=project).count(),
            "people": sorted(people, key=lambda person: person["person"]),
            "couples": sorted(named, key=lambda one: (-one["n"], one["first"], one["second"])),
            "couples_with_too_few": couples.too_few,
            "couples_left_out": couples.left_out,
        },
        SENTENCES,
    )


def quality_report(project: Project, *, name_of: Callable[[str], str] = str) -> dict[str, Any]:
    """Return how each person fares on gold, what stands out in their answers, and whether they are paused or excluded.

    `name_of` as in `people_report`.
    """
    signs, marks = signs_of(project), marks_of(project)
    excluded = dict(
        Exclusion.objects.filter(rater__project=project, undone_at__isnull=True).values_list("rater_id", "reason")
    )
    people = [
        {
            "person": name_of(rater.name),
            "origin": rater.origin,
            "gold": _gold(score_of(marks.get(rater.pk, []))),
            "signs": [
                {**sign.as_dict(), "other": name_of(sign.other) if sign.other else ""}
                for sign in signs.get(rater.name, [])
            ],
            "paused": rater.paused_reason if rater.paused_at else "",
            "excluded": excluded.get(rater.pk, ""),
        }
        for rater in Rater.objects.filter(project=project, kind=RaterKind.PERSON).order_by("name")
    ]
    return stated(
        {
            "gold_pairs": Gold.objects.live().filter(project=project).count(),
            "false_flags": FALSE_FLAGS,
            "people": people,
        },
        SENTENCES,
    )


def _gold(score: Score) -> dict[str, Any]:
    figure = too_few(0, 1, "gold answers")
    if score.answered:
        figure = Figure(score.accuracy, score.answered, score.interval)
    failed, answered = score.attention_failed, score.attention_answered
    return {"accuracy": figure.as_dict(), "right": score.right, "checks_failed": failed, "checks": answered}


def steadiness_report(
    project: Project, *, sample: Sample | None = None, name_of: Callable[[str], str] = str
) -> dict[str, Any]:
    """Return how steady people are: with themselves in hidden repeats, and towards the side of the screen.

    Over all and for each person, with what judges' answers that were shown moved. `name_of` as in `people_report`.
    """
    answers, repeats = answer_frame(project, sample=sample), repeat_frame(project, sample=sample)
    people = [
        {
            "person": name_of(str(name)),
            "origin": mine["origin"].iloc[0],
            **steadiness(repeats[repeats["rater"] == name], mine, seed=project.seed).as_dict(),
        }
        for name, mine in answers.groupby("rater", sort=True)
    ]
    return stated(
        {
            "everybody": steadiness(repeats, answers, seed=project.seed).as_dict(),
            "people": sorted(people, key=lambda person: person["person"]),
            "suggestions": moved_by_suggestions(project)._asdict(),
        },
        SENTENCES,
    )


def _with_others(found: WithOthers | None) -> dict[str, Any]:
    raw, kappa, ac1 = found or (NOBODY_ELSE, NOBODY_ELSE, NOBODY_ELSE)
    return {
        "agreement_with_others": raw.as_dict(),
        "kappa_with_others": kappa.as_dict(),
        "ac1_with_others": ac1.as_dict(),
    }


def _couple(found: Couple, name_of: Callable[[str], str]) -> dict[str, Any]:
    """Return two people's agreement under the report's names, in an order that tells nothing of others they have."""
    first, second = sorted((name_of(found.first), name_of(found.second)))
    return found._replace(first=first, second=second).as_dict()


def _competence(found: Competence | None) -> dict[str, Any]:
    if found is None or found.n < LEAST_LABELS:
        return too_few(found.n if found else 0, LEAST_LABELS, "answers that others share").as_dict()
    return Figure(found.skill, found.n, Interval(found.low, found.high)).as_dict()
