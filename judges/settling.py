"""Verdicts become preferences: the probabilities of all orders are averaged first, then the choice is made.

One verdict an order makes one preference of the version on the whole pair and one by each criterion; the scores of two
responses, each rated alone, make ratings and the preference that follows from them.
"""

import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from annotation.criteria import OVERALL
from annotation.models import Criterion, Pair, Preference, Rating, RationaleTiming
from judges.averaging import ROUNDING, VerdictValues, choice_of, compare_scores, prob_of_rewards, settle
from judges.models import JudgeVersion, Order, Verdict, VerdictState
from judges.options import Options, read_options
from judges.questions import SCORED_ALONE, Protocol, orders_of
from judges.writing import insert_rows

# A judge whose two orders differ and whose mean ends within this distance of one half has not decided: a tie.
TIE_BAND = Options().tie_band
# What a row of a verdict is asked for; the texts of answers stay in the database.
_READ = (
    "pair_id",
    "order",
    "choice",
    "prob_a",
    "distribution",
    "criteria",
    "score_a",
    "score_b",
    "rationale",
    "seconds",
    "meta",
)
# Which came first, the reasons or the verdict, by protocol.
_TIMINGS = {Protocol.PAIRWISE.value: RationaleTiming.BEFORE, Protocol.LETTER.value: RationaleTiming.AFTER}

Key = tuple[uuid.UUID, uuid.UUID | None]


class Made(NamedTuple):
    """What the verdicts on one pair come to on the whole (`criterion` empty) or by one criterion."""

    criterion: str
    choice: str
    prob_a: float | None
    meta: Mapping[str, Any]
    rationale: str = ""
    shown_order: str = ""
    timing: str = RationaleTiming.UNKNOWN.value
    seconds: float | None = None


def settle_pairs(version: JudgeVersion, pair_ids: Iterable[uuid.UUID], *, known: Sequence[Verdict] = ()) -> None:
    """Make the version's preferences and ratings on these pairs, those whose orders are all answered.

    An unchanged preference is left as it is, a changed one becomes a new row that replaces it; ratings are updated in
    place. Caller holds a transaction with these pairs' verdicts of this version locked. A handful of statements,
    whatever the number of pairs. `known`: verdicts at hand, all that are answered of their pairs, as they are stored.
    """
    options = read_options(version.options)
    answered = _answered(version, list(pair_ids), known)
    if not answered:
        return
    made = {pair_id: made_of(version, options, verdicts) for pair_id, verdicts in answered.items()}
    names = {one.criterion for many in made.values() for one in many} - {""}
    rates = version.protocol in SCORED_ALONE
    criteria = _criteria(version, names | ({OVERALL} if rates else set()))
    if rates:
        _store_ratings(version, answered, criteria)
    _store_preferences(version, made, criteria)


def made_of(version: JudgeVersion, options: Options, verdicts: Mapping[str, Verdict]) -> list[Made]:
    """Return what the answered verdicts of one pair (by order, all of the version's) come to: the whole first."""
    if version.protocol == Protocol.REWARD:
        made = [_from_rewards(options, verdicts[Order.ONLY_A], verdicts[Order.ONLY_B])]
    elif version.protocol == Protocol.RATING:
        made = _from_scores(options, verdicts[Order.ONLY_A], verdicts[Order.ONLY_B])
    else:
        made = _from_choices(version, options, [verdicts[order] for order in orders_of(version)])
    return [_explained(made[0], verdicts.get(Order.WHY)), *made[1:]]


