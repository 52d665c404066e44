"""Labels: one answer a pair, from people where they answered and from the plan's judge where not, with the reason."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from annotation.aggregating.learning import Decided, decide_pairs, learn_crowd, learned_of
from annotation.aggregating.voting import DECIDING
from annotation.models import Choice, Method, Pair, Project
from annotation.models.pairs import content_hash
from judges.auditing import judge_card
from judges.averaging import prob_a_of
from judges.calibrating import calibrated
from judges.flagging import flagged_pairs
from judges.models import JudgeVersion
from routing.auditing.accepting import acceptance_of, renew_acceptances
from routing.errors import RoutingError
from routing.labels.calibrating import calibrate_judges
from routing.labels.reading import JudgeAnswer, answers_of
from routing.models import Label, LabelSource, Plan, PlanState, Route, RouteSource
from routing.plans.trusting import choose_judge, full_name

# Pairs a transaction: enough to be quick, few enough that an answer waits no noticeable time for the locks.
PAIRS_PER_TRANSACTION = 2000
# The rules of labels that a judge's answer is withheld from: a response speaks to the judge, a second judge answered
# otherwise, or the plan's guarantee does not reach so far.
WITHHELD = "judge_withheld"
SPLIT = "judges_split"
NOT_GUARANTEED = "not_guaranteed"
WITHHOLDING = (WITHHELD, SPLIT, NOT_GUARANTEED)
# Marks a label that came with a published dataset, with what was decided about its pair there.
PUBLISHED = "published"
ROUTED = ("route", "audit", "selection_prob", "p_wrong")
# What a new derivation may change in a stored label.
DERIVED = ("source", "choice", "prob_a", "p_correct", "strength", "n_votes", "agreement", "provenance")


class Resolution(NamedTuple):
    """What the labels of a project are resolved by: the judge that labels (None: no judge does) and why that one.

    `plan` is the plan applied last, which judges pairs that no plan has seen.
    """

    version: JudgeVersion | None
    chosen_by: str
    plan: Plan | None = None


class SecondAnswer(NamedTuple):
    """What the second judge of a plan answered on a pair."""

    version: JudgeVersion
    choice: str


def resolve_labels(project: Project, pair_ids: Iterable[UUID | str] | None = None) -> int:
    """Make the labels of these pairs (default: all) again and return how many have one now.

    People's counted answers, live and recorded together, go first: what the project's method makes of them
    (`annotation.aggregating.deciding`), or an empty choice where they are too split for it. Asked for all labels, the
    method learns its people anew; asked for some, it takes them as last learned. A pair without gets the preference of
    the judge of the plan applied last; before any plan, that of the default judge if it is trusted. Where a response is
    flagged as speaking to the judge, a second judge that the plan asked answered otherwise, or the plan's guarantee
    does not reach, the judge's answer is withheld: the label has no choice, and says why. A pair with neither has no
    label; an adjudicated label is left alone.
    A label that comes out the same keeps its `resolved_at`. The pairs' rows are locked in batches, so that of two
    calls the later one sees the answers of both.
    """
    resolution: Resolution | None = None
    resolved = 0
    if pair_ids is None:
        renew_acceptances(project)
    learned = learn_crowd(project) if pair_ids is None else learned_of(project)
    for batch in _batches(project, pair_ids):
        with transaction.atomic():
            locked = Pair.objects.select_for_update(no_key=True).filter(project=project, pk__in=batch).order_by("id")
            mine = list(locked.values_list("id", flat=True))
            people = decide_pairs(project, learned, mine)
            if resolution is None and len(people.answers) < len(mine):
                # Choosing a judge reads the whole project: not for a pair that people answered.
                resolution = resolving_judge(project)
                if pair_ids is None and resolution.version:
                    # Made again as a whole, labels follow from the data alone, not from what was fitted when.
                    calibrate_judges(project, [resolution.version], growth=None)
                    resolution.version.refresh_from_db(fields=["calibration"])
            resolved += _resolve_batch(project, mine, people, learned.method, resolution)
    return resolved


def _batches(project: Project, pair_ids: Iterable[UUID | str] | None) -> Iterator[list[UUID]]:
    """Yield these pairs (default: a project's, as far as there are any) in batches by id: one query each for all."""
    if pair_ids is not None:
        ids = sorted({UUID(str(pair_id)) for pair_id in pair_ids})
        yield from (ids[start : start + PAIRS_PER_TRANSACTION] for start in range(0, len(ids), PAIRS_PER_TRANSACTION))
        return
    every = left = Pair.objects.in_project(project).values_list("id", flat=True)
    while batch := list(left[:PAIRS_PER_TRANSACTION]):
        yield batch
        if len(batch) < PAIRS_PER_TRANSACTION:
            return
        left = every.filter(id__gt=batch[-1])


def resolving_judge(project: Project) -> Resolution:
    """Return the judge whose preferences are labels where people gave none."""
    plan = Plan.objects.filter(project=project, state=PlanState.APPLIED).order_by("-applied_at").first()
    if plan is not None:
        judge = plan.figures["judge"]
        if not judge["labels"]:
            return Resolution(None, "plan", plan)
        version = JudgeVersion.objects.select_related("judge").get(pk=judge["version_id"])
        if version.judge.gate and not judge_card(version).trusted:
            # A gate that a manager set since holds for the plan's judge as well.
            return Resolution(None, "gate", plan)
        return Resolution(version, "plan", plan)
    try:
        chosen = choose_judge(project)
    except RoutingError:
        # No judge has labelled anything: there is nothing to stand where people gave no answer.
        return Resolution(None, "default")
    return Resolution(chosen.version if chosen.labels else None, "default")


def split_pairs(project: Project) -> set[str]:
    """Return the pairs whose label is withheld because two judges differ: people should see them first."""
    labels = Label.objects.filter(pair__project=project, provenance__rule=SPLIT)
    return {str(pair_id) for pair_id in labels.values_list("pair_id", flat=True)}


def _resolve_batch(
    project: Project, pair_ids: list[UUID], people: Decided, method: Method, resolution: Resolution | None
) -> int:
    routes = _last_routes(project, pair_ids)
    stored = {label.pair_id: label for label in Label.objects.filter(pair_id__in=pair_ids)}
    unanswered = [pair_id for pair_id in pair_ids if str(pair_id) not in people.answers.index]
    version = resolution.version if resolution else None
    answers = answers_of(version, unanswered) if version else {}
    labels = _human_labels(people, method, routes)
    for pair, label in labels.items():
        if pair in stored and pair not in routes:
            label.provenance |= came_with(stored[pair])
    if resolution and version:
        labels |= _judge_labels(project, resolution, version, answers, routes)
    adjudicated = {pair for pair, label in stored.items() if label.source == LabelSource.ADJUDICATED}
    if resolution and resolution.plan is None:
        # No plan here says otherwise: what came with a published dataset stands until somebody answers.
        adjudicated |= {pair for pair, label in stored.items() if came_with(label) and pair in set(unanswered)}
    changed = [
        label
        for pair, label in labels.items()
        if pair not in adjudicated and (pair not in stored or _differs(label, stored[pair]))
    ]
    Label.objects.bulk_create(
        changed, update_conflicts=True, unique_fields=["pair"], update_fields=[*DERIVED, "resolved_at"], batch_size=1000
    )
    stale = [pair for pair in stored if pair not in labels and pair not in adjudicated]
    Label.objects.filter(pair_id__in=stale).delete()
    return len(labels.keys() | adjudicated)


def came_with(label: Label) -> dict[str, Any]:
    """Return what a label of a published dataset said about routing, from where it was made; else nothing."""
    if not label.provenance.get(PUBLISHED):
        return {}
    return {name: label.provenance[name] for name in (PUBLISHED, *ROUTED) if name in label.provenance}


def _last_routes(project: Project, pair_ids: list[UUID]) -> dict[UUID, Route]:
    applied = Route.objects.filter(plan__project=project, plan__state=PlanState.APPLIED, pair_id__in=pair_ids)
    ordered = applied.select_related("plan").defer("plan__predictor").order_by("plan__applied_at")
    return {route.pair_id: route for route in ordered}


def _human_labels(people: Decided, method: Method, routes: dict[UUID, Route]) -> dict[UUID, Label]:
    raters: dict[str, list[str]] = defaultdict(list)
    origins: dict[str, Counter[str]] = defaultdict(Counter)
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    # A loop: frames of groups cost more than the few votes of one pair.
    votes = (people.votes[name] for name in ("pair_id", "rater_id", "origin", "choice"))
    for pair, rater, origin, choice in zip(*votes, strict=True):
        raters[pair].append(rater)
        origins[pair][origin] += 1
        counts[pair][choice] += 1
    now = timezone.now()
    labels = {}
    for pair, row in people.answers.to_dict("index").items():
        pair_id, choice = UUID(str(pair)), str(row["choice"])
        labels[pair_id] = Label(
            pair_id=pair_id,
            source=LabelSource.HUMAN,
            choice=choice,
            prob_a=float(row["prob_a"]),
            p_correct=float(row["p_correct"]) if choice else None,
            strength=None if math.isnan(row["strength"]) else float(row["strength"]),
            n_votes=int(row["n_votes"]),
            agreement=float(row["agreement"]),
            provenance={
                "rule": f"people_{method.value}" if choice else "people_contested",
                "method": method.value,
                "raters": sorted(raters[str(pair)]),
                "origins": dict(sorted(origins[str(pair)].items())),
                "votes": {given: n for given in DECIDING if (n := counts[str(pair)][given])},
                "contested": bool(row["is_contested"]),
                "suspected_flip": bool(row["suspected_flip"]),
                **_routed(routes.get(pair_id)),
            },
            resolved_at=now,
        )
    return labels


def _judge_labels(
    project: Project,
    resolution: Resolution,
    version: JudgeVersion,
    answers: dict[UUID, JudgeAnswer],
    routes: dict[UUID, Route],
) -> dict[UUID, Label]:
    described = _describe(version, resolution.chosen_by)
    flagged = flagged_pairs(project, answers)
    seconds = _second_answers(project, answers)
    plans = [resolution.plan, *{route.plan_id: route.plan for route in routes.values()}.values()]
    accepting = {plan.pk: acceptance_of(plan) for plan in plans if plan is not None}
    labels = {}
    for pair, answer in answers.items():
        # A plan of another judge says nothing about the labels of this one.
        route = routes.get(pair)
        own = route if route is not None and _is_of(route.plan, version) else None
        plan = own.plan if own else resolution.plan
        second = seconds.get(pair)
        label = _ai_label(pair, answer, version, own, {**described, **_describe_second(second), **_routed(route)})
        if second and _side(second.choice) == _side(answer.choice):
            label.provenance["rule"] = "judges_agree"
        if pair in flagged:
            _withhold(label, WITHHELD, f"flagged: {', '.join(flagged[pair])}")
        elif second and _side(second.choice) != _side(answer.choice):
            said = f"{described['judge']} says {answer.choice}, {full_name(second.version)} says {second.choice}"
            _withhold(label, SPLIT, said)
        elif plan and (reason := accepting[plan.pk].against(own.p_wrong if own else None)):
            _withhold(label, NOT_GUARANTEED, reason)
        labels[pair] = label
    return labels


def _is_of(plan: Plan, version: JudgeVersion) -> bool:
    return bool(plan.figures["judge"]["version_id"] == str(version.pk))


def _side(choice: str) -> str:
    """Return a, b, or nothing for no preference: "tie" and "both bad" are one here."""
    return choice if choice in {Choice.A, Choice.B} else ""


def _second_answers(project: Project, answers: dict[UUID, JudgeAnswer]) -> dict[UUID, SecondAnswer]:
    """Return what second judges answered on the pairs that applied plans gave them; three queries and two a judge.

    A later plan takes no doubt back: that two judges differ stays true.
    """
    asked = Route.objects.filter(
        plan__project=project, plan__state=PlanState.APPLIED, source=RouteSource.SECOND, pair_id__in=answers
    )
    given: dict[str, list[UUID]] = {}
    for route in asked.select_related("plan").defer("plan__predictor").order_by("plan__applied_at"):
        given.setdefault(route.plan.figures["second"]["version_id"], []).append(route.pair_id)
    versions = {str(one.pk): one for one in JudgeVersion.objects.select_related("judge").filter(pk__in=given)}
    return {
        pair: SecondAnswer(versions[version_id], answer.choice)
        for version_id, pairs in given.items()
        for pair, answer in answers_of(versions[version_id], pairs).items()
    }


def _describe_second(second: SecondAnswer | None) -> dict[str, Any]:
    if second is None:
        return {}
    return {
        "second_judge": full_name(second.version),
        "second_judge_version": second.version.number,
        "second_judge_version_id": str(second.version.pk),
        "second_judge_choice": second.choice,
    }


def _ai_label(
    pair_id: UUID, answer: JudgeAnswer, version: JudgeVersion, route: Route | None, described: dict[str, Any]
) -> Label:
    p_wrong = route.p_wrong if route is not None and route.plan.predictor_kind != "cold" else None
    p_correct, known_from = (None, {}) if p_wrong is None else (1 - p_wrong, {})
    if p_correct is None and version.calibration.get("method") and answer.choice in {Choice.A, Choice.B}:
        prob_a = calibrated(version, prob_a_of(answer.choice, answer.prob_a))
        p_correct, known_from = prob_a if answer.choice == Choice.A else 1 - prob_a, {"p_correct_from": "calibration"}
    return Label(
        pair_id=pair_id,
        source=LabelSource.AI,
        choice=answer.choice,
        prob_a=answer.prob_a,
        # The cold start ranks; its numbers are no probabilities, so they are no claim about a label.
        p_correct=p_correct,
        strength=answer.strength,
        n_votes=0,
        agreement=None,
        provenance={"rule": "judge", **described, **known_from},
        resolved_at=timezone.now(),
    )


def _withhold(label: Label, rule: str, reason: str) -> None:
    """Leave a judge's label open: it has no choice, and says why."""
    label.choice = ""
    label.prob_a = label.p_correct = label.strength = None
    label.provenance.pop("p_correct_from", None)
    label.provenance |= {"rule": rule, "withheld": reason}


def _describe(version: JudgeVersion, chosen_by: str) -> dict[str, Any]:
    return {
        "judge": full_name(version),
        "judge_version": version.number,
        "judge_version_id": str(version.pk),
        "judge_hash": version.content_hash,
        "prompt_hash": content_hash(version.prompt_template) if version.prompt_template else None,
        "judge_chosen_by": chosen_by,
    }


def _routed(route: Route | None) -> dict[str, Any]:
    """Return what the last applied plan decided about the pair."""
    if route is None:
        return {"plan": None}
    return {
        "plan": str(route.plan_id),
        "route": route.source,
        "audit": route.source == RouteSource.AUDIT,
        "selection_prob": route.selection_prob,
        "p_wrong": route.p_wrong,
        "predictor": route.plan.predictor_kind,
    }


def _differs(label: Label, stored: Label) -> bool:
    return any(getattr(label, name) != getattr(stored, name) for name in DERIVED)
