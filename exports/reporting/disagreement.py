"""Whether people differ in what they prefer, which types there are, and whose answers the labels follow."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from annotation.aggregating import vote_frame
from annotation.agreeing import SIDE_OF, Figure, share, too_few
from annotation.agreeing.satisfying import LEAST_IN_GROUP, groups_of, satisfaction
from annotation.agreeing.types import SIGNIFICANT, Types, types_of
from annotation.ids import id_text, spelled_ids
from annotation.models import Pair, Preference, Project, Rater, RaterKind, Submission
from annotation.sampling import Sample, in_sample
from exports.labelling import label_frame
from exports.reporting.stating import stated

COUPLES = "couples of answers on one pair"
BOTH_DECIDED = "pairs that both decided"
ORIGINS, LANGUAGES, DOMAINS = "how the answers came here", "languages they read", "domains they know"

SENTENCES = {
    "within": "Two people of this type gave the same answer in {share} of {n} couples of answers.",
    "with_others": "A person of this type and one of another gave the same answer in {share} of {n} couples.",
    "apart": "On {share} of {n} pairs that both decided, most of this type chose another side than most of the others.",
    "mean": "The label is what a person said in {share} of {n} answers.",
    "lowest_fifth": "A fifth of {n} people have the label say what they said less often than {share} of the time.",
    "gini": "How unevenly labels follow people: Gini's index is {number} over {n} people (0 is evenly).",
    "followed": "The label is what people of this group said in {share} of {n} answers.",
    "worst_followed": "The worst-served group finds its answer in {share} of {n} labels.",
}


def disagreement_report(
    project: Project, *, sample: Sample | None = None, name_of: Callable[[str], str] = str
) -> dict[str, Any]:
    """Return whether people differ beyond noise, and whose answers labels follow.

    `test` is the heterogeneity test (null: one taste, people more or less careful), `types` the types of people where
    it finds more than one, `people` each person's chance of each type (under `name_of`). `labels` says how far labels
    follow answers; `groups` the same for types and for every way in which people say or show where they belong, never
    for fewer than five people.
    """
    votes, labels, seed = vote_frame(project, sample=sample), label_frame(project, sample=sample), project.seed
    # Ids differ between databases that hold the same data; names and external ids do not.
    keyed = votes.assign(pair_id=votes["pair_id"].map(_names(project, sample)))
    types = types_of(keyed, seed=seed)
    followed = _followed(votes, labels)
    several = types.people if types.k > 1 else []
    type_of = pd.Series({name: f"type {types.of(name) + 1}" for name in several}, dtype=object)
    communities = {"type": type_of, **_communities(project)}
    return stated(
        {
            "test": _test(types),
            "types": _types(types, keyed, seed),
            "people": [
                {"person": name_of(name), "type": types.of(name) + 1, "chances": types.chances[place].tolist()}
                for place, name in sorted(enumerate(several), key=lambda one: name_of(one[1]))
            ],
            "labels": satisfaction(followed, seed=seed).as_dict(),
            "least_in_group": LEAST_IN_GROUP,
            "groups": [
                {"by": by, **groups_of(followed, of, seed=seed).as_dict()} for by, of in communities.items() if len(of)
            ],
        },
        SENTENCES,
    )


def _names(project: Project, sample: Sample | None) -> dict[str, str]:
    """Return the pairs' external ids by their own. One query."""
    pairs = Pair.objects.filter(in_sample(sample, "prompt"), project=project).values_list(id_text("id"), "external_id")
    ids, names = zip(*pairs.iterator(), strict=True) if pairs.exists() else ((), ())
    return dict(zip(spelled_ids(ids), names, strict=True))


def _test(types: Types) -> dict[str, Any]:
    test = types.test
    if test.p is None:
        said = f"No test: {test.too_few}."
    else:
        found = (
            f"The {test.people:,} people do not share one taste: some agree with each other more than care explains"
            if test.p < SIGNIFICANT
            else f"No sign that the {test.people:,} people differ in taste: care and noise explain who agrees with whom"
        )
        drawn = f"p {test.p:.3f} by {test.draws} draws over {test.answers:,} answers"
        said = f"{found} (statistic {test.statistic:.2f}, with one taste {test.expected:.2f}; {drawn})."
    return {**test._asdict(), "level": SIGNIFICANT, "sentence": said}


