"""A project's reports: how far people and judges agree, with others and with themselves, and what it cost.

Every figure comes with its n; where there is too little data it says so and has no value. `docs/reports.md` explains
each number. Reports are plain JSON values: no NaN, no database ids.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
from django.db.models import Avg, Count, Q, Sum

from annotation.aggregating import (
    answer_frame,
    dated_vote_frame,
    rating_frame,
    repeat_frame,
    vote_frame,
    work_frame,
)
from annotation.aggregating.competence import Competence, competence
from annotation.agreeing import (
    LEAST_LABELS,
    REPEATS,
    Figure,
    Interval,
    agreement,
    coefficients,
    consistency,
    too_few,
)
from annotation.agreeing.people import (
    LEANS,
    OTHERS,
    STRENGTHS,
    Couple,
    WithOthers,
    by_side,
    by_strength,
    couples_of,
    over_time,
    rating_agreement,
    with_others,
)
from annotation.leaking import leak_report
from annotation.models import (
    Assignment,
    AssignmentState,
    Exclusion,
    Gold,
    Origin,
    Pair,
    Payment,
    PayRate,
    Preference,
    Project,
    Rater,
    RaterKind,
)
from annotation.models.pairs import content_hash
from annotation.money.booking import balance_of, balances, fees_of
from annotation.noticing import FALSE_FLAGS
from annotation.observing import signs_of
from annotation.scoring import Score, marks_of, score_of
from annotation.suggesting import moved_by_suggestions
from annotation.wavering import steadiness
from exports.booking import weeks_of
from exports.contrasting import contrast_judges, contrast_people
from exports.earning import LEAST_TIMED, Actual, actual_pay, expected_pay, is_under
from exports.reading import plan_names
from judges.auditing import Audit, JudgeCard, judge_audits, judge_cards
from judges.models import JudgeVersion, Verdict, VerdictState
from routing.auditing.estimating import judge_accuracy
from routing.labels.resolving import WITHHOLDING
from routing.models import Label, LabelSource, Plan, PlanState

NOBODY_ELSE = too_few(0, LEAST_LABELS, OTHERS)
NO_HOURS = Actual(0, 0.0, None)
# Enough to compare, few enough that sums in another order give the same figure.
DIGITS = 6


Cards = Mapping[Any, JudgeCard]


def agreement_report(project: Project, *, cards: Cards | None = None) -> dict[str, Any]:
    """Return how far people agree with each other, and every judge with people's consensus.

    `coefficients` has every usual one over all pairs, `criteria` the same criterion by criterion, `over_time` period by
    period, and `aggregation` what the votes came to. `seed` and `draws` are those of every interval.

    A judge's shares are over the pairs that people happened to answer; where the router chose those, they are the
    doubtful ones, so `plan_judge` weighs each answer by the probability that it was asked for (AIPW). `cards` are
    `judge_cards(project)`, for a caller that has them.
    """
    votes = vote_frame(project)
    dated = dated_vote_frame(project)
    whole = dated[dated["criterion"] == ""]
    return _report(
        {
            "seed": project.seed,
            "draws": REPEATS,
            "pairs": Pair.objects.in_project(project).count(),
            "pairs_with_votes": int(votes["pair_id"].nunique()),
            "votes_by_origin": _by_origin(votes),
            "people": agreement(votes, seed=project.seed).as_dict(),
            "coefficients": _coefficients(whole, project.seed),
            "criteria": _by_criterion(project, dated[dated["criterion"] != ""]),
            "over_time": [
                {"period": period, **found.as_dict()} for period, found in over_time(whole, seed=project.seed)
            ],
            "aggregation": _aggregation(project),
            "judges": [
                {
                    **_named(version),
                    "labelled_pairs": card.n_pairs,
                    "three_way": card.preference_three_way.as_dict(),
                    "two_way": card.preference_two_way.as_dict(),
                }
                for version, card in _by_version(project, cards)
            ],
            "plan_judge": _plan_judge(project),
        }
    )


def consistency_report(project: Project) -> dict[str, Any]:
    """Return how far choices contradict ratings: within one person by criterion, and within one judge by protocol."""
    people = contrast_people(project)
    return _report(
        {
            "people": [
                {
                    "criterion": name,
                    **consistency(of["rating_side"], of["ranking"], of["group"], seed=project.seed).as_dict(),
                }
                for name, of in people.groupby("criterion", sort=True)
            ],
            "judges": [
                {
                    "judge": one.judge,
                    "ratings": one.ratings,
                    "rankings": one.rankings,
                    **consistency(
                        one.frame["rating_side"], one.frame["ranking"], one.frame["group"], seed=project.seed
                    ).as_dict(),
                }
                for one in contrast_judges(project)
            ],
        }
    )


def blinding_report(project: Project) -> dict[str, Any]:
    """Return how often responses name the model that wrote them, and which do."""
    return _report(leak_report(project))


def judges_report(project: Project, *, audits: Mapping[Any, Audit] | None = None) -> dict[str, Any]:
    """Return the card of every judge version, with the rest of what is known about it under `audit`.

    Position bias, flips, ties, agreement, cost, and whether to trust it. `audits` are `judge_audits(project)`, for a
    caller that has them.
    """
    known = judge_audits(project) if audits is None else audits
    cards = {key: audit.card for key, audit in known.items()}
    return _report(
        {"judges": [_card(version, card, known[version.pk]) for version, card in _by_version(project, cards)]}
    )


def people_report(project: Project, *, name_of: Callable[[str], str] = str) -> dict[str, Any]:
    """Return each person's answers, time, agreement with the others on the same pairs, and competence.

    `couples` has every two people with ten pairs in common or more, those with most first. An order of several
    responses is one answer; agreement counts the pairs it decides. `name_of` turns a rater's name
    into what the report calls them; an export passes pseudonyms.
    """
    votes = vote_frame(project)
    agreed = with_others(votes, seed=project.seed)
    skills = competence(votes)
    ids = dict(zip(votes["rater"], votes["rater_id"], strict=True))
    people = [
        {
            "person": name_of(str(name)),
            "origin": mine["origin"].iloc[0],
            "answers": len(mine),
            "unsure": int((mine["choice"] == "unsure").sum()),
            "revised": int(mine["revised"].sum()),
            "with_seconds": int(mine["seconds"].notna().sum()),
            "median_seconds": mine["seconds"].median(),
            "median_reading_seconds": mine["reading_seconds"].median(),
            "median_deciding_seconds": mine["deciding_seconds"].median(),
            "total_seconds": mine["seconds"].sum(min_count=1),
            "with_confidence": int(mine["confidence"].notna().sum()),
            "mean_confidence": mine["confidence"].mean(),
            **_with_others(agreed.get(str(name))),
            "competence": _competence(skills.get(ids.get(str(name), ""))),
        }
        for name, mine in work_frame(project).groupby("rater", sort=True)
    ]
    couples = couples_of(votes, seed=project.seed)
    named = [_couple(one, name_of) for one in couples.found]
    return _report(
        {
            "votes": len(votes),
            "people": sorted(people, key=lambda person: person["person"]),
            "couples": sorted(named, key=lambda one: (-one["n"], one["first"], one["second"])),
            "couples_with_too_few": couples.too_few,
            "couples_left_out": couples.left_out,
        }
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
    return _report(
        {
            "gold_pairs": Gold.objects.live().filter(project=project).count(),
            "false_flags": FALSE_FLAGS,
            "people": people,
        }
    )


def _gold(score: Score) -> dict[str, Any]:
    figure = too_few(0, 1, "gold answers")
    if score.answered:
        figure = Figure(score.accuracy, score.answered, score.interval)
    failed, answered = score.attention_failed, score.attention_answered
    return {"accuracy": figure.as_dict(), "right": score.right, "checks_failed": failed, "checks": answered}


def steadiness_report(project: Project, *, name_of: Callable[[str], str] = str) -> dict[str, Any]:
    """Return how steady people are: with themselves in hidden repeats, and towards the side of the screen.

    Over all and for each person, with what judges' answers that were shown moved. `name_of` as in `people_report`.
    """
    answers, repeats = answer_frame(project), repeat_frame(project)
    people = [
        {
            "person": name_of(str(name)),
            "origin": mine["origin"].iloc[0],
            **steadiness(repeats[repeats["rater"] == name], mine, seed=project.seed).as_dict(),
        }
        for name, mine in answers.groupby("rater", sort=True)
    ]
    return _report(
        {
            "everybody": steadiness(repeats, answers, seed=project.seed).as_dict(),
            "people": sorted(people, key=lambda person: person["person"]),
            "suggestions": moved_by_suggestions(project)._asdict(),
        }
    )


def spending_report(project: Project) -> dict[str, Any]:
    """Return what judges and people cost, in US dollars. Calls whose cost is not known are counted, not guessed.

    Calls that brought no answer and may have been charged (`Verdict.meta.lost_usd`) cost what a run booked for them.
    Only answers given here by people are paid, once each: extra ones and hidden repeats too (`extra`, `repeats`), and
    an order of several responses as one. Recorded ones were paid elsewhere, if at all, and simulated ones are nobody's
    work. What people earned, were paid and are owed is read from the book (`annotation.money`).
    """
    versions = JudgeVersion.objects.filter(judge__project=project).select_related("judge")
    answered = Q(verdicts__state=VerdictState.DONE)
    costs = versions.annotate(
        answered=Count("verdicts", filter=answered),
        unknown=Count("verdicts", filter=answered & Q(verdicts__cost_usd__isnull=True)),
        spent=Sum("verdicts__cost_usd"),
        asked_tokens=Sum("verdicts__prompt_tokens"),
        written_tokens=Sum("verdicts__completion_tokens"),
    ).order_by("judge__name", "number")
    lost = _lost_by_version(project)
    # SQLite adds decimals in binary; six digits are what a verdict holds.
    spent = {version.pk: round((version.spent or Decimal(0)) + lost[version.pk], 6) for version in costs}
    answers = _answers_by_origin(project)
    paid = Assignment.objects.paid().filter(task__project=project)
    balance, (everybody, hours) = balance_of(project), actual_pay(project)
    return _report(
        {
            "models": {
                "usd": sum(spent.values(), Decimal(0)),
                "budget_usd": project.models_budget_usd,
                "judges": [
                    {
                        "judge": version.judge.name,
                        "version": version.number,
                        "answered_calls": version.answered,
                        "calls_of_unknown_cost": version.unknown,
                        "usd": spent[version.pk],
                        "prompt_tokens": version.asked_tokens,
                        "completion_tokens": version.written_tokens,
                    }
                    for version in costs
                ],
            },
            "people": {
                "usd": balance.earned_usd,
                "paid_usd": balance.paid_usd,
                "under_way_usd": balance.under_way_usd,
                "owed_usd": balance.owed_usd,
                "fees_usd": fees_of(project),
                "budget_usd": project.people_budget_usd,
                "pay_per_answer_usd": project.pay_per_answer_usd,
                "rates": [_rate(rate) for rate in project.rates.order_by("number")],
                "answers": answers,
                "extra": paid.filter(state=AssignmentState.EXTRA).count(),
                "repeats": paid.filter(repeats__isnull=False).count(),
                "gold": paid.filter(gold__isnull=False).count(),
                "hourly": _hourly(project, everybody),
                "people": _earners(project, hours),
                "payments": [_payment(one) for one in project.payments.order_by("number")],
            },
            "weeks": [{**week._asdict(), "week": week.week.isoformat()} for week in weeks_of(project)],
        }
    )


def routing_report(project: Project) -> dict[str, Any]:
    """Return the applied plans in order, the latest draft if there is one, and where labels come from."""
    names = plan_names(project)
    plans = Plan.objects.filter(project=project).order_by("applied_at", "created_at")
    applied = [plan for plan in plans if plan.state == PlanState.APPLIED]
    drafts = [plan for plan in plans if plan.state == PlanState.DRAFT]
    labels = Label.objects.filter(pair__project=project)
    withheld = labels.filter(provenance__rule__in=WITHHOLDING).count()
    return _report(
        {
            "pairs": Pair.objects.in_project(project).count(),
            "labels": dict(labels.exclude(choice="").values_list("source").annotate(n=Count("id")).order_by("source")),
            "contested": labels.filter(choice="").count() - withheld,
            "withheld": withheld,
            "plans": [_describe_plan(plan, names[str(plan.pk)]) for plan in applied],
            "draft": _describe_plan(drafts[-1], "draft") if drafts else None,
        }
    )


# What a plan knows that another database with the same data would not.
OF_THIS_DATABASE = ("version_id", "second_run", "queued_at")

REPORTS: dict[str, Callable[[Project], dict[str, Any]]] = {
    "agreement": agreement_report,
    "blinding": blinding_report,
    "consistency": consistency_report,
    "judges": judges_report,
    "people": people_report,
    "quality": quality_report,
    "routing": routing_report,
    "spending": spending_report,
    "steadiness": steadiness_report,
}


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it: NaN and infinities are null, floats have six digits, money is a string."""
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return round(value, DIGITS) if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return format(value.normalize() + 0, "f")
    if value is None or isinstance(value, str | int):
        return value
    raise TypeError(f"{type(value).__name__} is no value of a report")


