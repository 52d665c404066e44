"""The card of a judge version: how it behaves, how far it agrees with people, and whether its labels may be trusted.

Two kinds of figures stand side by side. Those named `verdict_...` count single calls, as most papers do; those named
`preference_...` count what both orders together came to, which is what labels are made of. `docs/reports.md` has the
formulas.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from django.db.models import Count, Q

from annotation.aggregating import consensus, vote_frame
from annotation.agreeing import (
    LEAST_LABELS,
    SIDE_OF,
    Agreement,
    Figure,
    agreement,
    cluster_bootstrap,
    cohen_kappa,
    share,
    too_few,
)
from annotation.models import Pair, Project, Response
from judges.frames import judge_preference_frame, verdict_frame
from judges.models import JudgeVersion, Order, VerdictState

# A judge that picks the first response in a share s of its decisive calls decides |2s - 1| of them by position alone.
# A quarter away from one half is a judge that decides half its calls without reading; capable models stay within 0.15.
FIRST_SHOWN_LIMIT = 0.25
# With fewer labelled pairs the interval of an accuracy is 28 points wide: no ground to dismiss a judge.
LEAST_JUDGED = 50
COIN = 0.5
FAILED_LIMIT = 0.5
# Equal-mass bins of the calibration error.
BINS = 15


class JudgeCard(NamedTuple):
    """What is known about one judge version.

    Shares are `Figure`s from 0 to 1. `held_order` is the share of pairs asked in both orders with the same answer both
    times; `flips` the share of those with a side taken both times where it changed. `first_shown` is over decisive
    calls on pairs asked in both orders, where one half means no bias whatever the responses are; `picks_first` and
    `picks_second` are over all calls whose order is known. `length_rule` is what "the longer wins" would have scored on
    the pairs of `preference_two_way`, `beats_length_rule` the difference. `reasons` say why the judge is not trusted,
    `notes` what could not be checked.
    """

    version_id: str
    judge: str
    protocol: str
    kind: str
    n_pairs: int
    n_verdicts: int
    n_both_orders: int
    failed: Figure
    first_shown: Figure
    picks_first: Figure
    picks_second: Figure
    held_order: Figure
    flips: Figure
    verdict_ties: Figure
    preference_ties: Figure
    longer_preferred: Figure
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
    cost_per_1000: float | None
    seconds_p50: float | None
    trusted: bool
    reasons: list[str]
    notes: list[str]

    def as_dict(self) -> dict[str, Any]:
        """Return the card as JSON values."""
        return {
            name: value.as_dict() if isinstance(value, Figure | Agreement) else value
            for name, value in self._asdict().items()
        }


def judge_card(version: JudgeVersion) -> JudgeCard:
    """Return the card of a judge version, from what is stored now. Ten queries and one walk over the responses."""
    return judge_cards(version.judge.project, [version])[version.pk]


def judge_cards(project: Project, versions: Iterable[JudgeVersion] | None = None) -> dict[Any, JudgeCard]:
    """Return the cards of a project's judge versions (all, or those given) by primary key.

    Votes, lengths and frames are read once for all of them.
    """
    known = (
        JudgeVersion.objects.filter(judge__project=project).select_related("judge").order_by("judge__name", "number")
    )
    if versions is not None:
        known = known.filter(pk__in=[version.pk for version in versions])
    wanted = list(known)
    votes = vote_frame(project)
    ground = _Ground(votes, consensus(votes), _longer_side(project), project.seed)
    verdicts = dict(list(verdict_frame(project, wanted).groupby("version_id")))
    preferences = dict(list(judge_preference_frame(project, wanted).groupby("version_id")))
    asked = _asked(wanted)
    none_verdicts, none_preferences = verdict_frame(project, []), judge_preference_frame(project, [])
    return {
        version.pk: _card(
            version,
            verdicts.get(str(version.pk), none_verdicts),
            preferences.get(str(version.pk), none_preferences),
            asked[version.pk],
            ground,
        )
        for version in wanted
    }


class _Ground(NamedTuple):
    """What every card of a project is measured against; `people` and `longer` have the index `pair_id`."""

    votes: pd.DataFrame
    people: pd.DataFrame
    # a, b, or tie where both responses have the same length.
    longer: "pd.Series[Any]"
    seed: int


class _Asked(NamedTuple):
    answered: int
    failed: int


def _card(
    version: JudgeVersion, verdicts: pd.DataFrame, preferences: pd.DataFrame, asked: _Asked, ground: _Ground
) -> JudgeCard:
    people = ground.people["choice"].map(SIDE_OF)
    calls = verdicts.assign(
        side=verdicts["choice"].map(SIDE_OF), people=verdicts["pair_id"].map(people), first=_first_side(verdicts)
    )
    labels = preferences.assign(
        side=preferences["choice"].map(SIDE_OF),
        people=preferences["pair_id"].map(people),
        longer=preferences["pair_id"].map(ground.longer),
    )
    position = _position(calls, ground.seed)
    right = _right(labels["side"], labels["people"])
    decided = labels[right.notna() & labels["side"].isin(["a", "b"]) & labels["people"].isin(["a", "b"])]
    by_length = _right(decided["longer"], decided["people"]).mask(decided["longer"] == "tie", COIN)
    gain = _right(decided["side"], decided["people"]) - by_length
    card = JudgeCard(
        version_id=str(version.pk),
        judge=version.judge.name,
        protocol=version.protocol,
        kind=version.judge.kind,
        n_pairs=len(preferences),
        n_verdicts=asked.answered,
        failed=_failed(asked),
        **position,
        verdict_ties=_share(_is(calls["side"], "tie"), calls, ground.seed, "verdicts"),
        preference_ties=_share(_is(labels["side"], "tie"), labels, ground.seed, "preferences"),
        longer_preferred=_longer_preferred(labels, ground.seed),
        verdict_three_way=_share(_right(calls["side"], calls["people"]), calls, ground.seed),
        verdict_two_way=_share(_right(calls["side"], calls["people"], two_way=True), calls, ground.seed),
        preference_three_way=_share(right, labels, ground.seed),
        preference_two_way=_share(_right(decided["side"], decided["people"]), decided, ground.seed),
        length_rule=_mean(by_length, decided["group"], ground.seed),
        beats_length_rule=_mean(gain, decided["group"], ground.seed),
        kappa=cohen_kappa(labels["side"], labels["people"], labels["group"], seed=ground.seed),
        brier=_brier(labels, ground),
        calibration_error=calibration_error(
            decided["prob_a"], decided["people"] == "a", decided["group"], seed=ground.seed
        ),
        people=agreement(ground.votes[ground.votes["pair_id"].isin(preferences["pair_id"])], seed=ground.seed),
        cost_per_1000=_cost_per_1000(verdicts),
        seconds_p50=_median(verdicts["seconds"]),
        trusted=False,
        reasons=[],
        notes=[],
    )
    reasons, notes = doubts(card)
    return card._replace(trusted=not reasons, reasons=reasons, notes=notes)


# --- Trust ----------------------------------------------------------------------------------------------------------


def doubts(card: JudgeCard) -> tuple[list[str], list[str]]:
    """Return why a judge's labels may not stand alone, and what could not be checked.

    A judge is dismissed on evidence: where the data cannot tell, that is a note and no reason.
    """
    reasons: list[str] = []
    notes: list[str] = []
    if not card.n_pairs:
        reasons.append("no preferences: it has judged no pair to the end")
    if card.failed.value is not None and card.failed.value > FAILED_LIMIT:
        reasons.append(f"failures: {card.failed.value:.0%} of its {card.failed.n} calls brought no answer")
    reasons += _position_doubt(card.first_shown)
    if card.first_shown.value is None:
        notes.append(f"position bias is not known: {card.first_shown.too_few}")
    accuracy, gain = card.preference_two_way, card.beats_length_rule
    if accuracy.n < LEAST_JUDGED or accuracy.interval is None:
        notes.append(
            f"agreement with people is not tested: too few labels ({accuracy.n} of {LEAST_JUDGED} pairs where the "
            "judge and people both take a side)"
        )
        return reasons, notes
    if accuracy.interval.low <= COIN:
        reasons.append(
            f"no better than a coin: agrees with people on {accuracy.value:.0%} of {accuracy.n} pairs where both "
            f"take a side (interval {accuracy.interval.low:.0%} to {accuracy.interval.high:.0%})"
        )
    if gain.interval is not None and gain.interval.high < 0.0:
        # No reason to dismiss it: on public chat pairs the rule beats GPT-4, because people there reward length.
        notes.append(
            f"below the length rule: agrees with people on {accuracy.value:.0%} of {accuracy.n} pairs, the longer "
            f"response on {card.length_rule.value:.0%}"
        )
    return reasons, notes


def _position_doubt(first_shown: Figure) -> list[str]:
    if first_shown.value is None or first_shown.interval is None:
        return []
    if first_shown.interval.low > COIN + FIRST_SHOWN_LIMIT:
        return [f"position bias: picks the response shown first in {first_shown.value:.0%} of calls"]
    if first_shown.interval.high < COIN - FIRST_SHOWN_LIMIT:
        return [f"position bias: picks the response shown second in {1 - first_shown.value:.0%} of calls"]
    return []


# --- Figures --------------------------------------------------------------------------------------------------------


def calibration_error(
    prob_a: "pd.Series[float]", is_a: "pd.Series[bool]", groups: "pd.Series[Any]", *, seed: int = 0
) -> Figure:
    """Return the expected calibration error of stated probabilities that a is better, against people's a (or b).

    ECE = sum_b n_b / N |share right_b - mean confidence_b| over up to 15 bins of equal mass, confidence being the
    larger of p and 1 - p (Guo et al. 2017). Equal confidences share a bin. Biased upwards where bins are small.
    """
    known = prob_a.notna()
    n = int(known.sum())
    if n < LEAST_JUDGED:
        return too_few(n, LEAST_JUDGED, "labels")
    prob, truth = prob_a[known].astype(float), is_a[known]
    confidence = prob.clip(lower=0.5).where(prob >= 0.5, 1.0 - prob)
    # At one half both answers are as likely, so half of them count as right.
    right = (truth == (prob > 0.5)).astype(float).mask(prob == 0.5, 0.5)
    ranks = confidence.rank(method="min") - 1
    bins = (ranks * BINS // n).astype(int)
    gaps = pd.get_dummies(bins, dtype=float).mul(right - confidence, axis=0)
    parts = gaps.assign(cases=1.0)

    def error(sums: pd.DataFrame) -> "pd.Series[float]":
        return sums.drop(columns="cases").abs().sum(axis=1) / sums["cases"]

    value = float(error(parts.sum().to_frame().T).iloc[0])
    return Figure(value, n, cluster_bootstrap(parts, groups[known], error, seed=seed))


def _position(calls: pd.DataFrame, seed: int) -> dict[str, Any]:
    """Return the fields of a card that tell how the order shown moves the judge."""
    ordered = calls[calls["first"].notna()]
    picked_first = ordered["side"] == ordered["first"]
    picked_second = (ordered["side"] != "tie") & ~picked_first & ordered["side"].notna()
    sides = ordered.pivot(index="pair_id", columns="order", values="side").reindex(columns=["ab", "ba"])
    sides = sides.dropna()
    groups = ordered.drop_duplicates("pair_id").set_index("pair_id")["group"].reindex(sides.index)
    decisive = sides[(sides != "tie").all(axis=1)]
    both = ordered[ordered["pair_id"].isin(sides.index) & ordered["side"].isin(["a", "b"])]
    both_asked = "decisive verdicts on pairs asked in both orders"
    return {
        "n_both_orders": len(sides),
        "first_shown": _share(both["side"] == both["first"], both, seed, both_asked),
        "picks_first": _share(picked_first, ordered, seed, "verdicts with a known order"),
        "picks_second": _share(picked_second, ordered, seed, "verdicts with a known order"),
        "held_order": share(sides["ab"] == sides["ba"], groups, what="pairs asked in both orders", seed=seed),
        "flips": share(
            decisive["ab"] != decisive["ba"],
            groups[decisive.index],
            what="pairs decided in both orders",
            seed=seed,
        ),
    }


def _failed(asked: _Asked) -> Figure:
    n = asked.answered + asked.failed
    if n < LEAST_LABELS:
        return too_few(n, LEAST_LABELS, "verdicts asked for")
    return Figure(asked.failed / n, n)


def _longer_preferred(labels: pd.DataFrame, seed: int) -> Figure:
    decided = labels[labels["side"].isin(["a", "b"]) & labels["longer"].isin(["a", "b"])]
    return _share(decided["side"] == decided["longer"], decided, seed, "preferences for one of two lengths")


def _brier(labels: pd.DataFrame, ground: _Ground) -> Figure:
    """Return the mean squared distance to people's vote share for a, ties counting half (lower is better)."""
    known = labels.assign(share=labels["pair_id"].map(ground.people["prob_a"]).astype(float))
    known = known[known["prob_a"].notna() & known["share"].notna()]
    return _mean((known["prob_a"] - known["share"]) ** 2, known["group"], ground.seed)


