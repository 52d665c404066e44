"""Judges made of judges: a jury asks several and decides by a rule, a cascade a second one where the first is unsure.

A combined judge asks nobody itself. Its run starts runs of its members for pairs they have not judged, and its answers
follow from theirs; so a judge that labelled the pairs before is used as it is, and nothing is asked or paid twice. A
member is a fixed version made before the version that holds it, so members cannot hold each other in a circle.
"""

import math
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from decimal import Decimal
from itertools import islice
from typing import Any, NamedTuple

from django.db import transaction
from django.db.models import Q, QuerySet, Value

from annotation.aggregating import consensus, vote_frame
from annotation.models import Choice, Pair, Preference, Project
from annotation.models.pairs import content_hash
from judges.averaging import CHOICE_PROB_A, choice_of, prob_a_of
from judges.errors import JudgeError
from judges.models import COMBINED, JudgeKind, JudgeRun, JudgeVersion, RunState, Verdict, VerdictState
from judges.options import Options, check_options, example_pairs, read_options
from judges.questions import Answer, Protocol, Question

OPEN = (VerdictState.PENDING, VerdictState.CLAIMED)
LEAST_MEMBERS = 2
# A certain member must not outweigh all others in a sum of log-odds.
SUREST = 0.98
# SQLite binds at most 32,766 values in a statement.
IDS_PER_QUERY = 10_000
# Others can write between them.
VERDICTS_PER_TRANSACTION = 500
# Below these a weight for each member would follow single pairs.
LEAST_LABELS = 30
LEAST_GROUPS = 5


class Combination(NamedTuple):
    """The content of a combined judge: its checked options, a hash of what its members are, and fitted weights."""

    options: Options
    members_hash: str
    fitted: Mapping[str, Any]


class Said(NamedTuple):
    """A member's current preference on a pair."""

    choice: str
    prob_a: float
    consistent: bool | None
    prob_tie: float | None
    rationale: str
    shown_order: str


Heard = Mapping[uuid.UUID, Mapping[uuid.UUID, Said]]
# Runs that this thread is bringing on: starting or ending a member's run asks for the same again.
_under_way: ContextVar[frozenset[uuid.UUID]] = ContextVar("_under_way", default=frozenset())


# --- Defining -------------------------------------------------------------------------------------------------------


def member_ids(project: Project, names: Sequence[str]) -> tuple[str, ...]:
    """Return the ids of judge versions by name: "gpt" is its newest version, "gpt v2" that one. Raises `JudgeError`."""
    versions = list(JudgeVersion.objects.filter(judge__project=project).select_related("judge").order_by("number"))
    newest = {version.judge.name: version for version in versions}
    numbered = {str(version): version for version in versions}
    found = []
    for name in (one.strip() for one in names):
        version = newest.get(name) or numbered.get(name)
        if version is None:
            known = ", ".join(sorted(newest)) or "none yet"
            raise JudgeError(f"There is no judge {name!r} in {project.slug} to be a member. Judges: {known}.")
        found.append(str(version.pk))
    return tuple(found)


def combined_content(project: Project, kind: str, options: Options) -> Combination:
    """Return what makes a jury or cascade with these options; the weights of a learned jury are fitted now.

    A jury has at least two members, a cascade exactly two: versions of judges of this project, all different. Raises
    `JudgeError` that names what is wrong, also where there are too few labels to fit weights.
    """
    checked = check_options(options, kind=kind, protocol=Protocol.PAIRWISE)
    members = _members(project, kind, checked.members)
    ids = tuple(str(member.pk) for member in members)
    members_hash = content_hash([member.content_hash for member in members])
    if kind == JudgeKind.CASCADE:
        return Combination(Options(members=ids, unsure_below=checked.unsure_below), members_hash, {})
    weights = _weights(checked, ids)
    fitted = fit_weights(project, members) if checked.rule == "learned" else {}
    kept = Options(members=ids, rule=checked.rule, weights=weights, tie_band=checked.tie_band)
    return Combination(kept, members_hash, fitted)


