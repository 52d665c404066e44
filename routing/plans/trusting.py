"""Which judge's labels may stand where nobody is asked, and how to name one."""

from typing import NamedTuple

import pandas as pd
from django.db.models import Count, Q

from annotation.aggregating import consensus, vote_frame
from annotation.models import Choice, Project
from judges.auditing import judge_card, judge_cards
from judges.frames import judge_preference_frame
from judges.models import JudgeKind, JudgeVersion
from routing.errors import RoutingError

PROTOCOL_MARK = " · "
# A judge that failed on a few pairs still counts as covering them all.
COVERAGE_SLACK = 0.95
# Below this the share of right answers is chance, and does not order judges.
ANSWERS_TO_COMPARE = 20
BASELINES = (JudgeKind.LENGTH, JudgeKind.LEARNED)


class Covering(NamedTuple):
    """A judge version and the number of pairs it labelled."""

    version: JudgeVersion
    pairs: int


class JudgeChoice(NamedTuple):
    """A judge version for a plan.

    `trusted` is what its card says, `reasons` why not. `labels` says whether its labels stand where nobody is asked:
    a judge that is not trusted labels nothing unless it was named, and one that fails a gate a manager set for it
    labels nothing even then. `notes` say how it was found.
    """

    version: JudgeVersion
    trusted: bool
    reasons: list[str]
    labels: bool
    notes: list[str]


def full_name(version: JudgeVersion) -> str:
    """Return the judge's name with its protocol, which names one version as `find_version` understands it."""
    return f"{version.judge.name}{PROTOCOL_MARK}{version.protocol}" if version.protocol else version.judge.name


def find_versions(project: Project, name: str) -> list[JudgeVersion]:
    """Return the versions that a name stands for together: one where it names a protocol or version, else all.

    A judge asked under several protocols is one judge: `replay_routing` averages what they say. One query. Raises
    `RoutingError` that lists the names there are.
    """
    wanted = name.strip().casefold()
    covering = _with_coverage(project)
    if any(wanted in _full_names(found.version) for found in covering):
        return [find_version(project, name)]
    together = [found.version for found in covering if wanted == found.version.judge.name.casefold()]
    return together or [find_version(project, name)]


def find_version(project: Project, name: str) -> JudgeVersion:
    """Return the version that a name stands for: "gpt-4" or "gpt-4 · pairwise three-way", whatever the case.

    Where the name fits several versions, a pairwise protocol goes first, then the version with most labelled pairs,
    then the newest. One query. Raises `RoutingError` that lists the names there are.
    """
    covering = _with_coverage(project)
    wanted = name.strip().casefold()
    fitting = [found for found in covering if wanted in _full_names(found.version)]
    fitting = fitting or [found for found in covering if wanted == found.version.judge.name.casefold()]
    if not fitting:
        known = ", ".join(sorted({full_name(found.version) for found in covering})) or "none yet"
        raise RoutingError(
            f"No judge named {name!r} has labelled pairs in {project}. Judges that have: {known}. "
            f"Run one with: manage.py run_judge {project} NAME"
        )
    return max(fitting, key=lambda it: ("pairwise" in it.version.protocol, it.pairs, it.version.number)).version


def _full_names(version: JudgeVersion) -> tuple[str, str]:
    return full_name(version).casefold(), str(version).casefold()


def choose_judge(project: Project, name: str | None = None) -> JudgeChoice:
    """Return the judge of a plan: the one named, trusted or not, or by default the best there is.

    By default, in this order: trusted by its card; labels at least 95 % as many pairs as the one with most; a model
    rather than a baseline (the length rule, the learned one, which has seen the very labels it is measured by); agrees
    most with people, where 20 pairs or more can be compared; labels most pairs; its name. Where none is trusted the
    same order picks whose doubts rank the pairs, and `labels` is False. Raises `RoutingError` without any judge.
    """
    if name is not None:
        version = find_version(project, name)
        card = judge_card(version)
        notes = [f"{full_name(version)} was named"]
        labels = card.trusted or not version.judge.gate
        if not labels:
            notes.append("It fails the gate set for it: pairs that no person answers stay without a label")
        return JudgeChoice(version, card.trusted, list(card.reasons), labels, notes)
    covering = _with_coverage(project)
    if not covering:
        raise RoutingError(
            f"No judge has labelled pairs in {project}. Add one with manage.py add_judge and run it with: "
            f"manage.py run_judge {project} NAME"
        )
    most = max(pairs for _, pairs in covering)
    agreement = _agreement(project)
    cards = judge_cards(project, [version for version, _ in covering])

    def merit(found: Covering) -> tuple[bool, bool, bool, float, int, str, int]:
        version, pairs = found
        return (
            cards[version.pk].trusted,
            pairs >= COVERAGE_SLACK * most,
            version.judge.kind not in BASELINES,
            agreement.get(str(version.pk), 0.0),
            pairs,
            version.judge.name,
            version.number,
        )

    best = max(covering, key=merit).version
    card = cards[best.pk]
    n_trusted = sum(card.trusted for card in cards.values())
    notes = [f"{full_name(best)} was chosen from {len(covering)}, of which {n_trusted} pass their card"]
    if not card.trusted:
        notes.append("No judge may label alone: pairs that no person answers stay without a label")
    wider = [found.version for found in covering if found.pairs * COVERAGE_SLACK > dict(covering)[best]]
    if wider:
        names = ", ".join(full_name(version) for version in wider)
        notes.append(f"More pairs were labelled by judges that do not pass: {names}; --judge takes one all the same")
    return JudgeChoice(best, card.trusted, list(card.reasons), card.trusted, notes)


def _with_coverage(project: Project) -> list[Covering]:
    """Return the versions that labelled a pair. One query."""
    counted = Q(
        rater__preferences__is_current=True,
        rater__preferences__criterion__isnull=True,
        rater__preferences__is_extra=False,
    ) & ~Q(rater__preferences__choice=Choice.UNSURE)
    versions = (
        JudgeVersion.objects.filter(judge__project=project)
        .select_related("judge", "rater")
        .annotate(pairs=Count("rater__preferences", filter=counted))
        .order_by("judge__name", "number")
    )
    return [Covering(version, version.pairs) for version in versions if version.pairs]


def _agreement(project: Project) -> dict[str, float]:
    """Return each version's share of answers equal to people's consensus, where enough pairs have both."""
    people = consensus(vote_frame(project))["choice"]
    preferences = judge_preference_frame(project)
    right = judged_right(preferences["choice"], preferences["pair_id"].map(people))
    table = right.groupby(preferences["version_id"]).agg(["count", "mean"])
    enough = table[table["count"] >= ANSWERS_TO_COMPARE]
    return {str(version): float(mean) for version, mean in enough["mean"].items()}


def judged_right(judge: pd.Series, people: pd.Series) -> pd.Series:
    """Return 1.0 where the judge's choice is people's, 0.0 where not, NaN where either is missing or undecided.

    Three ways: a, b or no preference. "Both bad" and "tie" are the same here, since neither prefers a response.
    """
    a, b = (choices.replace({"both_bad": "tie"}) for choices in (judge, people))
    known = a.isin(["a", "b", "tie"]) & b.isin(["a", "b", "tie"])
    return (a == b).astype(float).where(known)
