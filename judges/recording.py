"""Judgements recorded in a file: `judges[]` of the project's own record becomes judges, verdicts and preferences.

Registered as a consumer of imports when the app starts, since `annotation` knows nothing of judges. Recorded judgements
run through the same tables and the same averaging as live ones, so cards, signals and plans cannot tell them apart.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from django.db.models import Max

from annotation.criteria import OVERALL
from annotation.importing import ImportedRow
from annotation.models import Choice, Criterion, Origin, Pair, Preference, Project, Rater, RaterKind, Rating
from annotation.models.pairs import content_hash
from annotation.reading.json_files import kind_of
from annotation.records import RowProblem
from annotation.validating import long_text, number_or_none, short_text
from judges.averaging import VerdictValues, settle
from judges.models import Judge, JudgeKind, JudgeVersion, Order, Verdict, VerdictState
from judges.settling import TIE_BAND

# Both together, with a suffix, fit the name of a rater (200).
MODEL_LIMIT = 100
PROTOCOL_LIMIT = 80
NAME_MARK = " · "
SUFFIX = " (recorded)"
KNOWN = {"model", "protocol", "choice", "swapped", "prob_a", "score_a", "score_b", "rationale"}

Key = tuple[str, str]
Criteria = tuple[tuple[str, str], ...]


class Judgement(NamedTuple):
    """One entry of `judges[]`: what a model said in one order. Everything is in the stored order a/b."""

    model: str
    protocol: str
    order: str
    choice: str
    prob_a: float | None
    score_a: float | None
    score_b: float | None
    rationale: str
    criteria: Criteria
    meta: dict[str, Any]

    @property
    def key(self) -> Key:
        """Return what names the judge version."""
        return self.model, self.protocol


def check(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what is wrong with the `judges[]` of a record, as (field, reason): each bad entry once."""
    entries = record.get("judges")
    if entries is None:
        return []
    if not isinstance(entries, list):
        return [("judges", f"is {kind_of(entries)}, not a list of judgements")]
    problems = []
    seen: dict[tuple[str, str, str], int] = {}
    for index, entry in enumerate(entries):
        try:
            judgement = judgement_of(entry, f"judges[{index}]")
        except RowProblem as problem:
            problems.append((problem.field, problem.reason))
            continue
        before = seen.setdefault((*judgement.key, judgement.order), index)
        if before != index:
            problems.append(
                (
                    f"judges[{index}].swapped",
                    f"repeats judges[{before}]: {judgement.model!a} with the protocol {judgement.protocol!a} in the "
                    "same order; a judge gives one judgement an order",
                )
            )
    return problems


def judgement_of(entry: Any, field: str) -> Judgement:
    """Return one entry of `judges[]`. Raises `RowProblem` naming the field by its path."""
    if not isinstance(entry, dict):
        raise RowProblem(field, f"is {kind_of(entry)}, not an object")
    model = short_text(entry.get("model"), f"{field}.model", MODEL_LIMIT).strip()
    if not model:
        raise RowProblem(f"{field}.model", "is missing: whose judgement is it?")
    prob_a = number_or_none(entry.get("prob_a"), f"{field}.prob_a")
    if prob_a is not None and not 0.0 <= prob_a <= 1.0:
        raise RowProblem(f"{field}.prob_a", f"is {prob_a:g}, not a probability from 0 to 1")
    return Judgement(
        model=model,
        protocol=short_text(entry.get("protocol"), f"{field}.protocol", PROTOCOL_LIMIT).strip(),
        order=_order(entry.get("swapped"), f"{field}.swapped"),
        choice=_choice(entry.get("choice"), f"{field}.choice"),
        prob_a=prob_a,
        score_a=number_or_none(entry.get("score_a"), f"{field}.score_a"),
        score_b=number_or_none(entry.get("score_b"), f"{field}.score_b"),
        rationale=long_text(entry.get("rationale"), f"{field}.rationale"),
        criteria=_criteria(entry.get("criteria"), f"{field}.criteria"),
        meta={name: value for name, value in entry.items() if name not in KNOWN and value is not None},
    )