def _types(types: Types, votes: pd.DataFrame, seed: int) -> list[dict[str, Any]]:
    """Return each type: how many people, how far they agree with each other and with the rest, and where they part."""
    if types.k == 1:
        return []
    place = {name: types.of(name) for name in types.people}
    side = votes["choice"].map(SIDE_OF)
    rows = votes[side.notna() & votes["rater"].isin(place)].assign(side=side)
    rows["kind"] = rows["rater"].map(place)
    met = rows.merge(rows, on="pair_id", suffixes=("", "_other"))
    met = met[met["rater"] < met["rater_other"]]
    met["same"] = met["side"] == met["side_other"]
    found = []
    for kind in range(types.k):
        first, second = met["kind"] == kind, met["kind_other"] == kind
        within, between = met[first & second], met[first ^ second]
        mine, others = _majority(rows[rows["kind"] == kind]), _majority(rows[rows["kind"] != kind])
        both = pd.DataFrame({"mine": mine, "others": others}).dropna()
        group = rows.drop_duplicates("pair_id").set_index("pair_id")["group"].reindex(both.index)
        found.append(
            {
                "type": kind + 1,
                "people": sum(one == kind for one in place.values()),
                "within": _couples(within, seed),
                "with_others": _couples(between, seed),
                "apart": share(both["mine"] != both["others"], group, what=BOTH_DECIDED, seed=seed),
            }
        )
    return [{name: part.as_dict() if isinstance(part, Figure) else part for name, part in one.items()} for one in found]


def _couples(met: pd.DataFrame, seed: int) -> Figure:
    return share(met["same"], met["group"], what=COUPLES, seed=seed) if len(met) else too_few(0, 10, COUPLES)


def _majority(rows: pd.DataFrame) -> "pd.Series[Any]":
    """Return the side, a or b, that most of these votes on a pair take; pairs without one are left out."""
    lean = rows["side"].map({"a": 1.0, "b": -1.0, "tie": 0.0}).groupby(rows["pair_id"]).sum()
    return pd.Series(np.where(lean > 0, "a", "b"), index=lean.index)[lean != 0]


def _followed(votes: pd.DataFrame, labels: pd.DataFrame) -> pd.DataFrame:
    """Return a row an answer on a labelled pair: `group`, `rater`, `hit` (1 where the label is what was said)."""
    label = votes["pair_id"].map(labels.set_index("pair_id")["choice"]).map(SIDE_OF)
    side = votes["choice"].map(SIDE_OF)
    known = label.notna() & side.notna()
    return votes.loc[known, ["group", "rater"]].assign(hit=(label == side)[known].astype(float))


def _communities(project: Project) -> "dict[str, pd.Series[Any]]":
    """Return people's groups by name, for every way they are known. Three queries."""
    people = Rater.objects.filter(project=project, kind=RaterKind.PERSON)
    found: dict[str, dict[str, str]] = {
        "how the answers came here": {},
        "languages they read": {},
        "domains they know": {},
    }
    for name, origin, languages, domains in people.values_list("name", "origin", "languages", "domains"):
        found[ORIGINS][name] = str(origin)
        found[LANGUAGES][name] = ", ".join(sorted(languages))
        found[DOMAINS][name] = ", ".join(sorted(domains))
    visits = Submission.objects.filter(study__project=project, guest__isnull=False).order_by("id")
    found["crowd study"] = {name: str(study) for name, study in visits.values_list("guest__rater__name", "study__name")}
    stated_by = Preference.objects.of_people().filter(pair__project=project, meta__has_key="community")
    rows = stated_by.order_by("id").values_list("rater__name", "meta__community")
    found["stated community"] = {name: str(community) for name, community in rows if isinstance(community, str)}
    several = {by: of for by, of in found.items() if len({one for one in of.values() if one}) > 1}
    return {by: pd.Series(of, dtype=object) for by, of in several.items()}