def _report(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: plain(value) for name, value in values.items()}


def _rate(rate: PayRate) -> dict[str, Any]:
    return {
        "number": rate.number,
        "since": rate.since.isoformat(),
        "basis": rate.basis,
        "crowd_usd": rate.crowd_usd,
        "expert_usd": rate.expert_usd,
        "most_minutes": rate.most_minutes,
    }


def _hourly(project: Project, everybody: Actual) -> dict[str, Any]:
    """Return what an hour pays: the floor, what is expected by tier, and what it was over everybody."""
    expected, floor = expected_pay(project), project.pay_floor_usd_per_hour
    return {
        "floor_usd": floor,
        "expected_seconds": expected.seconds,
        "expected_note": expected.note,
        "expected_usd": dict(expected.usd_per_hour),
        "expected_under_floor": [tier for tier, usd in expected.usd_per_hour.items() if is_under(usd, floor)],
        "actual": _actual(everybody, floor),
    }


def _actual(actual: Actual, floor: Decimal | None) -> dict[str, Any]:
    few = actual.usd_per_hour is None
    return {
        "timed_answers": actual.timed,
        "hours": actual.seconds / 3600,
        "usd": actual.usd_per_hour,
        "too_few": f"too few timed answers ({actual.timed} of {LEAST_TIMED})" if few else "",
        "under_floor": is_under(actual.usd_per_hour, floor),
    }


