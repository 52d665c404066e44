"""The card of a judge version: how it behaves, how far it agrees with people, and whether its labels may be trusted.

Two kinds of figures stand side by side. Those named `verdict_...` count single calls, as most papers do; those named
`preference_...` count what both orders together came to, which is what labels are made of. `docs/reports.md` has the
formulas. A card is what lists and gates need; `judges.auditing.audits` has the rest.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import pandas as pd

from annotation.agreeing import Agreement, Figure, agreement, cohen_kappa
from annotation.models import Project
from annotation.sampling import sample_of
from judges.auditing.calibration import brier, calibration_error
from judges.auditing.cycles import violated_triples
from judges.auditing.favour import longer_gain, longer_preferred, self_preference
from judges.auditing.figures import (
    decided_by_both,
    is_side,
    mean_of,
    quantile_of,
    rate_of,
    right,
    share_of,
    with_ground,
    with_sides,
)
from judges.auditing.position import position
from judges.auditing.probes import Probe, probes_of
from judges.auditing.reading import Ground, Subject, read_ground, read_subjects
from judges.auditing.replacing import AltTest, alt_test
from judges.frames import judge_preference_frame, verdict_frame
from judges.gating import DEFAULT, Gate, gate_of, verdict
from judges.models import JudgeVersion


class JudgeCard(NamedTuple):
    """What is known about one judge version.

    Shares are `Figure`s from 0 to 1. `refused` and `unreadable` are parts of `failed`. `held_order` is the share of
    pairs asked in both orders with the same answer both times; `flips` the share of those with a side taken both times
    where it changed. `first_shown` is over decisive calls on pairs asked in both orders, where one half means no bias
    whatever the responses are; `picks_first` and `picks_second` are over all calls whose order is known. `length_rule`
    is what "the longer wins" would have scored on the pairs of `preference_two_way`, `beats_length_rule` the
    difference. `longer_gain` and `own_family_gain` are win rates in the judge less those in people, on the same pairs.
    `cycles` is the share of triples of responses that contradict themselves. `label_mass` is the median of what the
    labels held of all probability. `flagged_pairs` counts its pairs with a response that speaks to the judge. `probes`
    test the biases together, `alt_test` is there where the gate asks for it. `reasons` say why the judge is not
    trusted, `notes` what could not be checked.
    """

    version_id: str
    judge: str
    protocol: str
    kind: str
    n_pairs: int
    n_verdicts: int
    n_both_orders: int
    failed: Figure
    refused: Figure
    unreadable: Figure
    label_mass: float | None
    flagged_pairs: int
    first_shown: Figure
    picks_first: Figure
    picks_second: Figure
    held_order: Figure
    flips: Figure
    verdict_ties: Figure
    preference_ties: Figure
    cycles: Figure
    longer_preferred: Figure
    longer_gain: Figure
    family: str
    own_family_gain: Figure
    verdict_three_way: Figure
    verdict_two_way: Figure
    preference_three_way: Figure
    preference_two_way: Figure
    length_rule: Figure
    beats_length_rule: Figure
    kappa: Figure
    brier: Figure
    calibration_error: Figure
    people: Agreement
    alt_test: AltTest | None
    probes: list[Probe]
    cost_per_1000: float | None
    seconds_p50: float | None
    seconds_p95: float | None
    trusted: bool
    reasons: list[str]
    notes: list[str]

    def as_dict(self) -> dict[str, Any]:
        """Return the card as JSON values."""
        return {name: as_json(value) for name, value in self._asdict().items()}


def as_json(value: Any) -> Any:
    """Return figures and the like as JSON values, also inside lists."""
    if isinstance(value, list):
        return [as_json(one) for one in value]
    return value.as_dict() if hasattr(value, "as_dict") else value


def judge_card(version: JudgeVersion) -> JudgeCard:
    """Return the card of a judge version, from what is stored now. A dozen queries and one walk over the responses."""
    return judge_cards(version.judge.project, [version])[version.pk]


def judge_cards(project: Project, versions: Iterable[JudgeVersion] | None = None) -> dict[Any, JudgeCard]:
    """Return the cards of a project's judge versions (all, or those given) by primary key.

    Votes, lengths and frames are read once for all of them, of a very large project those of a sample
    (`annotation.sampling`); `n_pairs`, `n_verdicts` and what came of the calls are of all of it.
    """
    wanted = versions_of(project, versions)
    if not wanted:
        return {}
    sample = sample_of(project)
    ground = read_ground(project, sample=sample)
    verdicts = dict(list(verdict_frame(project, wanted, sample=sample).groupby("version_id")))
    preferences = dict(list(judge_preference_frame(project, wanted, sample=sample).groupby("version_id")))
    subjects = read_subjects(wanted)
    none_verdicts, none_preferences = verdict_frame(project, []), judge_preference_frame(project, [])
    return {
        version.pk: card_of(
            subjects[version.pk],
            verdicts.get(str(version.pk), none_verdicts),
            preferences.get(str(version.pk), none_preferences),
            ground,
            gate_of(version.judge),
        )
        for version in wanted
    }


def versions_of(project: Project, versions: Iterable[JudgeVersion] | None = None) -> list[JudgeVersion]:
    """Return a project's judge versions by name and number (all, or those given), with their judges. One query."""
    known = (
        JudgeVersion.objects.filter(judge__project=project).select_related("judge").order_by("judge__name", "number")
    )
    if versions is not None:
        known = known.filter(pk__in=[version.pk for version in versions])
    return list(known)