def consume(project: Project, rows: list[ImportedRow]) -> int:
    """Store the judgements of new pairs and what they come to; return how many verdicts were stored.

    Caller holds the import's transaction with the project's row locked. Five queries a batch beside the rows written,
    whatever its size.
    """
    judged = [(row.pair, list(_by_version(row.record.get("judges") or []))) for row in rows]
    versions = _versions(project, {key for _, found in judged for key, _ in found})
    criteria = _criteria_of(project, [judgement for _, found in judged for _, many in found for judgement in many])
    verdicts: list[Verdict] = []
    preferences: list[Preference] = []
    ratings: list[Rating] = []
    for pair, found in judged:
        for key, judgements in found:
            version = versions[key]
            verdicts += [_verdict(version, pair, judgement) for judgement in judgements]
            preferences += _preferences(version, pair, judgements, criteria)
            ratings += _ratings(version, pair, judgements, criteria)
    Verdict.objects.bulk_create(verdicts)
    Preference.objects.bulk_create(preferences)
    Rating.objects.bulk_create(ratings)
    return len(verdicts)


# --- Reading --------------------------------------------------------------------------------------------------------


def _choice(value: Any, field: str) -> str:
    if value is None:
        raise RowProblem(field, "is missing")
    if not isinstance(value, str) or value not in Choice.values:
        raise RowProblem(field, f"{value!a} is no choice ({', '.join(Choice.values)})"[:200])
    return value


def _order(value: Any, field: str) -> str:
    """Return which response the judge saw first; '' where that is not known or each was scored by itself."""
    if value is None:
        return Order.NONE.value
    if not isinstance(value, bool):
        raise RowProblem(field, f"is {kind_of(value)}, not true, false or null")
    return Order.BA.value if value else Order.AB.value


def _criteria(value: Any, field: str) -> Criteria:
    if value is None:
        return ()
    if not isinstance(value, dict):
        raise RowProblem(field, f"is {kind_of(value)}, not an object of name: choice")
    found = []
    for name, choice in value.items():
        if not short_text(name, f"{field}.{name}", 120).strip():
            raise RowProblem(field, "has a criterion without a name")
        if choice is not None:
            found.append((name, _choice(choice, f"{field}.{name}")))
    return tuple(found)


def _by_version(entries: Sequence[Any]) -> Iterator[tuple[Key, list[Judgement]]]:
    found: dict[Key, list[Judgement]] = {}
    for index, entry in enumerate(entries):
        judgement = judgement_of(entry, f"judges[{index}]")
        found.setdefault(judgement.key, []).append(judgement)
    yield from found.items()


# --- Judges ---------------------------------------------------------------------------------------------------------


def _versions(project: Project, keys: set[Key]) -> dict[Key, JudgeVersion]:
    """Return the recorded version of every (model, protocol); those that are missing are made. One query if none is."""
    if not keys:
        return {}
    recorded = JudgeVersion.objects.filter(judge__project=project, judge__kind=JudgeKind.RECORDED)
    versions = {(version.model, version.protocol): version for version in recorded.select_related("judge", "rater")}
    judges = {version.model: version.judge for version in versions.values()}
    for model, protocol in sorted(keys - versions.keys()):
        if model not in judges:
            judges[model] = _judge(project, model)
        versions[model, protocol] = _version(judges[model], model, protocol)
    return versions


def _judge(project: Project, model: str) -> Judge:
    taken = Judge.objects.filter(project=project, name=model).exists()
    # A live judge of that name is another judge: it may be asked otherwise.
    name = f"{model}{SUFFIX}" if taken else model
    return Judge.objects.create(project=project, name=name, kind=JudgeKind.RECORDED)