def _earners(project: Project, hours: Mapping[UUID, Actual]) -> list[dict[str, Any]]:
    """Return who earned or was paid anything, by name. Two queries."""
    found = balances(project)
    names = dict(Rater.objects.filter(pk__in=found).values_list("pk", "name"))
    return [
        {
            "person": names[rater],
            "usd": balance.earned_usd,
            "paid_usd": balance.paid_usd,
            "under_way_usd": balance.under_way_usd,
            "owed_usd": balance.owed_usd,
            "hourly": _actual(hours.get(rater, NO_HOURS), project.pay_floor_usd_per_hour),
        }
        for rater, balance in sorted(found.items(), key=lambda one: names[one[0]])
    ]


def _payment(payment: Payment) -> dict[str, Any]:
    return {
        "number": payment.number,
        "state": payment.state,
        "by": payment.platform or payment.method,
        "total_usd": payment.total_usd,
        "fees_usd": payment.fees_usd,
        "drawn_at": payment.drawn_at.isoformat(),
        "sent_at": payment.sent_at.isoformat() if payment.sent_at else None,
        "reason": payment.reason,
    }


def _by_origin(votes: pd.DataFrame) -> dict[str, int]:
    return {str(origin): int(n) for origin, n in votes["origin"].value_counts().sort_index().items()}


