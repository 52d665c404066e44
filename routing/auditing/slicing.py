"""The audit of a project: judge and labels against people, overall and part by part."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from annotation.models import Project
from annotation.sampling import Sample, in_sample
from judges.flagging import flagged_pairs
from judges.models import JudgeVersion
from routing.auditing.accepting import acceptance_of
from routing.auditing.estimating import (
    ANSWERS_NEEDED,
    ANSWERS_NEEDED_IN_SLICE,
    Joined,
    Measured,
    applied_plans,
    join_rounds,
    read_measured,
)
from routing.auditing.inferring import Estimate, estimate_share
from routing.models import Label, LabelSource, Plan
from routing.predicting.scoring import Bools
from routing.signals.reading import read_measures

# More values of a category, or more pairs of models, make a chart nobody reads; the rest is put together.
MOST_VALUES = 8
OTHER, UNKNOWN = "all others", "not known"
THIRDS = {"length": ("short", "middling", "long"), "certainty": ("least sure", "in between", "surest")}
SIDE = {"a": "a", "b": "b", "tie": "tie", "both_bad": "tie"}


class Slice(NamedTuple):
    """A part of the pairs: what they are parted by, its name, its pairs, and the judge's and the labels' agreement."""

    by: str
    name: str
    pairs: int
    judge: Estimate
    labels: Estimate


class AuditReport(NamedTuple):
    """What is known of a judge and of the labels, from the answers of all applied plans.

    `judge`, `ai_labels` (those nobody answered) and `labels` (all) are shares that agree with people. `naive` is the
    judge's plain share on the answered pairs. `people` is how often one person agrees with the others on the audited
    pairs. `human` counts people's labels, `contested` those without a winner; `lasting` is the share of `human` that
    more people are expected to confirm. `complete` says whether every pair asked is answered.
    """

    version_id: str
    judge_name: str
    rounds: int
    complete: bool
    pairs: int
    uncovered: int
    judge: Estimate
    ai_labels: Estimate
    labels: Estimate
    naive: Estimate
    people: Estimate
    human: int
    contested: int
    lasting: float | None
    slices: list[Slice]

    @property
    def naive_distance(self) -> float | None:
        """Return by how much the naive figure misses the estimate; None without either."""
        if self.naive.value is None or self.judge.value is None:
            return None
        return self.naive.value - self.judge.value


def audit_report(project: Project, *, sample: Sample | None = None, with_slices: bool = True) -> AuditReport | None:
    """Return the audit of the judge whose labels stand by the plan applied last; None before any plan.

    Parts are: where the label comes from, category, language, length, how sure the judge is, the pair of models; a part
    that all pairs share is left out. They take the texts' measures, which are kept where they are new, so who reads in
    a transaction that may only read does `with_slices=False`. Two queries for the plans, two a plan, and some for the
    measures.
    """
    plans = applied_plans(project)
    if not plans:
        return None
    figures = plans[-1].figures["judge"]
    version = JudgeVersion.objects.select_related("judge").get(pk=figures["version_id"])
    joined = join_rounds(read_measured(project, version, plans, sample=sample))
    frame = joined.measured.frame
    labels = _labels(project, sample).reindex(frame.index)
    kept = _labelled_alone(project, joined, plans[-1]) if figures["labels"] else None
    parts = _parts(project, joined) if with_slices else ()
    human = labels["source"].isin([LabelSource.HUMAN, LabelSource.ADJUDICATED])
    decided = human & labels["choice"].fillna("").ne("")
    lasting = labels.loc[decided, "p_correct"].astype(float).mean()
    return AuditReport(
        version_id=str(version.pk),
        judge_name=figures["name"],
        rounds=len(plans),
        complete=joined.complete,
        pairs=len(frame),
        uncovered=int((~joined.terms.covered).sum()),
        judge=joined.accuracy(),
        ai_labels=joined.ai_labels(kept) if kept is not None else _none_stand(),
        labels=joined.labels(kept) if kept is not None else _none_stand(),
        naive=_naive(joined),
        people=_people(joined.measured),
        human=int(decided.sum()),
        contested=int((human & ~decided).sum()),
        lasting=None if np.isnan(lasting) else float(lasting),
        slices=[_slice(joined, by, name, rows, kept) for by, name, rows in parts],
    )


def _labelled_alone(project: Project, joined: Joined, plan: Plan) -> Bools:
    """Return on which pairs the judge's label stands, or would without an answer of people."""
    flagged = joined.measured.frame.index.isin({str(pair_id) for pair_id in flagged_pairs(project)})
    accepts = acceptance_of(plan)
    p_wrong = np.full(len(flagged), np.nan)
    for drawn in joined.measured.rounds:
        p_wrong[drawn.pool] = drawn.p_wrong[drawn.pool]
    refused = [bool(accepts.against(None if np.isnan(p) else float(p))) for p in p_wrong]
    return np.asarray(~flagged & ~np.array(refused, dtype=bool), dtype=bool)


def _none_stand() -> Estimate:
    return Estimate(None, None, None, 0, "no label of a judge stands: the plan's judge may not label alone")


