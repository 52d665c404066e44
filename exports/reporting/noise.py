"""How noisy labels are: the flip rate, what judges doubt, and the settings of a loss that allows for it."""

from typing import Any

import pandas as pd

from annotation.aggregating import dated_vote_frame, vote_frame
from annotation.agreeing import LEAST_LABELS, SIDE_OF, Figure, Interval
from annotation.agreeing.flips import flip_rate, flip_rates
from annotation.models import Project
from annotation.sampling import Sample
from exports.labelling import label_frame
from exports.reporting.stating import stated
from exports.suspecting import margin_of, suspected_flips
from judges.auditing.figures import mean_of
from judges.families import family_of
from judges.frames import judge_preference_frame
from judges.models import COMBINED, RULES, JudgeVersion
from routing.auditing.slicing import audit_report
from routing.models import LabelSource

LOSS = "robust"
PLACES = 4

SENTENCES = {
    "differing": "Two people who both took a side on one pair differ in {share} of {n} couples of answers.",
    "flip_rate": "One person's answer is flipped in {share} of cases, as {n} couples of answers on one pair tell.",
    "human_labels": "By their own account {share} of the {n} labels of people that take a side are wrong "
    "(1 less the mean of p_correct).",
    "ai_labels": "Of the labels that a judge gave alone, {share} are not what people would say, as {n} answered pairs "
    "tell.",
    "strength": "Judges together prefer the labelled response by {number} on a scale from -1 to 1, over {n} pairs.",
    "spread": "The judges' margins differ by {number} (standard deviation) on a pair, over {n} pairs.",
    "suspected": "Suspected flips: in {share} of {n} pairs the judges together prefer what people did not.",
    "ambiguous": "In {share} of {n} pairs the judges together hardly prefer either response.",
}


def noise_report(project: Project, *, sample: Sample | None = None) -> dict[str, Any]:
    """Return how noisy labels are.

    `votes` has the flip rate of one person's answer, from pairs that two people decided, `criteria` the same of answers
    by each criterion, and `slices` part by part; `labels` how many labels are wrong, of people (by their `p_correct`)
    and of judges alone (from the audit); `ensemble` what the judges together make of people's labels. `loss` has
    settings for a trainer's robust loss, for data of single answers and for the labels of this project;
    `docs/reports.md` says how to use them.
    """
    votes, labels, seed = vote_frame(project, sample=sample), label_frame(project, sample=sample), project.seed
    found = flip_rate(votes, seed=seed)
    human = _human_noise(labels, seed)
    ai = _ai_noise(project, sample)
    by_pair = labels.set_index("pair_id")
    parted = {"category": by_pair["category"], "language": by_pair["language"], "source": by_pair["source_of_pair"]}
    slices = flip_rates(votes, {**parted, "strength of the label": _strengths(by_pair)}, seed=seed)
    return stated(
        {
            "votes": found.as_dict(),
            "criteria": _by_criterion(project, sample),
            "slices": [{**part.as_dict(), "loss": _loss(part.flip_rate)} for part in slices],
            "labels": {"human_labels": human.as_dict(), "ai_labels": ai.as_dict()},
            "ensemble": suspected_flips(
                labels[labels["source"] != LabelSource.AI].assign(
                    side=labels["choice"].map(SIDE_OF), name=labels["external_id"]
                ),
                _margins(project, labels, sample),
                seed=seed,
            ).as_dict(),
            "loss": {
                "single_answers": _loss(found.flip_rate),
                "human_labels": _loss(human),
                "ai_labels": _loss(ai),
            },
        },
        SENTENCES,
    )


def _by_criterion(project: Project, sample: Sample | None) -> list[dict[str, Any]]:
    """Return the flip rate of answers by each criterion that people chose by, and the loss for labels of it."""
    votes = dated_vote_frame(project, sample=sample, by_criterion=True)
    found = []
    for name, mine in votes.groupby("criterion", sort=True):
        rate = flip_rate(mine, seed=project.seed)
        found.append({"criterion": str(name), **rate.as_dict(), "loss": _loss(rate.flip_rate)})
    return found


def _loss(flips: Figure) -> dict[str, Any]:
    """Return what a robust loss takes: TRL's `loss_type` and `label_smoothing`; none without a flip rate below 1/2."""
    if flips.value is None or flips.value >= 0.5:
        note = flips.too_few or "half of the labels or more are flipped: no loss can allow for that"
        return {"loss_type": None, "label_smoothing": None, "note": note}
    return {"loss_type": LOSS, "label_smoothing": round(max(0.0, flips.value), PLACES), "note": ""}


def _human_noise(labels: pd.DataFrame, seed: int) -> Figure:
    mine = labels[labels["source"].ne(LabelSource.AI) & labels["choice"].isin(["a", "b"])]
    return mean_of(1.0 - mine["p_correct"], mine["group"], seed, at_least=LEAST_LABELS, what="people's labels")


def _ai_noise(project: Project, sample: Sample | None) -> Figure:
    found = audit_report(project, sample=sample, with_slices=False)
    if found is None:
        return Figure(None, 0, too_few="no plan was applied, so nobody was asked at random")
    right = found.ai_labels
    if right.value is None or right.low is None or right.high is None:
        return Figure(None, right.n, too_few=right.note)
    return Figure(1.0 - right.value, right.n, Interval(1.0 - right.high, 1.0 - right.low))


def _strengths(labels: pd.DataFrame) -> "pd.Series[Any]":
    names = ["slightly better", "better", "much better"]
    return pd.cut(labels["strength"], [0.0, 1.5, 2.5, 3.0], labels=names).astype(object).fillna("")


def _margins(project: Project, labels: pd.DataFrame, sample: Sample | None) -> pd.DataFrame:
    """Return judges' margins on labelled pairs, a row an answer.

    Rules, juries and cascades are left out, since they follow from texts, from people's own labels or from other
    judges; so is a judge on pairs with a response of its own family.
    """
    kinds = [*RULES, *COMBINED]
    versions = JudgeVersion.objects.filter(judge__project=project).exclude(judge__kind__in=kinds)
    known = {
        str(version.pk): family_of(version.model or version.judge.name) for version in versions.select_related("judge")
    }
    answers = judge_preference_frame(project, list(versions), sample=sample)
    answers = answers[answers["pair_id"].isin(set(labels["pair_id"]))]
    family = answers["version_id"].map(known)
    by_pair = labels.set_index("pair_id")
    own = pd.Series(False, index=answers.index)
    for side in ("model_a", "model_b"):
        of = {model: family_of(model) for model in by_pair[side].unique()}
        own |= (answers["pair_id"].map(by_pair[side]).map(of) == family) & (family != "")
    margin = margin_of(answers["prob_a"], answers["choice"])
    kept = answers[~own & margin.notna()]
    return kept[["pair_id", "judge"]].assign(margin=margin[kept.index])
