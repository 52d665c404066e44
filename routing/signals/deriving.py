"""What hints that a judge is wrong about a pair: frames in, one frame of signals out; nothing here reads the database.

Every signal is a float or NaN (not known). `routing.signals.wording` says which way each is expected to point, which
is what the cold start and the single-signal baselines use, and how a reason is worded.
"""

from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd

from judges.averaging import CHOICE_PROB_A, choice_of
from routing.signals.recalling import recalled_signals
from routing.signals.recognising import ASKED
from routing.signals.wording import DIFFERS, IN_CATEGORY

# Goes up whenever the same data would give other signals: kept signals of another version are made again.
VERSION = "4"
# Judges that get a signal of their own, most covering first; the others count in the shares only.
NAMED_JUDGES = 6
# Categories that get a signal of their own, most frequent first, and how many pairs one needs; so do languages.
NAMED_CATEGORIES = 12
LEAST_IN_CATEGORY = 20
# A single form that prompts ask for needs more: on 400 pairs one that 26 ask for cost 0.002 of AUROC.
LEAST_ASKING = 100
# Gaps in length, squared and added up, below which no slope can be told.
SMALLEST_SQUARE = 1e-9
# Digits of a signal: the last bits depend on the order of a sum, or on which side is called a, and trees split on them.
DIGITS = 10


def build_signals(
    measures: pd.DataFrame,
    verdicts: pd.DataFrame,
    preferences: pd.DataFrame,
    version_ids: Sequence[str],
    *,
    learned: Collection[str] = (),
) -> pd.DataFrame:
    """Return the signals about one judge (a version, or several together): a row a pair, a float a signal.

    Rows are those of `measures`, which comes from `routing.signals.measuring.measure_texts`; `verdicts` and
    `preferences` from `judges.frames` (columns `pair_id`, `version_id`, `judge`, `choice`, `prob_a`, `score_a`,
    `score_b`; verdicts also `order` and `label_mass`). `learned` names the judges that are baselines learned from
    people's answers: what they say of a pair comes from a model that saw no answer on its prompt group. What they say
    of other pairs did see it, so they have no part in records kept over pairs. No human label is read, so a signal can
    never leak what it is to predict. Which response is called a makes no difference. Signals that are known for no pair
    are left out.
    """
    verdicts, preferences = _answers(verdicts), _answers(preferences)
    target = preferences_together(preferences, version_ids).reindex(measures.index)
    prob_a, choice = target["p"], target["choice"].replace({"both_bad": "tie"})
    names = preferences.loc[preferences["version_id"].isin(version_ids), "judge"]
    name = str(names.iloc[0]) if len(names) else ""
    orders = _orders(verdicts)
    signals = _own_signals(measures.index, orders, verdicts, preferences, version_ids, name, choice, prob_a)
    signals.update(_jury_signals(measures.index, orders, preferences, name, choice, prob_a))
    signals["learned_differs"] = (_mean_of_judges(preferences, learned).reindex(measures.index) - prob_a).abs()
    others = set(preferences["judge"]) - {name} - set(learned)
    signals.update(_form_signals(measures, prob_a, _mean_of_judges(preferences, others).reindex(measures.index)))
    everyone = _mean_of_judges(preferences, {name, *others}).reindex(measures.index) if others else None
    signals.update(recalled_signals(measures, prob_a, everyone))
    for history, of in (
        ("group_flips", "flipped"),
        ("group_disagreement", "others_disagree"),
    ):
        signals[history] = _mean_of_others(signals[of], measures["group"])
    signals.update(_text_signals(measures, prob_a))
    signals.update(_category_signals(measures))
    # Adding 0 turns -0.0 into 0.0.
    frame = pd.DataFrame(signals, index=measures.index).astype(float).round(DIGITS) + 0.0
    return frame.loc[:, frame.notna().any()]