def _labels(project: Project, sample: Sample | None) -> pd.DataFrame:
    labels = Label.objects.filter(in_sample(sample, "pair__prompt"), pair__project=project)
    rows = labels.values_list("pair_id", "source", "choice", "p_correct")
    frame = pd.DataFrame.from_records(list(rows), columns=["pair_id", "source", "choice", "p_correct"])
    return frame.set_index(frame.pop("pair_id").astype(str))


def _naive(joined: Joined) -> Estimate:
    """Return the plain share, with its interval: narrow, and about the pairs that were asked alone."""
    frame = joined.measured.frame
    asked = frame["settled"].to_numpy(dtype=bool)
    n = int(asked.sum())
    if n < ANSWERS_NEEDED:
        return Estimate(None, None, None, n, f"too few labels ({n:,} of {ANSWERS_NEEDED})")
    right = np.nan_to_num(frame["right"].to_numpy(dtype=float))
    return estimate_share(right[asked], np.ones(n), joined.groups[asked], answered=asked[asked], n=asked.sum())


def _people(measured: Measured) -> Estimate:
    """Return how often one person's answer is what most of the others gave, on pairs drawn at random."""
    audited = np.zeros(len(measured.frame), dtype=bool)
    for drawn in measured.rounds:
        audited |= drawn.audit
    votes = measured.votes[measured.votes["pair_id"].isin(measured.frame.index[audited])]
    votes = votes.assign(side=votes["choice"].map(SIDE)).dropna(subset=["side"])
    counts = pd.crosstab(votes["pair_id"], votes["side"]).reindex(columns=["a", "b", "tie"], fill_value=0)
    others = counts.reindex(votes["pair_id"]).to_numpy(dtype=float, copy=True)
    own = np.array([["a", "b", "tie"].index(side) for side in votes["side"]], dtype=int)
    rows = np.arange(len(own))
    others[rows, own] -= 1
    best = others.max(axis=1, initial=0.0)
    decided = (best > 0) & ((others == best[:, None]).sum(axis=1) == 1)
    same = others[rows, own] == best
    n = int(decided.sum())
    if n < ANSWERS_NEEDED:
        return Estimate(None, None, None, n, f"too few labels ({n:,} of {ANSWERS_NEEDED} answers beside another's)")
    groups = votes["group"].to_numpy(dtype=object)[decided]
    return estimate_share(same[decided].astype(float), np.ones(n), groups, answered=np.ones(n, dtype=bool), n=n)


def _slice(joined: Joined, by: str, name: str, rows: Bools, kept: Bools | None) -> Slice:
    few = ANSWERS_NEEDED_IN_SLICE
    labels = joined.labels(rows & kept, needed=few) if kept is not None else _none_stand()
    return Slice(by, name, int(rows.sum()), joined.accuracy(rows, needed=few), labels)


def _parts(project: Project, joined: Joined) -> Iterator[tuple[str, str, Bools]]:
    """Yield what pairs are parted by, the part's name and its rows."""
    frame = joined.measured.frame
    measures = read_measures(project).reindex(frame.index)
    words = (measures["words_a"] + measures["words_b"]).astype(float)
    models = [" and ".join(sorted(filter(None, pair))) for pair in zip(frame["model_a"], frame["model_b"], strict=True)]
    parted = {
        "Zone": _zones(joined),
        "Category": _named(frame["category"]),
        "Language": _named(measures["language"]),
        "Length of both responses": _thirds(words, THIRDS["length"]),
        "How sure the judge is": _thirds((frame["prob_a"] - 0.5).abs(), THIRDS["certainty"]),
        "Models": _named(pd.Series(models, index=frame.index, dtype=object)),
    }
    for by, values in parted.items():
        names = values.unique()
        if len(names) > 1:
            for name in sorted(names, key=_place):
                yield by, name, values.eq(name).to_numpy()


def _place(name: str) -> tuple[bool, int, str]:
    """Order the parts: thirds from low to high, others by name, what is put together or not known last."""
    thirds = [*THIRDS["length"], *THIRDS["certainty"]]
    return name in (OTHER, UNKNOWN), thirds.index(name) if name in thirds else -1, name


def _zones(joined: Joined) -> pd.Series:
    """Return for each pair whether the last round that drew from it would have sent it to people for its doubt."""
    frame = joined.measured.frame
    zones = pd.Series(UNKNOWN, index=frame.index, dtype=object)
    for drawn in joined.measured.rounds:
        zones[drawn.pool] = np.where(drawn.sent[drawn.pool], "doubtful, for people", "left to the judge")
    return zones


def _named(values: pd.Series) -> pd.Series:
    values = values.fillna("").astype(object).replace("", UNKNOWN)
    most = values.value_counts().index[:MOST_VALUES]
    return values.where(values.isin(most), OTHER) if values.nunique() > MOST_VALUES else values


def _thirds(values: pd.Series, names: tuple[str, str, str]) -> pd.Series:
    low, high = values.quantile([1 / 3, 2 / 3])
    if low == high:
        # Half of all values may be the same: they are one part, at an end where nothing lies beyond them.
        same = names[2] if values.max() == high else names[0] if values.min() == low else names[1]
        parts = np.select([values.isna(), values < low, values > high], [UNKNOWN, names[0], names[2]], same)
    else:
        parts = np.select([values.isna(), values <= low, values <= high], [UNKNOWN, names[0], names[1]], names[2])
    return pd.Series(parts, index=values.index, dtype=object)
