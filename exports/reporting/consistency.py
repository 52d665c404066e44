"""How far people and judges contradict themselves: ratings against choices, repeats, and circles of preferences."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from annotation.aggregating import answer_frame, consensus, repeat_frame, vote_frame
from annotation.aggregating.reading import contender_frame
from annotation.agreeing import SIDE_OF, Consistency, consistency
from annotation.agreeing.drivers import drivers
from annotation.models import Project
from annotation.sampling import Sample
from annotation.wavering import steadiness
from exports.contrasting import contrast_judges, contrast_people, text_differences
from exports.reporting.judges import named
from exports.reporting.stating import stated
from judges.auditing import Audit, judge_inconsistencies
from judges.auditing.audits import parts_as_json
from judges.auditing.cycles import Cycles, cycles
from judges.models import JudgeVersion

# A scale with more steps is cut into three equal parts.
MOST_STEPS = 7
THIRDS = ("small", "middling", "large")
CONTRADICTIONS = "contradictions"

SENTENCES = {
    "inconsistency": "In {share} of {n} cases the ratings imply another side than the choice, a tie being a side.",
    "contradiction": "Where both take a side, ratings and choice contradict each other in {share} of {n} cases.",
    "chance_inconsistency": "If ratings and choices had nothing to do with each other, {share} of {n} would differ.",
    "kappa": "Ratings and choices agree {number} of the way from chance (0) to always (1), over {n} cases.",
    "rating_ties": "The two ratings are equal in {share} of {n} cases.",
    "ranking_ties": "The choice is a tie in {share} of {n} cases.",
    "rating_tie_ranking_decides": "Equal ratings meet a choice for one side in {share} of {n} cases.",
    "rating_decides_ranking_tie": "Ratings for one side meet a tie in {share} of {n} cases.",
    "by_gap.inconsistency": "With ratings so far apart, {share} of {n} choices are for another side or a tie.",
    "by_gap.contradiction": "With ratings so far apart, {share} of {n} decisive choices are for the other side.",
    "coefficient": "One standard deviation more of it moves the log-odds that the ratings favour a response which the "
    "choice does not by {number}, over {n} contradictions.",
    "three_way": "Asked again, people gave the same answer in {share} of {n} hidden repeats.",
    "two_way": "Asked again, people took the same side in {share} of {n} hidden repeats that were decisive twice.",
    "first_again": "Of the {n} repeats that chose one place of the screen twice, {share} chose the first.",
    "first_shown": "People chose the response shown first in {share} of {n} decisive answers.",
    "conflict": "Scores and comparisons are not on the same side in {share} of {n} pairs (CR).",
    "sample_stability": "Two samples of one call agree in {share} of {n} calls.",
    "repeat_stability": "Another version asked alike gave the same verdict in {share} of {n} cases.",
    "violated_3": "Of {n} sets of 3 responses compared throughout, {share} are no weak order (NTR3).",
    "violated_4": "Of {n} sets of 4 responses compared throughout, {share} hold a triple that is no weak order (NTR4).",
    "violated_5": "Of {n} sets of 5 responses compared throughout, {share} hold a triple that is no weak order (NTR5).",
    "circular": "Of the {n} violated triples, {share} are circles: the direct comparison goes against the chain.",
    "equality": "Of the {n} violated triples, {share} clash with an equality.",
    "zeta": "Kendall's coefficient of consistence is {number} over {n} prompts compared throughout without a tie.",
    "curl": "No ranking explains {share} of the squared log-odds, over {n} prompts compared throughout (Hodge).",
}


def consistency_report(
    project: Project, *, sample: Sample | None = None, audits: Mapping[Any, Audit] | None = None
) -> dict[str, Any]:
    """Return how far people and judges contradict themselves.

    `people` has ratings against choices within one person, by criterion; `between` ratings of one person against
    choices of the others; `judges` each judge by protocol. Each with `by_gap`, how it depends on how far ratings are
    apart, and `drivers`, what goes with contradictions. `retest` is how often people repeat themselves, the floor below
    which no inconsistency can lie. `trustjudge` has CR and NTR of every judge version before and after each remedy, and
    `transitivity` the same of people: of their consensus, and within one person. `audits` are
    `judge_audits(project, sample=sample)`, for a caller that has them.
    """
    found, seed = contrast_people(project, sample=sample), project.seed
    contradicting = _contradicting(found.within)
    by_judge = contrast_judges(project, sample=sample)
    texts = text_differences(
        project, pd.concat([contradicting["pair_id"], *(_contradicting(one.frame)["pair_id"] for one in by_judge)])
    )
    return stated(
        {
            "people": [
                {
                    "criterion": name,
                    **_contrasted(of, seed),
                    "drivers": _drivers(of, _with_aspects(of, texts, found.differences, str(name)), seed),
                }
                for name, of in found.within.groupby("criterion", sort=True)
            ],
            "between": [
                {"criterion": name, **_contrasted(of, seed)}
                for name, of in found.between.groupby("criterion", sort=True)
            ],
            "judges": [
                {
                    "judge": one.judge,
                    "ratings": one.ratings,
                    "rankings": one.rankings,
                    **_contrasted(one.frame, seed),
                    "drivers": _drivers(
                        one.frame, texts.reindex(one.frame["pair_id"]).set_index(one.frame.index), seed
                    ),
                }
                for one in by_judge
            ],
            "retest": _retest(project, sample),
            "trustjudge": _trustjudge(project, audits, sample),
            "transitivity": _transitivity(project, sample),
        },
        SENTENCES,
    )


def _contrasted(frame: pd.DataFrame, seed: int) -> dict[str, Any]:
    return {**_consistency(frame, seed).as_dict(), "by_gap": _by_gap(frame, seed)}


def _consistency(frame: pd.DataFrame, seed: int) -> Consistency:
    return consistency(frame["rating_side"], frame["ranking"], frame["group"], seed=seed)


def _by_gap(frame: pd.DataFrame, seed: int) -> list[dict[str, Any]]:
    """Return consistency by how far two ratings are apart: step by step on a short scale, else in thirds."""
    gap = frame["gap"].abs().round(6)
    decided = gap[gap > 0]
    steps = sorted(decided.unique())
    if not steps:
        return []
    if len(steps) <= MOST_STEPS:
        cuts = [(f"{step:g}", step, step) for step in steps]
    else:
        low, high = (float(end) for end in np.quantile(decided, [1 / 3, 2 / 3], method="lower"))
        ends = [(steps[0], low), (low, high), (high, steps[-1])]
        cuts = [
            (name, float(decided[(decided > start) | (place == 0)].min()), end)
            for place, (name, (start, end)) in enumerate(zip(THIRDS, ends, strict=True))
            if place == 0 or end > start
        ]
    rows = []
    for name, least, most in cuts:
        mine = frame[(gap >= least) & (gap <= most)]
        found = _consistency(mine, seed)
        rows.append(
            {
                "gap": name,
                "from": least,
                "to": most,
                "inconsistency": found.inconsistency.as_dict(),
                "contradiction": found.contradiction.as_dict(),
            }
        )
    return rows


def _contradicting(frame: pd.DataFrame) -> pd.DataFrame:
    opposite = {"a": "b", "b": "a"}
    return frame[frame["rating_side"].map(opposite) == frame["ranking"].map(SIDE_OF)]


def _with_aspects(frame: pd.DataFrame, texts: pd.DataFrame, differences: pd.DataFrame, criterion: str) -> pd.DataFrame:
    """Return the differences of texts, and of the person's own ratings by every other criterion, a row a case."""
    keys = pd.MultiIndex.from_frame(frame[["rater", "pair_id"]])
    aspects = differences.drop(columns=criterion, errors="ignore").reindex(keys).set_index(frame.index)
    found = texts.reindex(frame["pair_id"]).set_index(frame.index)
    return found.join(aspects.add_prefix("rating: "))


