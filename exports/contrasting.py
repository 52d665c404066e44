"""Ratings set against choices: what one person, or one judge, said in two ways about the same two responses."""

from typing import Any, NamedTuple

import pandas as pd

from annotation.aggregating.framing import ROWS_PER_FETCH, read_frame
from annotation.agreeing import sides_of_ratings
from annotation.criteria import OVERALL
from annotation.ids import id_text
from annotation.models import Basis, Choice, Pair, Preference, Project, RaterKind, Rating
from annotation.sampling import Sample, in_sample
from judges.models import Verdict
from routing.signals.measuring import WORD, joined

UNDECIDED = Choice.TIE.value
BY_CRITERION = ["criterion", "pair_id"]
CONTRAST_COLUMNS = ("criterion", "pair_id", "group", "rater", "rating_side", "ranking", "gap")


class JudgeContrast(NamedTuple):
    """A judge that gave scores under one protocol and choices under another, pair by pair.

    `frame` has `pair_id`, `group`, `rating_side`, `ranking` and `gap` (how far the scores are apart).
    """

    judge: str
    ratings: str
    rankings: str
    frame: pd.DataFrame


class PeopleContrast(NamedTuple):
    """People's ratings against choices.

    `within` has a row for every person, pair and criterion with two ratings and a choice of that person; `between` one
    for each person's two ratings and each choice of somebody else on the same pair and criterion. Columns:
    `criterion` ("overall" for the choice on the whole pair), `pair_id`, `group` (of the prompt), `rater` (who rated),
    `rating_side` (a, b, or tie where the ratings are equal), `ranking` (the choice) and `gap` (a's rating less b's).
    `differences` (criterion by criterion, index person and pair) are the rating differences of each person.
    """

    within: pd.DataFrame
    between: pd.DataFrame
    differences: pd.DataFrame


def contrast_people(project: Project, *, sample: Sample | None = None) -> PeopleContrast:
    """Return people's ratings against their own choices, and against those of others.

    Ratings given with the pair go before ratings given to the responses alone. What follows from ratings or orders is
    no choice of its own and is left out. Three queries.
    """
    rated, chosen = _rated(project, sample), _chosen(project, sample)
    within = rated.merge(chosen, on=[*BY_CRITERION, "rater"])
    between = rated.merge(chosen.rename(columns={"rater": "other"}), on=BY_CRITERION)
    between = between[between["rater"] != between["other"]]
    differences = rated.pivot_table(index=["rater", "pair_id"], columns="criterion", values="gap", aggfunc="first")
    return PeopleContrast(_tidy(within), _tidy(between), differences)


def contrast_judges(project: Project, *, sample: Sample | None = None) -> list[JudgeContrast]:
    """Return every judge that both scored and ranked, a contrast for each two protocols. One query.

    A version whose verdicts carry scores is a rating protocol, one without is a ranking protocol. Where a judge ranked
    in both orders and the answers differ, the ranking is a tie, as in Peering Through Preferences; scores of both
    orders are averaged.
    """
    rows = (
        Verdict.objects.answered()
        .filter(in_sample(sample, "pair__prompt"), version__judge__project=project)
        .order_by("version__judge__name", "version__number", "pair_id", "order")
        .values_list(
            "version__judge__name",
            "version__number",
            "version__protocol",
            id_text("pair_id"),
            "pair__prompt__group",
            "choice",
            "score_a",
            "score_b",
        )
    )
    columns = ["judge", "number", "protocol", "pair_id", "group", "choice", "score_a", "score_b"]
    read = rows.iterator(chunk_size=ROWS_PER_FETCH)
    verdicts = read_frame(read, columns, ids=("pair_id",), numbers=("score_a", "score_b"))
    contrasts = []
    for judge, mine in verdicts.groupby("judge", sort=True):
        versions = [
            (f"{protocol} (version {number})", of_version)
            for (number, protocol), of_version in mine.groupby(["number", "protocol"], sort=True)
        ]
        ratings = [(name, _scores(of)) for name, of in versions if _has_scores(of)]
        rankings = [(name, _rankings(of)) for name, of in versions if not _has_scores(of)]
        for rated_by, scores in ratings:
            for ranked_by, ranking in rankings:
                joined_up = scores.join(ranking, how="inner").rename_axis("pair_id").reset_index()
                frame = _tidy(joined_up.assign(criterion=OVERALL, rater=str(judge)))
                if len(frame):
                    contrasts.append(JudgeContrast(str(judge), rated_by, ranked_by, frame))
    return contrasts