def _share(hits: "pd.Series[Any]", rows: pd.DataFrame, seed: int, what: str = "labels") -> Figure:
    return share(hits, rows["group"], what=what, seed=seed)


def _mean(values: "pd.Series[Any]", groups: "pd.Series[Any]", seed: int) -> Figure:
    n = len(values)
    if n < LEAST_LABELS:
        return too_few(n, LEAST_LABELS)
    parts = pd.DataFrame({"total": values.astype(float), "cases": 1.0})
    interval = cluster_bootstrap(parts, groups, lambda sums: sums["total"] / sums["cases"], seed=seed)
    return Figure(float(parts["total"].mean()), n, interval)


def _right(given: "pd.Series[Any]", people: "pd.Series[Any]", *, two_way: bool = False) -> "pd.Series[Any]":
    """Return 1.0 where the sides are the same, 0.0 where not, NaN where one is missing (`two_way`: or is a tie)."""
    known = given.notna() & people.notna()
    if two_way:
        known &= (given != "tie") & (people != "tie")
    return (given == people).astype(float).where(known)


def _is(sides: "pd.Series[Any]", side: str) -> "pd.Series[Any]":
    return (sides == side).astype(float).where(sides.notna())


def _first_side(verdicts: pd.DataFrame) -> "pd.Series[Any]":
    return verdicts["order"].map({Order.AB.value: "a", Order.BA.value: "b"})