def preferences_together(preferences: pd.DataFrame, version_ids: Sequence[str]) -> pd.DataFrame:
    """Return what these versions of one judge prefer together: `choice`, `prob_a`, `p` by pair (index `pair_id`).

    One version's preferences are taken as they are. Several are averaged with equal weight before deciding; where only
    one of them answered, that one stands. `p` is the probability with a bare choice as 1, 0.5 or 0; `prob_a` is the
    stated one, NaN without.
    """
    mine = _answers(preferences[preferences["version_id"].isin(version_ids)])
    if len(version_ids) == 1:
        return mine.drop_duplicates("pair_id").set_index("pair_id")[["choice", "prob_a", "p"]]
    by_pair = mine.groupby("pair_id")
    together = pd.DataFrame({"p": by_pair["p"].mean(), "n": by_pair.size(), "choice": by_pair["choice"].first()})
    decided = together["p"].map(choice_of)
    together["choice"] = together["choice"].where(together["n"] == 1, decided).astype(object)
    return together.assign(prob_a=together["p"])[["choice", "prob_a", "p"]]


def _answers(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that decide, with `p`: the stated P(a is better), or the choice as 1, 0.5 or 0 without one."""
    frame = frame[frame["choice"].isin(list(CHOICE_PROB_A))]
    return frame.assign(p=frame["prob_a"].astype(float).fillna(frame["choice"].map(CHOICE_PROB_A).astype(float)))


def _orders(verdicts: pd.DataFrame) -> pd.DataFrame:
    """Return a row a version and pair: `both` orders asked, `flipped` between them (NaN without both)."""
    seen = verdicts[verdicts["order"].isin(["ab", "ba"])].drop_duplicates(["version_id", "pair_id", "order"])
    choices = seen.pivot(index=["version_id", "pair_id"], columns="order", values="choice")
    choices = choices.reindex(columns=["ab", "ba"])
    both = choices["ab"].notna() & choices["ba"].notna()
    flipped = (choices["ab"] != choices["ba"]).astype(float).where(both)
    return pd.DataFrame({"both": both.astype(float), "flipped": flipped})


def _own_signals(
    pairs: pd.Index,
    orders: pd.DataFrame,
    verdicts: pd.DataFrame,
    preferences: pd.DataFrame,
    version_ids: Sequence[str],
    name: str,
    choice: pd.Series,
    prob_a: pd.Series,
) -> dict[str, pd.Series]:
    mine = verdicts[verdicts["version_id"].isin(version_ids)]
    asked = orders[orders.index.get_level_values(0).isin(version_ids)]
    own = asked.groupby(level=1).mean().reindex(pairs)
    first = mine[mine["order"].isin(["ab", "ba"])]
    picked_first = (first["order"].map({"ab": "a", "ba": "b"}) == first["choice"]).groupby(first["pair_id"]).mean()
    scored = verdicts[verdicts["judge"] == name]
    gaps = (scored["score_a"].astype(float) - scored["score_b"].astype(float)).abs()
    mine_too = preferences[preferences["judge"] == name]
    if len(version_ids) == 1:
        mine_too = mine_too[mine_too["version_id"] != version_ids[0]]
    differs = (mine_too["choice"].replace({"both_bad": "tie"}) != mine_too["pair_id"].map(choice)).astype(float)
    return {
        "flipped": own["flipped"].astype(float),
        "asked_both_orders": own["both"].astype(float).fillna(0.0).where(choice.notna()),
        "margin": (prob_a - 0.5).abs() * 2,
        "label_mass": mine.groupby("pair_id")["label_mass"].mean().reindex(pairs).astype(float),
        "tie": choice.eq("tie").astype(float).where(choice.notna()),
        "picked_first": picked_first.reindex(pairs).where(own["both"].astype(float) != 1.0),
        "score_gap": gaps.groupby(scored["pair_id"]).mean().reindex(pairs),
        "self_disagrees": differs.groupby(mine_too["pair_id"]).mean().reindex(pairs).where(choice.notna()),
    }


def _jury_signals(
    pairs: pd.Index,
    orders: pd.DataFrame,
    preferences: pd.DataFrame,
    name: str,
    choice: pd.Series,
    prob_a: pd.Series,
) -> dict[str, pd.Series]:
    """Return what the other judges say; each judge counts once, however many versions or protocols it has."""
    others = preferences[(preferences["judge"] != name) & preferences["pair_id"].isin(choice.dropna().index)]
    mine, mine_p = others["pair_id"].map(choice), others["pair_id"].map(prob_a).astype(float)
    others = others.assign(
        differs=(others["choice"].replace({"both_bad": "tie"}) != mine).astype(float),
        opposed=((others["p"] - 0.5) * (mine_p - 0.5) < 0).astype(float),
        flipped=orders["flipped"]
        .reindex(pd.MultiIndex.from_frame(others[["version_id", "pair_id"]]))
        .to_numpy(dtype=float),
    )
    votes = others.groupby(["pair_id", "judge"], sort=True)[["p", "differs", "opposed", "flipped"]].mean()
    a_pair = votes.groupby("pair_id")
    counts, total, squares = a_pair["p"].count(), a_pair["p"].sum(), (votes["p"] ** 2).groupby("pair_id").sum()
    n = counts.reindex(pairs) + 1
    mean = (total.reindex(pairs) + prob_a) / n
    variance = ((squares.reindex(pairs) + prob_a**2) / n - mean**2).clip(lower=0.0)
    signals: dict[str, pd.Series] = {
        "others_disagree": a_pair["differs"].mean().reindex(pairs),
        "others_opposed": a_pair["opposed"].mean().reindex(pairs),
        "others_flipped": a_pair["flipped"].mean().reindex(pairs),
        "other_judges": counts.reindex(pairs).fillna(0.0).astype(float).where(choice.notna()),
        "prob_spread": variance**0.5,
        "jury_margin": (mean - 0.5).abs() * 2,
    }
    coverage = votes.groupby("judge").size()
    if len(coverage) > 1:
        named = sorted(coverage.index, key=lambda judge: (-coverage[judge], judge))[:NAMED_JUDGES]
        for judge in named:
            signals[f"{DIFFERS}{judge}"] = (votes["p"].xs(judge, level="judge").reindex(pairs) - prob_a).abs()
    return signals


def _form_signals(measures: pd.DataFrame, prob_a: pd.Series, others: pd.Series) -> dict[str, pd.Series]:
    """Return whether the pick goes against the record of the two models and of the two responses, this pair left out.

    A record is the mean of P(better) over all other pairs with that model or response: the judge's own, and the other
    judges' (`others`, their mean P(a is better)); no human label is read.
    """
    side = np.sign(prob_a - 0.5)
    form = _record_gap(measures["model_a"], measures["model_b"], prob_a)
    record = _record_gap(measures["response_a_id"], measures["response_b_id"], prob_a)
    return {
        "pick_form": form * side,
        "form_gap": form.abs(),
        "others_form": _record_gap(measures["model_a"], measures["model_b"], others) * side,
        "pick_record": record * side,
        "record_gap": record.abs(),
        "others_record": _record_gap(measures["response_a_id"], measures["response_b_id"], others) * side,
    }


def _record_gap(name_a: pd.Series, name_b: pd.Series, prob_a: pd.Series) -> pd.Series:
    """Return how much better a's name did than b's in all pairs but this one, NaN where one of them has no other."""
    judged = prob_a.notna() & (name_a != "") & (name_b != "")
    wins = pd.concat([prob_a[judged], 1 - prob_a[judged]])
    names = pd.concat([name_a[judged], name_b[judged]]).to_numpy()
    total, count = wins.groupby(names).sum(), wins.groupby(names).count()

    def record(name: pd.Series, own: pd.Series) -> pd.Series:
        # Its own game is left out where it was counted.
        games = name.map(count).astype(float) - judged
        return (name.map(total).astype(float) - own.where(judged, 0.0)) / games.where(games > 0)

    gap = (record(name_a, prob_a) - record(name_b, 1 - prob_a)).where((name_a != "") & (name_b != ""))
    # Of two responses by one model neither has the better record.
    return gap.mask(judged & (name_a == name_b), 0.0)


def _mean_of_judges(preferences: pd.DataFrame, names: Collection[str]) -> pd.Series:
    """Return these judges' mean P(a is better) by pair; each judge counts once."""
    others = preferences[preferences["judge"].isin(list(names))]
    return others.groupby(["pair_id", "judge"])["p"].mean().groupby("pair_id").mean()


def _category_signals(measures: pd.DataFrame) -> dict[str, pd.Series]:
    counts = measures.loc[measures["category"] != "", "category"].value_counts()
    large = counts[counts >= LEAST_IN_CATEGORY]
    named = sorted(large.index, key=lambda category: (-large[category], category))[:NAMED_CATEGORIES]
    return {f"{IN_CATEGORY}{category}": (measures["category"] == category).astype(float) for category in named}


def _mean_of_others(values: pd.Series, groups: pd.Series) -> pd.Series:
    """Return for each pair the mean of its group's other pairs, NaN where no other pair has a value."""
    own = values.fillna(0.0)
    total, count = own.groupby(groups).transform("sum"), values.groupby(groups).transform("count")
    rest = count - values.notna().astype(int)
    return (total - own) / rest.where(rest > 0)


def _text_signals(measures: pd.DataFrame, prob_a: pd.Series) -> dict[str, pd.Series]:
    side = np.sign(prob_a - 0.5)
    words = (measures["words_a"] + measures["words_b"]).astype(float)
    gap = (measures["words_a"] - measures["words_b"]) / words.where(words > 0, 1.0)
    return {
        "length_gap": gap.abs(),
        "pick_length": gap * side,
        "length_pull": _pull(gap, prob_a) * side,
        "pick_lists": (measures["list_items_a"] - measures["list_items_b"]) * side,
        "words": np.log1p(words),
        "prompt_words": np.log1p(measures["prompt_words"].astype(float)),
        "turns": measures["turns"].astype(float),
        "similarity": measures["similarity"],
        "has_code": measures["has_code"],
        "has_digits": measures["has_digits"],
        "refusal": measures[["refuses_a", "refuses_b"]].max(axis=1),
        "pick_refuses": (measures["refuses_a"] - measures["refuses_b"]) * side,
        "empty": measures["empty"],
        "language_known": measures["language_known"],
        **_language_signals(measures, side),
        **_form_asked(measures),
    }


def _pull(gap: pd.Series, prob_a: pd.Series) -> pd.Series:
    """Return how far the judge's taste for length, as its other pairs show it, pulls towards a: slope times gap.

    The slope is that of P(a is better) - 1/2 on the gap in length, by least squares through 0: 0 for a judge that
    does not mind length.
    """
    lean = prob_a - 0.5
    known = lean.notna()
    product, square = (gap * lean).where(known, 0.0), (gap**2).where(known, 0.0)
    rest = square.sum() - square
    return gap * (product.sum() - product) / rest.where(rest > SMALLEST_SQUARE)


def _language_signals(measures: pd.DataFrame, side: pd.Series) -> dict[str, pd.Series]:
    """Return whether the prompt is not in the language most are in, and whether a response is in another than it.

    Each is a signal where enough pairs are so.
    """
    language = measures["language"]
    named = language[language != ""]
    usual = min(named.mode(), default="")
    foreign = measures[["foreign_a", "foreign_b"]].astype(float)
    signals = {
        "rare_language": (language != usual).astype(float).where(language != ""),
        "foreign": foreign.max(axis=1, skipna=False),
        "pick_foreign": (foreign["foreign_a"] - foreign["foreign_b"]) * side,
    }
    return {name: values for name, values in signals.items() if values.abs().sum() >= LEAST_IN_CATEGORY}


def _form_asked(measures: pd.DataFrame) -> dict[str, pd.Series]:
    """Return how many things about form the prompt asks for, and those one by one that enough prompts ask for."""
    asked = measures[list(ASKED)].astype(float)
    frequent = [name for name in ASKED if asked[name].sum() >= LEAST_ASKING]
    return {"asks_form": asked.sum(axis=1), **{name: asked[name] for name in frequent}}