def _version(judge: Judge, model: str, protocol: str) -> JudgeVersion:
    name = f"{model}{NAME_MARK}{protocol}" if protocol else model
    judges = {"project_id": judge.project_id, "kind": RaterKind.JUDGE}
    if Rater.objects.filter(**judges, name=name).exists():
        name += SUFFIX
    last = judge.versions.aggregate(last=Max("number"))["last"] or 0
    return JudgeVersion.objects.create(
        judge=judge,
        rater=Rater.objects.create(**judges, name=name, origin=Origin.RECORDED),
        number=last + 1,
        protocol=protocol,
        model=model,
        content_hash=content_hash({"kind": JudgeKind.RECORDED.value, "model": model, "protocol": protocol}),
    )


def _criteria_of(project: Project, judgements: Iterable[Judgement]) -> dict[str, Criterion]:
    """Return the criteria that the judgements name; those that are missing are made."""
    names = set()
    for judgement in judgements:
        names |= {name for name, _ in judgement.criteria}
        if judgement.score_a is not None or judgement.score_b is not None:
            names.add(OVERALL)
    if not names:
        return {}
    found = {criterion.name: criterion for criterion in Criterion.objects.filter(project=project)}
    missing = [
        Criterion(project=project, name=name, position=len(found) + index)
        for index, name in enumerate(sorted(names - found.keys()))
    ]
    Criterion.objects.bulk_create(missing)
    return found | {criterion.name: criterion for criterion in missing}


# --- Rows -----------------------------------------------------------------------------------------------------------


def _verdict(version: JudgeVersion, pair: Pair, judgement: Judgement) -> Verdict:
    return Verdict(
        version=version,
        pair=pair,
        order=judgement.order,
        state=VerdictState.DONE,
        choice=judgement.choice,
        prob_a=judgement.prob_a,
        score_a=judgement.score_a,
        score_b=judgement.score_b,
        rationale=judgement.rationale,
        meta=judgement.meta,
    )


def _preferences(
    version: JudgeVersion, pair: Pair, judgements: Sequence[Judgement], criteria: Mapping[str, Criterion]
) -> list[Preference]:
    """Return the version's preference on the whole pair, and those by criterion."""
    both_orders = {one.order for one in judgements} >= {Order.AB, Order.BA}
    settled = settle(
        [VerdictValues(one.order, one.choice, one.prob_a) for one in judgements],
        tie_band=TIE_BAND if both_orders else 0.0,
    )
    speaker = None if settled.rationale_from is None else judgements[settled.rationale_from]
    whole = Preference(
        pair=pair,
        rater=version.rater,
        choice=settled.choice,
        prob_a=settled.prob_a,
        rationale=speaker.rationale if speaker else "",
        # A rationale speaks of "the first response": this is the order it was written in.
        shown_order=speaker.order if speaker and speaker.rationale else "",
        meta={"consistent": settled.consistent, "orders": len(judgements)},
    )
    by_criterion: dict[str, list[VerdictValues]] = {}
    for one in judgements:
        for name, choice in one.criteria:
            by_criterion.setdefault(name, []).append(VerdictValues(one.order, choice))
    return [whole, *(_by_criterion(version, pair, criteria[name], many) for name, many in by_criterion.items())]


def _by_criterion(
    version: JudgeVersion, pair: Pair, criterion: Criterion, verdicts: Sequence[VerdictValues]
) -> Preference:
    settled = settle(verdicts)
    return Preference(pair=pair, rater=version.rater, criterion=criterion, choice=settled.choice, prob_a=settled.prob_a)


def _ratings(
    version: JudgeVersion, pair: Pair, judgements: Sequence[Judgement], criteria: Mapping[str, Criterion]
) -> list[Rating]:
    """Return the mean score of each response over the orders."""
    found = []
    for response_id, scores in (
        (pair.response_a_id, [one.score_a for one in judgements if one.score_a is not None]),
        (pair.response_b_id, [one.score_b for one in judgements if one.score_b is not None]),
    ):
        if scores:
            found.append(
                Rating(
                    rater=version.rater,
                    response_id=response_id,
                    criterion=criteria[OVERALL],
                    pair=pair,
                    value=sum(scores) / len(scores),
                )
            )
    return found