def members_of(version: JudgeVersion) -> list[JudgeVersion]:
    """Return the members of a jury or cascade, in order. One query. Raises `JudgeError` where one is gone."""
    wanted = [uuid.UUID(one) for one in read_options(version.options).members]
    found = JudgeVersion.objects.select_related("judge", "rater").in_bulk(wanted)
    if len(found) < len(wanted):
        raise JudgeError(f"{version} cannot answer: {len(wanted) - len(found)} of its {len(wanted)} members are gone.")
    return [found[one] for one in wanted]


def asked_versions(version: JudgeVersion) -> list[JudgeVersion]:
    """Return the versions that are asked, and may cost money, when this one is: itself, or its members' members."""
    if version.judge.kind not in COMBINED:
        return [version]
    leaves = {leaf.pk: leaf for member in members_of(version) for leaf in asked_versions(member)}
    return list(leaves.values())


def fit_weights(project: Project, members: Sequence[JudgeVersion]) -> dict[str, Any]:
    """Return the weights of a learned jury, for `JudgeVersion.fitted`: a logistic regression on members' log-odds.

    Fitted to pairs that people decided and at least two members judged, without those shown to a member as examples;
    the penalty is chosen by cross-validation that leaves prompt groups out, and a pair of a group is later judged by
    the weights fitted without that group. Raises `JudgeError` below 30 pairs or five groups.
    """
    # Only a learned jury pays for the import of the fitting code.
    from judges.rules import LabelledPair, fit_pairs

    people = consensus(vote_frame(project))["choice"].map(CHOICE_PROB_A).dropna()
    shown = frozenset[uuid.UUID]().union(*(example_pairs(member) for member in members))
    targets = {uuid.UUID(str(pair_id)): float(target) for pair_id, target in people.items()}
    heard = _heard(members, [pair_id for pair_id in targets if pair_id not in shown])
    pairs = []
    known = [pair_id for pair_id in targets if sum(pair_id in heard[one.pk] for one in members) > 1]
    for ids in _batched(known, IDS_PER_QUERY):
        for pair_id, name, group in Pair.objects.filter(pk__in=ids).values_list("pk", "external_id", "prompt__group"):
            odds = tuple(_log_odds(heard[member.pk].get(pair_id)) for member in members)
            pairs.append(LabelledPair(name, group, targets[pair_id], odds))
    groups = len({pair.group for pair in pairs})
    for n, least, what in ((len(pairs), LEAST_LABELS, "pairs"), (groups, LEAST_GROUPS, "prompt groups")):
        if n < least:
            raise JudgeError(
                f"A learned jury needs {least} {what} that people and at least two members decided; there are too few "
                f"labels ({n} of {least}). Have people answer more pairs and run the members, or take the rule mean."
            )
    fitted = fit_pairs(pairs, features=[str(member.pk) for member in members], seed=project.seed)
    by_member = zip(fitted["features"], fitted["coef"], fitted["scale"], strict=True)
    return {**fitted, "weights": {member: weight / scale for member, weight, scale in by_member}}


def _members(project: Project, kind: str, ids: Sequence[str]) -> list[JudgeVersion]:
    try:
        wanted = [uuid.UUID(str(one)) for one in ids]
    except ValueError:
        raise JudgeError(f"A member of a {kind} is named by the id of a judge's version.") from None
    if len(set(wanted)) < len(wanted):
        raise JudgeError(f"A {kind} takes each member once.")
    if len(wanted) < LEAST_MEMBERS or (kind == JudgeKind.CASCADE and len(wanted) != LEAST_MEMBERS):
        exactly = "exactly two members: the first, and the one asked where it is unsure"
        wants = exactly if kind == JudgeKind.CASCADE else "at least two members"
        raise JudgeError(f"A {kind} has {wants}; {len(wanted)} given. Name them with --member.")
    found = JudgeVersion.objects.filter(judge__project=project).in_bulk(wanted)
    if missing := [str(one) for one in wanted if one not in found]:
        raise JudgeError(f"No judge of {project.slug} has the version {', '.join(missing)}.")
    return [found[one] for one in wanted]