def _cost_per_1000(verdicts: pd.DataFrame) -> float | None:
    """Return US dollars for 1,000 pairs, over the pairs all of whose verdicts have a known cost."""
    by_pair = verdicts.groupby("pair_id")["cost"].agg(["sum", "count", "size"])
    known = by_pair[by_pair["count"] == by_pair["size"]]
    return round(float(known["sum"].mean() * 1000), 6) if len(known) else None


def _median(values: "pd.Series[Any]") -> float | None:
    known = values.dropna()
    return float(np.median(known)) if len(known) else None


# --- Reading --------------------------------------------------------------------------------------------------------


def _asked(versions: Iterable[JudgeVersion]) -> dict[Any, _Asked]:
    counted = JudgeVersion.objects.filter(pk__in=[version.pk for version in versions]).annotate(
        answered=Count("verdicts", filter=Q(verdicts__state=VerdictState.DONE)),
        failed=Count("verdicts", filter=Q(verdicts__state=VerdictState.FAILED)),
    )
    return {pk: _Asked(answered, failed) for pk, answered, failed in counted.values_list("pk", "answered", "failed")}


def _longer_side(project: Project) -> "pd.Series[Any]":
    """Return which response of each pair has more characters, as `judges.rules.length_prob_a` counts them."""
    responses = Response.objects.filter(prompt__project=project).values_list("id", "messages")
    lengths = {key: len(_text(messages).strip()) for key, messages in responses.iterator(chunk_size=2000)}
    pairs = Pair.objects.filter(project=project).values_list("id", "response_a_id", "response_b_id")
    return pd.Series(
        {
            str(key): "tie" if lengths[a] == lengths[b] else "a" if lengths[a] > lengths[b] else "b"
            for key, a, b in pairs
        },
        dtype=object,
    )


def _text(messages: list[dict[str, Any]]) -> str:
    return Response(messages=messages).text