def _lost_by_version(project: Project) -> dict[UUID, Decimal]:
    lost: dict[UUID, Decimal] = defaultdict(Decimal)
    paid = Verdict.objects.filter(version__judge__project=project, meta__has_key="lost_usd")
    for version_id, usd in paid.values_list("version_id", "meta__lost_usd"):
        lost[version_id] += Decimal(usd)
    return lost


def _answers_by_origin(project: Project) -> dict[str, int]:
    """Return how many answers people gave here, and how many preferences of others there are."""
    brought = Preference.objects.current().of_people().filter(pair__project=project, criterion__isnull=True)
    brought = brought.exclude(rater__origin=Origin.LIVE)
    answers = dict(brought.values_list("rater__origin").annotate(n=Count("id")).order_by("rater__origin"))
    here = Assignment.objects.paid().filter(task__project=project).count()
    return dict(sorted({**answers, **({str(Origin.LIVE.value): here} if here else {})}.items()))


def _by_version(project: Project, cards: Cards | None) -> list[tuple[JudgeVersion, JudgeCard]]:
    known = judge_cards(project) if cards is None else cards
    versions = JudgeVersion.objects.filter(judge__project=project).select_related("judge")
    return [(version, known[version.pk]) for version in versions.order_by("judge__name", "number")]