def _weights(options: Options, ids: Sequence[str]) -> dict[str, float]:
    if options.weights and options.rule == "learned":
        raise JudgeError("A learned jury finds its weights itself: give none.")
    weights = {}
    for member, weight in options.weights.items():
        if member not in ids:
            raise JudgeError(f"There is a weight for {member}, which is no member.")
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < math.inf:
            raise JudgeError(f"The weight of {member} is {weight!r}; it takes a number above 0.")
        weights[member] = float(weight)
    return weights


# --- Answering ------------------------------------------------------------------------------------------------------


def combined_answers(version: JudgeVersion, questions: Sequence[Question]) -> list[Answer]:
    """Return the answers of a jury or cascade from its members' current preferences, one a question, in order.

    `meta` says who was asked and who said what. A jury answers from at least two members; a cascade from the first, or
    where that is unsure, contradicts itself or has no answer, from the second. Otherwise the answer is an error with
    its reason. A query for every 10,000 pairs beside that of the members.
    """
    members = members_of(version)
    options = read_options(version.options)
    heard = _heard(members, [question.pair_id for question in questions if question.pair_id], reasons=True)
    cascade = version.judge.kind == JudgeKind.CASCADE
    answers = []
    for question in questions:
        said = {
            member.pk: heard[member.pk][question.pair_id]
            for member in members
            if question.pair_id and question.pair_id in heard[member.pk]
        }
        if cascade:
            answers.append(_of_cascade(question, members, said, options.unsure_below))
        else:
            answers.append(_of_jury(question, version, members, said, options))
    return answers


def is_unsure(said: Said | None, unsure_below: float) -> bool:
    """Say whether a cascade asks on: no answer, two orders that differ, or too small a probability of the choice."""
    if said is None or said.consistent is False:
        return True
    if said.choice == Choice.A:
        return said.prob_a < unsure_below
    if said.choice == Choice.B:
        return 1.0 - said.prob_a < unsure_below
    if said.prob_tie is not None:
        return said.prob_tie < unsure_below
    # A tie in both orders is as sure as a choice without a probability; one in a single order may be no decision.
    return said.consistent is None


def _of_cascade(
    question: Question, members: Sequence[JudgeVersion], said: Mapping[uuid.UUID, Said], unsure_below: float
) -> Answer:
    first, second = members
    if not is_unsure(said.get(first.pk), unsure_below):
        return _answer(
            question, said[first.pk].choice, said[first.pk].prob_a, [first], said, {"asked": [str(first.pk)]}
        )
    if second.pk in said:
        asked = {"asked": [str(first.pk), str(second.pk)]}
        return _answer(question, said[second.pk].choice, said[second.pk].prob_a, [first, second], said, asked)
    why = f"{first} is unsure" if first.pk in said else f"{first} has no answer"
    return Answer(question.verdict_id, error=f"{why} and {second} has no answer.", cost_usd=Decimal(0))


def _of_jury(
    question: Question,
    version: JudgeVersion,
    members: Sequence[JudgeVersion],
    said: Mapping[uuid.UUID, Said],
    options: Options,
) -> Answer:
    silent = [str(member) for member in members if member.pk not in said]
    if len(said) < LEAST_MEMBERS:
        return Answer(
            question.verdict_id,
            error=f"{len(said)} of {len(members)} members have an answer, and a jury needs {LEAST_MEMBERS}: none from "
            f"{', '.join(silent)}.",
            cost_usd=Decimal(0),
        )
    weight = {one: options.weights.get(str(one), 1.0) for one in said}
    choices = {one.choice for one in said.values()}
    if options.rule == "majority":
        choice, prob_a = _majority([(one.choice, weight[member]) for member, one in said.items()])
    elif options.rule == "learned":
        prob_a = _learned(version.fitted, said, question.group)
        choice = choice_of(prob_a, tie_band=options.tie_band)
    else:
        prob_a = sum(weight[member] * one.prob_a for member, one in said.items()) / sum(weight.values())
        choice = choices.pop() if len(choices) == 1 else choice_of(prob_a, tie_band=options.tie_band)
    asked = {"rule": options.rule, "asked": [str(member.pk) for member in members]}
    return _answer(question, choice, prob_a, members, said, asked)