def _from_choices(version: JudgeVersion, options: Options, verdicts: Sequence[Verdict]) -> list[Made]:
    # A rule sees no order and has no noise: any distance from one half decides.
    band = options.tie_band if len(verdicts) > 1 else 0.0
    settled = settle(
        [VerdictValues(one.order, one.choice, one.prob_a, one.distribution) for one in verdicts],
        tie_band=band,
        aggregation=options.aggregation,
    )
    speaker = None if settled.rationale_from is None else verdicts[settled.rationale_from]
    rationale = speaker.rationale if speaker else ""
    seconds = [one.seconds for one in verdicts if one.seconds is not None]
    whole = Made(
        criterion="",
        choice=settled.choice,
        prob_a=settled.prob_a,
        meta=_meta(consistent=settled.consistent, prob_tie=settled.prob_tie),
        rationale=rationale,
        # A rationale speaks of "the first response": this is the order it was written in. A jury hands on a member's.
        shown_order=(speaker.order or speaker.meta.get("rationale_order", "")) if speaker and rationale else "",
        timing=_TIMINGS.get(version.protocol, RationaleTiming.UNKNOWN).value if rationale else "",
        seconds=sum(seconds) if seconds else None,
    )
    made = [whole]
    for name in _names(verdicts):
        said = [
            VerdictValues(
                one.order,
                one.criteria[name]["choice"],
                one.criteria[name].get("prob_a"),
                one.criteria[name].get("distribution") or {},
            )
            for one in verdicts
        ]
        by = settle(said, tie_band=band, aggregation=options.aggregation)
        made.append(Made(name, by.choice, by.prob_a, _meta(consistent=by.consistent, prob_tie=by.prob_tie)))
    return made


def _from_scores(options: Options, a: Verdict, b: Verdict) -> list[Made]:
    made = [
        _compared(
            "",
            options,
            {"score": a.score_a, "distribution": a.distribution},
            {"score": b.score_b, "distribution": b.distribution},
        )
    ]
    seconds = [one.seconds for one in (a, b) if one.seconds is not None]
    made[0] = made[0]._replace(seconds=sum(seconds) if seconds else None)
    return made + [_compared(name, options, a.criteria[name], b.criteria[name]) for name in _names([a, b])]


def _from_rewards(options: Options, a: Verdict, b: Verdict) -> Made:
    if a.score_a is None or b.score_b is None:
        raise ValueError("an answered verdict of a reward model has its score")
    prob_a = prob_of_rewards(a.score_a, b.score_b)
    meta = {"score_a": a.score_a, "score_b": b.score_b}
    seconds = [one.seconds for one in (a, b) if one.seconds is not None]
    made = Made("", choice_of(prob_a, tie_band=options.tie_band), prob_a, meta)
    return made._replace(seconds=sum(seconds) if seconds else None)


def _compared(name: str, options: Options, a: Mapping[str, Any], b: Mapping[str, Any]) -> Made:
    compared = compare_scores(
        a["score"],
        b["score"],
        distribution_a=a.get("distribution"),
        distribution_b=b.get("distribution"),
        scoring=options.scoring,
    )
    meta = {"score_a": a["score"], "score_b": b["score"], **_meta(prob_tie=compared.prob_tie)}
    return Made(name, choice_of(compared.prob_a, tie_band=options.tie_band), compared.prob_a, meta)


def _explained(whole: Made, why: Verdict | None) -> Made:
    """Return the preference with the second pass's reasons, where it has none of its own and they argue for it."""
    if why is None or whole.rationale or why.choice != whole.choice or why.meta.get("disagrees"):
        return whole
    return whole._replace(rationale=why.rationale, shown_order=Order.AB.value, timing=RationaleTiming.AFTER.value)


def _names(verdicts: Sequence[Verdict]) -> list[str]:
    """Return the criteria that all of these verdicts answer, in the first one's order."""
    return [name for name in verdicts[0].criteria if all(name in one.criteria for one in verdicts)]


def _meta(**found: Any) -> dict[str, Any]:
    return {
        name: round(value, 9) if isinstance(value, float) else value
        for name, value in found.items()
        if value is not None
    }


# --- Rows -------------------------------------------------------------------------------------------------------------


def _answered(
    version: JudgeVersion, pair_ids: Sequence[uuid.UUID], known: Sequence[Verdict]
) -> dict[uuid.UUID, dict[str, Verdict]]:
    """Return the answered verdicts of these pairs by pair and order, where none of the version's orders is missing."""
    wanted = set(orders_of(version))
    at_hand = {row.pair_id for row in known}
    others = [pair_id for pair_id in pair_ids if pair_id not in at_hand]
    stored = Verdict.objects.filter(version=version, pair_id__in=others, state=VerdictState.DONE).only(*_READ)
    found: defaultdict[uuid.UUID, dict[str, Verdict]] = defaultdict(dict)
    for row in [*known, *stored]:
        found[row.pair_id][row.order] = row
    return {pair_id: found[pair_id] for pair_id in sorted(pair_ids) if wanted <= found[pair_id].keys()}