def card_of(
    subject: Subject, verdicts: pd.DataFrame, preferences: pd.DataFrame, ground: Ground, gate: Gate = DEFAULT
) -> JudgeCard:
    """Return the card of one version from its rows of `verdict_frame` and `judge_preference_frame`. Pure."""
    seed = ground.seed
    calls, labels = with_sides(verdicts, ground), with_ground(preferences, ground)
    if subject.examples:
        # It was shown people's answers to these.
        calls = calls.assign(people=calls["people"].mask(calls["pair_id"].isin(subject.examples)))
        labels = labels.assign(people=labels["people"].mask(labels["pair_id"].isin(subject.examples)))
    placed = position(calls, seed)
    decided = decided_by_both(labels)
    by_length = right(decided["longer"], decided["people"]).mask(decided["longer"] == "tie", 0.5)
    is_right = right(decided["side"], decided["people"])
    asked = subject.asked
    cycles = violated_triples(labels, ground.pairs, seed)
    longer, own_family = longer_gain(labels, ground), self_preference(labels, subject.family, ground).gain
    card = JudgeCard(
        version_id=subject.version_id,
        judge=subject.judge,
        protocol=subject.protocol,
        kind=subject.kind,
        n_pairs=subject.labelled,
        n_verdicts=asked.answered,
        failed=rate_of(asked.failed, asked.answered + asked.failed, "verdicts asked for"),
        refused=rate_of(asked.refused, asked.answered + asked.failed, "verdicts asked for"),
        unreadable=rate_of(asked.unreadable, asked.answered + asked.failed, "verdicts asked for"),
        label_mass=quantile_of(verdicts["label_mass"], 0.5),
        flagged_pairs=int(preferences["pair_id"].isin(ground.flagged).sum()),
        **placed._asdict(),
        verdict_ties=share_of(is_side(calls["side"], "tie"), calls, seed, "verdicts"),
        preference_ties=share_of(is_side(labels["side"], "tie"), labels, seed, "preferences"),
        cycles=cycles,
        longer_preferred=longer_preferred(labels, seed),
        longer_gain=longer,
        family=subject.family,
        own_family_gain=own_family,
        verdict_three_way=share_of(right(calls["side"], calls["people"]), calls, seed),
        verdict_two_way=share_of(right(calls["side"], calls["people"], two_way=True), calls, seed),
        preference_three_way=share_of(right(labels["side"], labels["people"]), labels, seed),
        preference_two_way=share_of(is_right, decided, seed),
        length_rule=mean_of(by_length, decided["group"], seed),
        beats_length_rule=mean_of(is_right - by_length, decided["group"], seed),
        kappa=cohen_kappa(labels["side"], labels["people"], labels["group"], seed=seed),
        brier=brier(labels, ground),
        calibration_error=calibration_error(decided["prob_a"], decided["people"] == "a", decided["group"], seed=seed),
        people=agreement(ground.votes[ground.votes["pair_id"].isin(preferences["pair_id"])], seed=seed),
        alt_test=alt_test(labels, ground.votes, gate.alt_test_epsilon) if gate.alt_test_needed else None,
        probes=probes_of(first_shown=placed.first_shown, longer=longer, own_family=own_family, cycles=cycles),
        cost_per_1000=_cost_per_1000(verdicts),
        seconds_p50=quantile_of(verdicts["seconds"], 0.5),
        seconds_p95=quantile_of(verdicts["seconds"], 0.95),
        trusted=False,
        reasons=[],
        notes=[],
    )
    ruling = verdict(card, gate)
    return card._replace(trusted=ruling.trusted, reasons=ruling.reasons, notes=ruling.notes)


def _cost_per_1000(verdicts: pd.DataFrame) -> float | None:
    """Return US dollars for 1,000 pairs, over the pairs all of whose verdicts have a known cost."""
    by_pair = verdicts.groupby("pair_id")["cost"].agg(["sum", "count", "size"])
    known = by_pair[by_pair["count"] == by_pair["size"]]
    return round(float(known["sum"].mean() * 1000), 6) if len(known) else None