def _answer(
    question: Question,
    choice: str,
    prob_a: float,
    members: Sequence[JudgeVersion],
    said: Mapping[uuid.UUID, Said],
    meta: Mapping[str, Any],
) -> Answer:
    voices = [(member, said[member.pk]) for member in members if member.pk in said]
    mean = sum(one.prob_a for _, one in voices) / len(voices)
    spread = math.sqrt(sum((one.prob_a - mean) ** 2 for _, one in voices) / len(voices))
    speaker, reason = _speaker(voices, choice)
    return Answer(
        question.verdict_id,
        choice=choice,
        prob_a=prob_a,
        rationale=reason.rationale if reason else "",
        cost_usd=Decimal(0),
        meta={
            **meta,
            "members": {
                str(member.pk): {"judge": str(member), "choice": one.choice, "prob_a": one.prob_a}
                for member, one in voices
            },
            "spread": round(spread, 6),
            "disagree": len({CHOICE_PROB_A[one.choice] for _, one in voices}) > 1,
            **(
                {"rationale_from": str(speaker.pk), "rationale_order": reason.shown_order} if speaker and reason else {}
            ),
        },
    )


def _speaker(voices: Sequence[tuple[JudgeVersion, Said]], choice: str) -> tuple[JudgeVersion, Said] | tuple[None, None]:
    """Return the surest member that chose the same and gave a reason; of equals the first."""
    agreeing = [(member, one) for member, one in voices if one.choice == choice and one.rationale]
    return max(agreeing, key=lambda voice: abs(voice[1].prob_a - 0.5), default=(None, None))


def _majority(votes: Sequence[tuple[str, float]]) -> tuple[str, float]:
    total = sum(weight for _, weight in votes)
    counts: dict[str, float] = {}
    for choice, weight in votes:
        counts[choice] = counts.get(choice, 0.0) + weight
    prob_a = sum(CHOICE_PROB_A[choice] * weight for choice, weight in counts.items()) / total
    top = max(counts.values())
    leaders = [choice for choice, weight in counts.items() if weight == top]
    return (leaders[0] if len(leaders) == 1 else choice_of(prob_a)), prob_a


def _learned(fitted: Mapping[str, Any], said: Mapping[uuid.UUID, Said], group: str) -> float:
    """Return P(a) by the weights fitted without the pair's prompt group, so that no label judges its own pair."""
    from judges.rules import fold_of

    weights = fitted["fold_coef"][fold_of(group, fitted["seed"], fitted["folds"])] if group else fitted["coef"]
    odds = [_log_odds(said.get(uuid.UUID(member))) for member in fitted["features"]]
    # tanh is odd to the last bit: swapping the responses gives exactly the other probability.
    return 0.5 + 0.5 * math.tanh(sum(w * x / s for w, x, s in zip(weights, odds, fitted["scale"], strict=True)) / 2)


def _log_odds(said: Said | None) -> float:
    """Return a member's log-odds of a, bounded; 0 where it has no answer."""
    if said is None:
        return 0.0
    margin = min(max(2.0 * said.prob_a - 1.0, 1.0 - 2.0 * SUREST), 2.0 * SUREST - 1.0)
    return 2.0 * math.atanh(margin)