def _criteria(version: JudgeVersion, names: set[str]) -> dict[str, uuid.UUID]:
    """Return the ids of the project's criteria of these names.

    "overall" is made where it is missing; another that is missing was taken out by somebody, and stays out.
    """
    if not names:
        return {}
    project_id = version.judge.project_id
    found = dict(Criterion.objects.filter(project_id=project_id, name__in=names).values_list("name", "pk"))
    if OVERALL in names and OVERALL not in found:
        found[OVERALL] = Criterion.objects.get_or_create(project_id=project_id, name=OVERALL)[0].pk
    return found


def _store_preferences(
    version: JudgeVersion, made: Mapping[uuid.UUID, Sequence[Made]], criteria: Mapping[str, uuid.UUID]
) -> None:
    present = Preference.objects.select_for_update().filter(
        rater_id=version.rater_id, pair_id__in=list(made), is_current=True
    )
    current: dict[Key, Preference] = {(one.pair_id, one.criterion_id): one for one in present.order_by("pk")}
    replaced: list[uuid.UUID] = []
    rows: list[Preference] = []
    for pair_id, many in made.items():
        for one in many:
            if one.criterion and one.criterion not in criteria:
                continue
            criterion_id = criteria[one.criterion] if one.criterion else None
            before = current.get((pair_id, criterion_id))
            if before and _same(before, one):
                continue
            if before:
                replaced.append(before.pk)
            rows.append(
                Preference(
                    pair_id=pair_id,
                    rater_id=version.rater_id,
                    criterion_id=criterion_id,
                    choice=one.choice,
                    prob_a=one.prob_a,
                    shown_order=one.shown_order,
                    seconds=one.seconds,
                    rationale=one.rationale,
                    rationale_timing=one.timing,
                    replaces=before,
                    meta=dict(one.meta),
                )
            )
    if replaced:
        Preference.objects.filter(pk__in=replaced).update(is_current=False)
    insert_rows(rows)


def _same(before: Preference, made: Made) -> bool:
    told = (before.choice, before.prob_a, before.rationale) == (made.choice, made.prob_a, made.rationale)
    return told and all(before.meta.get(name) == value for name, value in made.meta.items())


def _store_ratings(
    version: JudgeVersion, answered: Mapping[uuid.UUID, Mapping[str, Verdict]], criteria: Mapping[str, uuid.UUID]
) -> None:
    """Write the scores of both responses of each pair, on the whole and by criterion."""
    responses = dict(_responses(answered))
    wanted: dict[tuple[uuid.UUID, uuid.UUID, uuid.UUID], float] = {}
    for pair_id, verdicts in answered.items():
        for place, order in enumerate((Order.ONLY_A, Order.ONLY_B)):
            row = verdicts[order]
            scores = {OVERALL: row.score_a if order == Order.ONLY_A else row.score_b}
            scores |= {name: one["score"] for name, one in row.criteria.items()}
            for name, score in scores.items():
                if name in criteria and score is not None:
                    wanted[pair_id, responses[pair_id][place], criteria[name]] = score
    present = Rating.objects.filter(rater_id=version.rater_id, pair_id__in=list(answered))
    changed: list[Rating] = []
    for one in present:
        score = None if one.pair_id is None else wanted.pop((one.pair_id, one.response_id, one.criterion_id), None)
        if score is not None and abs(score - one.value) > ROUNDING:
            one.value = score
            changed.append(one)
    Rating.objects.bulk_update(changed, ["value"])
    Rating.objects.bulk_create(
        Rating(
            rater_id=version.rater_id, pair_id=pair_id, response_id=response_id, criterion_id=criterion_id, value=score
        )
        for (pair_id, response_id, criterion_id), score in wanted.items()
    )


def _responses(pair_ids: Iterable[uuid.UUID]) -> list[tuple[uuid.UUID, tuple[uuid.UUID, uuid.UUID]]]:
    rows = Pair.objects.filter(pk__in=list(pair_ids)).values_list("pk", "response_a_id", "response_b_id")
    return [(pk, (a, b)) for pk, a, b in rows]