def _drivers(frame: pd.DataFrame, differences: pd.DataFrame, seed: int) -> list[dict[str, Any]]:
    """Return what goes with the direction of contradictions: towards the response rated higher and not chosen."""
    mine = _contradicting(frame)
    answer = pd.Series(mine["rating_side"] == "a", index=mine.index)
    found = drivers(differences.loc[mine.index], answer, mine["group"], what=CONTRADICTIONS)
    return [one.as_dict() for one in found]


def _trustjudge(project: Project, audits: Mapping[Any, Audit] | None, sample: Sample | None) -> list[dict[str, Any]]:
    known: Mapping[Any, Any] = judge_inconsistencies(project, sample=sample) if audits is None else audits
    versions = JudgeVersion.objects.filter(judge__project=project).select_related("judge")
    return [
        {
            **named(version),
            "sample_stability": parts_as_json(known[version.pk].sample_stability),
            "repeat_stability": parts_as_json(known[version.pk].repeat_stability),
            "conflicts": parts_as_json(known[version.pk].conflicts),
            "remedies": parts_as_json(known[version.pk].remedies),
        }
        for version in versions.order_by("judge__name", "number")
    ]


def _retest(project: Project, sample: Sample | None) -> dict[str, Any]:
    repeats, answers = repeat_frame(project, sample=sample), answer_frame(project, sample=sample)
    return steadiness(repeats, answers, seed=project.seed).as_dict()


def _transitivity(project: Project, sample: Sample | None) -> dict[str, Any]:
    votes = vote_frame(project, sample=sample)
    pairs = contender_frame(project, sample=sample).rename(columns={"prompt_id": "prompt"})
    return {
        "consensus": parts_as_json(_of_consensus(pairs, votes, project.seed)),
        "within_people": parts_as_json(_within_people(pairs, votes, project.seed)),
    }


def _of_consensus(pairs: pd.DataFrame, votes: pd.DataFrame, seed: int) -> Cycles:
    """Return how often people's plurality contradicts itself; `prob_a` is the share of votes."""
    found = consensus(votes)
    groups = votes.drop_duplicates("pair_id").set_index("pair_id")["group"]
    labels = pd.DataFrame(
        {
            "pair_id": found.index,
            "side": found["choice"].map(SIDE_OF).to_numpy(dtype=object),
            "prob_a": found["prob_a"].to_numpy(dtype=float),
            "group": groups.reindex(found.index).to_numpy(dtype=object),
        }
    )
    return cycles(labels, pairs, seed)


def _within_people(pairs: pd.DataFrame, votes: pd.DataFrame, seed: int) -> Cycles:
    """Return how often one person's answers contradict each other: a prompt is taken apart person by person."""
    labels = pd.DataFrame(
        {
            "pair_id": votes["rater_id"] + " " + votes["pair_id"],
            "side": votes["choice"].map(SIDE_OF),
            "prob_a": np.nan,
            "group": votes["group"],
        }
    )
    mine = pairs.reindex(votes["pair_id"])
    mine.index = pd.Index(labels["pair_id"])
    return cycles(labels, mine.assign(prompt=(votes["rater_id"].to_numpy() + " " + mine["prompt"])), seed)