def _heard(members: Sequence[JudgeVersion], pair_ids: Sequence[uuid.UUID], *, reasons: bool = False) -> Heard:
    """Return what each member says on the pairs, by member and pair; without those it could not judge.

    Its `reasons` only where they are wanted: a whole project's texts do not fit into memory.
    """
    heard: dict[uuid.UUID, dict[uuid.UUID, Said]] = {member.pk: {} for member in members}
    by_rater = {member.rater_id: heard[member.pk] for member in members}
    counted = Preference.objects.counted().filter(rater_id__in=by_rater, choice__in=list(CHOICE_PROB_A))
    text = "rationale" if reasons else Value("")
    fields = counted.values_list("rater_id", "pair_id", "choice", "prob_a", "meta", text, "shown_order")
    for ids in _batched(pair_ids, IDS_PER_QUERY):
        for rater_id, pair_id, choice, prob_a, meta, rationale, shown_order in fields.filter(pair_id__in=ids):
            by_rater[rater_id][pair_id] = Said(
                choice,
                prob_a_of(choice, prob_a),
                meta.get("consistent"),
                meta.get("prob_tie"),
                rationale,
                shown_order,
            )
    return heard


# --- Running --------------------------------------------------------------------------------------------------------


def advance(run: JudgeRun, *, send: bool = True) -> None:
    """Bring the run of a jury or cascade as far as it goes now: ask members what they were not asked, then answer.

    Nothing for other runs. Idempotent: any process may call it at any time, and two at once do no more than one. All
    runs it starts have the outermost run as their parent, whose row holds the money; with `send=False` no messages
    leave and the caller works them off. A member that cannot go on pauses the whole with its reason.
    """
    root = run.parent if run.parent is not None else run
    if root.version.judge.kind not in COMBINED or root.pk in _under_way.get():
        return
    token = _under_way.set(_under_way.get() | {root.pk})
    try:
        _go_on(root, send=send)
    finally:
        _under_way.reset(token)


def _go_on(root: JudgeRun, *, send: bool) -> None:
    if not JudgeRun.objects.filter(pk=root.pk, state=RunState.RUNNING).exists():
        return
    try:
        moved = True
        while moved:
            # All of them each time: what one member's run answers may be what the next one waits for.
            moved = sum(_step(root, one, send=send) for one in _combined_runs(root)) > 0
    except JudgeError as error:
        # A member's price, address or version keeps the run from going on.
        _pause(root, str(error))
    _pause_where_stuck(root)


def _combined_runs(root: JudgeRun) -> list[JudgeRun]:
    """Return the running runs of combined judges below and with this one, innermost first."""
    family = JudgeRun.objects.filter(Q(pk=root.pk) | Q(parent=root), state=RunState.RUNNING)
    return list(
        family.filter(version__judge__kind__in=COMBINED)
        .select_related("version__judge", "parent")
        .order_by("-created_at")
    )


def _step(root: JudgeRun, run: JudgeRun, *, send: bool) -> bool:
    """Start what members still have to answer, and answer what they have; say whether anything was done."""
    from judges.running import finish_if_done
    from judges.working import Work

    members = members_of(run.version)
    with transaction.atomic():
        # Everybody who starts members for this run waits here; it is the lock that `start_run` takes, too.
        Project.objects.select_for_update(no_key=True).get(pk=root.project_id)
        started = _start_members(root, run, members, send=send)
    waiting = run.verdicts.filter(state=VerdictState.PENDING)
    before = waiting.count()
    for ids in _batched(_ready(run, members), VERDICTS_PER_TRANSACTION):
        Work(run, ids).do()
    finish_if_done(run)
    return started or waiting.count() < before


def _start_members(root: JudgeRun, run: JudgeRun, members: Sequence[JudgeVersion], *, send: bool) -> bool:
    """Caller holds the project's row."""
    from judges.running import start_run

    started = False
    for member, pairs in _wanted(run, members):
        if member.judge.kind == JudgeKind.RECORDED or not pairs.exclude(pk__in=example_pairs(member)).exists():
            continue
        child = start_run(member, pairs=pairs, parent=root, started_by=root.created_by, send=send)
        started |= child.verdicts.exists()
    return started