def text_differences(project: Project, pair_ids: "pd.Series[Any]") -> pd.DataFrame:
    """Return how far the texts of pairs are apart, a less b: `words` and `different_words` (index `pair_id`)."""
    rows = []
    wanted = sorted(set(pair_ids))
    for start in range(0, len(wanted), 1000):
        texts = Pair.objects.filter(project=project, pk__in=wanted[start : start + 1000]).values_list(
            "pk", "response_a__messages", "response_b__messages"
        )
        for pk, *sides in texts:
            a, b = (WORD.findall(joined(messages).lower()) for messages in sides)
            rows.append((str(pk), float(len(a) - len(b)), float(len(set(a)) - len(set(b)))))
    frame = pd.DataFrame.from_records(rows, columns=["pair_id", "words", "different_words"])
    return frame.set_index("pair_id").astype(float)


def _rated(project: Project, sample: Sample | None) -> pd.DataFrame:
    """Return a row for each person, pair and criterion with two ratings. Two queries."""
    fields = ("rater_id", "response_id", "criterion__name", "pair_id", "value")
    ratings = Rating.objects.filter(
        in_sample(sample, "response__prompt"), rater__project=project, rater__kind=RaterKind.PERSON
    ).order_by("id")
    columns = ["rater", "response", "criterion", "given_with", "value"]
    frame = pd.DataFrame.from_records(list(ratings.values_list(*fields).iterator()), columns=columns)
    if frame.empty:
        return pd.DataFrame(columns=[*BY_CRITERION, "group", "rater", "gap"])
    pairs = Pair.objects.filter(in_sample(sample, "prompt"), project=project).order_by("pk")
    names = ["pair_id", "group", "response_a", "response_b"]
    places = pairs.values_list("pk", "prompt__group", "response_a_id", "response_b_id")
    found = pd.DataFrame.from_records(list(places.iterator()), columns=names)
    sides = []
    for side in ("a", "b"):
        of = found[["pair_id", "group", f"response_{side}"]].rename(columns={f"response_{side}": "response"})
        both = of.merge(frame, on="response")
        both = both[both["given_with"].isna() | (both["given_with"] == both["pair_id"])]
        both = both.assign(alone=both["given_with"].isna()).sort_values("alone", kind="stable")
        sides.append(both.drop_duplicates([*BY_CRITERION, "rater"])[[*BY_CRITERION, "group", "rater", "value"]])
    met = sides[0].merge(sides[1].drop(columns="group"), on=[*BY_CRITERION, "rater"], suffixes=("_a", "_b"))
    met["gap"] = met.pop("value_a").astype(float) - met.pop("value_b").astype(float)
    return _as_texts(met)


def _chosen(project: Project, sample: Sample | None) -> pd.DataFrame:
    choices = (
        Preference.objects.current()
        .of_people()
        .filter(in_sample(sample, "pair__prompt"), pair__project=project, is_extra=False, basis=Basis.CHOICE)
        .order_by("pair_id", "rater_id", "criterion__name")
        .values_list(id_text("rater_id"), id_text("pair_id"), "criterion__name", "choice")
    )
    columns = ["rater", "pair_id", "criterion", "ranking"]
    frame = read_frame(choices.iterator(chunk_size=ROWS_PER_FETCH), columns, ids=("rater", "pair_id"))
    frame["criterion"] = frame["criterion"].replace("", OVERALL)
    return frame


def _as_texts(frame: pd.DataFrame) -> pd.DataFrame:
    for name in ("pair_id", "rater", "criterion"):
        frame[name] = frame[name].astype(str).astype(object)
    return frame


def _has_scores(verdicts: pd.DataFrame) -> bool:
    return bool((verdicts["score_a"].notna() & verdicts["score_b"].notna()).any())


def _scores(verdicts: pd.DataFrame) -> pd.DataFrame:
    known = verdicts.dropna(subset=["score_a", "score_b"])
    means = known.groupby("pair_id").agg(group=("group", "first"), a=("score_a", "mean"), b=("score_b", "mean"))
    return means.assign(gap=means["a"] - means["b"])[["group", "gap"]]


def _rankings(verdicts: pd.DataFrame) -> pd.DataFrame:
    known = verdicts[verdicts["choice"] != Choice.UNSURE].groupby("pair_id")["choice"]
    return known.first().where(known.nunique() == 1, UNDECIDED).to_frame("ranking")


def _tidy(frame: pd.DataFrame) -> pd.DataFrame:
    gap = frame["gap"].astype(float)
    frame = frame.assign(gap=gap, rating_side=sides_of_ratings(gap, pd.Series(0.0, index=gap.index)))
    frame = frame[frame["rating_side"].notna() & (frame["ranking"] != Choice.UNSURE)]
    ordered = frame.sort_values(["criterion", "pair_id", "rater"], kind="stable")
    return ordered[list(CONTRAST_COLUMNS)].reset_index(drop=True)