def _named(version: JudgeVersion) -> dict[str, Any]:
    return {
        "judge": version.judge.name,
        "kind": version.judge.kind,
        "protocol": version.protocol,
        "version": version.number,
        "prompt_hash": content_hash(version.prompt_template) if version.prompt_template else "",
    }


def _card(version: JudgeVersion, card: JudgeCard, audit: Audit) -> dict[str, Any]:
    figures = {name: value for name, value in card.as_dict().items() if name != "version_id"}
    rest = {name: value for name, value in audit.as_dict().items() if name != "card"}
    return {**figures, **_named(version), "audit": rest}


def _plan_judge(project: Project) -> dict[str, Any]:
    plan = Plan.objects.filter(project=project, state=PlanState.APPLIED).order_by("-applied_at").first()
    if plan is None:
        return {"note": "no plan was applied yet"}
    return {"plan": plan_names(project)[str(plan.pk)], "judge": plan.figures["judge"]["name"], **judge_accuracy(plan)}


def _coefficients(votes: pd.DataFrame, seed: int) -> dict[str, Any]:
    """Return every coefficient of these votes by side, and by side with its strength."""
    return {
        "sides": coefficients(by_side(votes), LEANS, seed=seed).as_dict(),
        "strengths": coefficients(
            by_strength(votes), STRENGTHS, seed=seed, what="pairs with two or more answers and a strength"
        ).as_dict(),
    }


def _by_criterion(project: Project, votes: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the coefficients of every criterion by which people chose or rated."""
    ratings = rating_frame(project)
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


def _describe_plan(plan: Plan, name: str) -> dict[str, Any]:
    judge = {key: value for key, value in plan.figures["judge"].items() if key not in OF_THIS_DATABASE}
    figures = {key: value for key, value in plan.figures.items() if key != "judge"}
    for part in ("second", "after"):
        if isinstance(figures.get(part), dict):
            figures[part] = {key: value for key, value in figures[part].items() if key not in OF_THIS_DATABASE}
    return {
        "plan": name,
        "budget_kind": plan.budget_kind,
        "budget_value": plan.budget_value,
        "audit_share": plan.audit_share,
        "seed": plan.seed,
        "predictor_kind": plan.predictor_kind,
        "judge": judge,
        **figures,
    }