def _wanted(run: JudgeRun, members: Sequence[JudgeVersion]) -> Iterator[tuple[JudgeVersion, QuerySet[Pair]]]:
    """Yield each member with the pairs it must still be asked about."""
    waiting = Pair.objects.filter(verdicts__run=run, verdicts__state=VerdictState.PENDING)
    if run.version.judge.kind != JudgeKind.CASCADE:
        for member in members:
            yield member, waiting.exclude(pk__in=_asked(member))
        return
    first, second = members
    yield first, waiting.exclude(pk__in=_asked(first))
    unsure = _unsure(run, first)
    for ids in _batched(sorted(unsure), IDS_PER_QUERY):
        yield second, waiting.filter(pk__in=ids).exclude(pk__in=_asked(second))


def _asked(member: JudgeVersion) -> Any:
    """Return a query of the pairs whose label a member was asked about."""
    return Verdict.objects.of_labels().filter(version=member).values("pair")


def _unsure(run: JudgeRun, first: JudgeVersion) -> set[uuid.UUID]:
    """Return a cascade's waiting pairs on which its first member is done and not sure."""
    done = _waiting_pairs(run) - _open_pairs(first)
    heard = _heard([first], sorted(done))[first.pk]
    below = read_options(run.version.options).unsure_below
    return {pair_id for pair_id in done if is_unsure(heard.get(pair_id), below)}


def _ready(run: JudgeRun, members: Sequence[JudgeVersion]) -> list[uuid.UUID]:
    """Return the run's waiting verdicts that no member has still to answer, in the order of prompts.

    Read after members were started: a pair without a question to a member cannot be asked there (a recorded judge, or
    a worked example of it), so it has no answer from it.
    """
    if run.version.judge.kind == JudgeKind.CASCADE:
        first, second = members
        held = _open_pairs(first)
        held |= _unsure(run, first) & _open_pairs(second)
    else:
        held = set[uuid.UUID]().union(*(_open_pairs(member) for member in members))
    rows = run.verdicts.filter(state=VerdictState.PENDING).order_by("pair__prompt_id", "pair_id")
    return [verdict_id for verdict_id, pair_id in rows.values_list("pk", "pair_id") if pair_id not in held]


def _waiting_pairs(run: JudgeRun) -> set[uuid.UUID]:
    return set(run.verdicts.filter(state=VerdictState.PENDING).values_list("pair_id", flat=True))


def _open_pairs(member: JudgeVersion) -> set[uuid.UUID]:
    """Return the pairs that a member may still answer: open ones, and those its paused run will ask again."""
    again = Q(state=VerdictState.FAILED, meta__at_fault="judge", run__state=RunState.PAUSED)
    verdicts = Verdict.objects.of_labels().filter(Q(state__in=OPEN) | again, version=member)
    return set(verdicts.values_list("pair_id", flat=True))


def _pause_where_stuck(root: JudgeRun) -> None:
    """Pause a run whose members are paused, with their reason: nothing waits in silence."""
    paused = JudgeRun.objects.filter(parent=root, state=RunState.PAUSED).select_related("version__judge").first()
    if paused is not None:
        _pause(root, f"{paused.version}: {paused.reason}")
        return
    if JudgeRun.objects.filter(parent=root, state=RunState.RUNNING).exclude(version__judge__kind__in=COMBINED).exists():
        return
    for run in _combined_runs(root):
        members = [member.pk for member in members_of(run.version)]
        elsewhere = (
            Verdict.objects.of_labels()
            .filter(
                version__in=members, state__in=OPEN, pair__verdicts__run=run, pair__verdicts__state=VerdictState.PENDING
            )
            .filter(Q(run=None) | Q(run__state=RunState.PAUSED))
        )
        held = elsewhere.select_related("version__judge", "run").first()
        if held is not None:
            reason = held.run.reason if held.run else "its run is gone"
            _pause(root, f"It waits for {held.version}, whose own run is paused: {reason} Resume that run first.")
            return


def _pause(root: JudgeRun, reason: str) -> None:
    from judges.working import pause_run

    pause_run(root.pk, reason)


def _batched(ids: Iterable[uuid.UUID], size: int) -> Iterator[list[uuid.UUID]]:
    iterator = iter(ids)
    while batch := list(islice(iterator, size)):
        yield batch
