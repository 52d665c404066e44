"""What hints that a judge is wrong about a pair: frames in, one frame of signals out; nothing here reads the database.

Every signal is a float or NaN (not known). `SIGNALS` says which way each is expected to point, which is what the
cold start and the single-signal baselines use, and how a reason is worded.
"""

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from judges.averaging import CHOICE_PROB_A, choice_of
from routing.signals.recalling import recalled_signals
from routing.signals.recognising import ASKED

# Goes up whenever the same data would give other signals: kept signals of another version are made again.
VERSION = "4"
# Judges that get a signal of their own, most covering first; the others count in the shares only.
NAMED_JUDGES = 6
DIFFERS = "differs from "
# Categories that get a signal of their own, most frequent first, and how many pairs one needs; so do languages.
NAMED_CATEGORIES = 12
LEAST_IN_CATEGORY = 20
# A single form that prompts ask for needs more: on 400 pairs one that 26 ask for cost 0.002 of AUROC.
LEAST_ASKING = 100
IN_CATEGORY = "category "
# Gaps in length, squared and added up, below which no slope can be told.
SMALLEST_SQUARE = 1e-9
# Digits of a signal: the last bits depend on the order of a sum, or on which side is called a, and trees split on them.
DIGITS = 10
# What `routing.signals.extending` adds: tags of the prompt, and columns of the file by name, or by name and value.
COSINE = "cosine"
TAG = "tag "
SUBJECT, FACT = "subject ", "has_"
COLUMN = "column "


class Signal(NamedTuple):
    """A signal: +1 where a higher value is expected to mean "wrong more often", -1 for the reverse, and its words.

    `monotone` binds LightGBM to the expected direction. `words(value, judge)` is a clause a manager can read.
    """

    direction: int
    monotone: bool
    words: Callable[[float, str], str]


# A difference that rounds to nothing, as words put it.
NOTHING = 0.005


def _either(yes: str, no: str) -> Callable[[float, str], str]:
    return lambda value, judge: (yes if value >= 0.5 else no).format(judge=judge)


def _says(text: str) -> Callable[[float, str], str]:
    return lambda value, judge: text.format(judge=judge, value=value)


def _counts(none: str, one: str, more: str) -> Callable[[float, str], str]:
    """Return words for a count; `more` takes {value}."""
    return lambda value, judge: (none if value < 0.5 else one if value < 1.5 else more).format(judge=judge, value=value)


def _share(none: str, some: str, every: str) -> Callable[[float, str], str]:
    """Return words for a share; `some` takes {value}."""
    return lambda value, judge: (none if value < NOTHING else every if value > 1 - NOTHING else some).format(
        judge=judge, value=value
    )


def _ahead(where: str, *, what: str = "the picked {of}", of: str = "model") -> Callable[[float, str], str]:
    """Return words for how far the pick is ahead of the other, -1 to 1, in points of a hundred."""
    what = what.format(of=of)

    def words(value: float, judge: str) -> str:
        place = where.format(judge=judge)
        if abs(value) < NOTHING:
            return f"{place} the two {of}s do equally well"
        return f"{place} {what} is {'ahead' if value > 0 else 'behind'} by {_points(value)}"

    return words


def _apart(where: str, of: str) -> Callable[[float, str], str]:
    def words(value: float, judge: str) -> str:
        place = where.format(judge=judge)
        return f"{place} the two {of}s " + ("do equally well" if value < NOTHING else f"are {_points(value)} apart")

    return words


def _leans(who: str) -> Callable[[float, str], str]:
    def words(value: float, judge: str) -> str:
        name = who.format(judge=judge)
        if abs(value) < NOTHING:
            return f"between these two models, {name} favoured neither elsewhere"
        side = "picked" if value > 0 else "other"
        return f"between these two models, {name} favoured the {side} one by {_points(value)} elsewhere"

    return words


def _sided(more: str, less: str, same: str) -> Callable[[float, str], str]:
    """Return words for a value that is above, below or about 0."""
    return lambda value, judge: (same if abs(value) < NOTHING else more if value > 0 else less).format(judge=judge)


def _points(value: float) -> str:
    points = max(1, round(100 * abs(value)))
    return f"{points} point{'' if points == 1 else 's'}"


def _sure(who: str, none: str) -> Callable[[float, str], str]:
    """Return words for a margin, 0 to 1: how far the chance of the pick is from one half, twice."""
    return lambda value, judge: (
        none.format(judge=judge) if value < NOTHING else f"{who.format(judge=judge)} {(1 + value) / 2:.0%} sure"
    )


def _times(value: float) -> str:
    """Return how many times as long one text is, from the gap over the sum of both, 0 to 1."""
    return f"{(1 + value) / (1 - value):.1f} times as long as" if value < 0.95 else "all there is beside"


def _lengths(value: float, judge: str) -> str:
    return f"one response is {_times(value)} the other" if value >= 0.025 else "the responses are about as long"


def _picked_length(value: float, judge: str) -> str:
    if abs(value) < 0.025:
        return "the responses are about as long"
    first, second = ("picked", "other") if value > 0 else ("other", "picked")
    return f"the {first} response is {_times(abs(value))} the {second}"


def _more_lists(value: float, judge: str) -> str:
    n = round(abs(value))
    if n == 0:
        return "both responses have as many list items"
    return f"the picked response has {n:,} list item{'' if n == 1 else 's'} {'more' if value > 0 else 'fewer'}"


SIGNALS: dict[str, Signal] = {
    "flipped": Signal(
        1,
        True,
        _either("{judge} changed its answer when the order was swapped", "{judge} kept its answer in both orders"),
    ),
    "asked_both_orders": Signal(-1, False, _either("{judge} saw both orders", "{judge} saw one order only")),
    "margin": Signal(-1, True, _sure("{judge} is", "{judge} saw no difference")),
    "label_mass": Signal(-1, False, _says("{judge} put {value:.0%} of its probability on the answers it was offered")),
    "tie": Signal(1, False, _either("{judge} called it a tie", "{judge} picked a side")),
    "picked_first": Signal(
        1, False, _either("{judge} picked the response it saw first", "{judge} did not pick the first response")
    ),
    "score_gap": Signal(-1, True, _says("{judge}'s two scores are {value:.1f} apart")),
    "self_disagrees": Signal(
        1, True, _either("{judge} contradicts itself when asked in another way", "{judge} agrees with itself")
    ),
    "others_disagree": Signal(
        1,
        True,
        _share(
            "no other judge answers differently from {judge}",
            "{value:.0%} of the other judges answer differently from {judge}",
            "all other judges answer differently from {judge}",
        ),
    ),
    "others_opposed": Signal(
        1,
        True,
        _share(
            "no other judge prefers the other response",
            "{value:.0%} of the other judges prefer the other response",
            "all other judges prefer the other response",
        ),
    ),
    "others_flipped": Signal(
        1,
        False,
        _share(
            "no other judge changed with the order",
            "{value:.0%} of the other judges changed with the order",
            "all other judges changed with the order",
        ),
    ),
    "other_judges": Signal(
        -1, False, _counts("no other judge answered", "one other judge answered", "{value:.0f} other judges answered")
    ),
    "learned_differs": Signal(
        1,
        True,
        lambda value, judge: f"a model that learned from people's answers is {_points(value)} away from {judge}",
    ),
    "prob_spread": Signal(1, True, lambda value, judge: f"the judges spread by {_points(value)} of 100"),
    "jury_margin": Signal(-1, True, _sure("all judges together are", "all judges together see no difference")),
    "pick_form": Signal(-1, True, _ahead("in {judge}'s other pairs")),
    "form_gap": Signal(-1, False, _apart("in {judge}'s other pairs", "model")),
    "others_form": Signal(-1, True, _ahead("with other judges")),
    "pick_record": Signal(-1, True, _ahead("in {judge}'s other pairs", of="response")),
    "record_gap": Signal(-1, False, _apart("in {judge}'s other pairs", "response")),
    "others_record": Signal(-1, True, _ahead("with other judges", of="response")),
    "record_level": Signal(-1, False, _says("the two responses win {value:.0%} of {judge}'s other pairs on average")),
    "record_picked": Signal(-1, False, _says("the picked response wins {value:.0%} of {judge}'s other pairs with it")),
    "record_passed": Signal(1, False, _says("the other response wins {value:.0%} of {judge}'s other pairs with it")),
    "form_level": Signal(-1, False, _says("the two models win {value:.0%} of {judge}'s other pairs on average")),
    "form_picked": Signal(-1, False, _says("the picked model wins {value:.0%} of {judge}'s other pairs with it")),
    "form_passed": Signal(1, False, _says("the other model wins {value:.0%} of {judge}'s other pairs with it")),
    "tie_form": Signal(1, False, _says("{judge} calls {value:.0%} of the two models' other pairs a tie")),
    "pairing_form": Signal(-1, False, _leans("{judge}")),
    "judges_record_level": Signal(
        -1, False, _says("with all judges, the two responses win {value:.0%} of other pairs on average")
    ),
    "judges_record_picked": Signal(
        -1, False, _says("with all judges, the picked response wins {value:.0%} of other pairs")
    ),
    "judges_record_passed": Signal(
        1, False, _says("with all judges, the other response wins {value:.0%} of other pairs")
    ),
    "judges_form_level": Signal(
        -1, False, _says("with all judges, the two models win {value:.0%} of other pairs on average")
    ),
    "judges_form_picked": Signal(-1, False, _says("with all judges, the picked model wins {value:.0%} of other pairs")),
    "judges_form_passed": Signal(1, False, _says("with all judges, the other model wins {value:.0%} of other pairs")),
    "judges_tie_form": Signal(1, False, _says("judges call {value:.0%} of the two models' other pairs a tie")),
    "judges_pairing_form": Signal(-1, False, _leans("the judges together")),
    "group_flips": Signal(
        1, True, _says("{judge} changed {value:.0%} of its other answers on this prompt with the order")
    ),
    "group_disagreement": Signal(1, True, _says("other judges differ on {value:.0%} of this prompt's other pairs")),
    "length_gap": Signal(-1, False, _lengths),
    "pick_length": Signal(1, False, _picked_length),
    "length_pull": Signal(
        1,
        False,
        _sided(
            "{judge}'s pick fits its taste for length",
            "{judge}'s pick goes against its taste for length",
            "{judge}'s taste for length has no part in its pick",
        ),
    ),
    "pick_lists": Signal(1, False, _more_lists),
    "words": Signal(1, False, lambda value, judge: f"the responses have {np.expm1(value):,.0f} words together"),
    "prompt_words": Signal(1, False, lambda value, judge: f"the prompt has {np.expm1(value):,.0f} words"),
    "turns": Signal(
        1, False, _counts("the prompt has no turns", "the prompt has one turn", "the prompt has {value:.0f} turns")
    ),
    "similarity": Signal(1, False, _says("the responses share {value:.0%} of their words")),
    COSINE: Signal(1, False, _says("the responses are {value:.0%} alike in meaning")),
    "has_code": Signal(1, False, _either("there is code", "there is no code")),
    "has_digits": Signal(1, False, _either("there are numbers", "there are no numbers")),
    "refusal": Signal(1, False, _either("a response refuses", "no response refuses")),
    "pick_refuses": Signal(
        1,
        False,
        _sided(
            "the picked response refuses, the other does not",
            "the other response refuses, the picked one does not",
            "neither response or both refuse",
        ),
    ),
    "empty": Signal(-1, False, _either("a response is empty", "no response is empty")),
    "language_known": Signal(-1, False, _either("the language is known", "the language is not known")),
    "rare_language": Signal(
        1, False, _either("the prompt is in a language that few are in", "the prompt is in the usual language")
    ),
    "foreign": Signal(
        1, False, _either("a response is in another language than the prompt", "prompt and responses share a language")
    ),
    "pick_foreign": Signal(
        1,
        False,
        _sided(
            "the picked response is in another language than the prompt, the other is not",
            "the other response is in another language than the prompt, the picked one is not",
            "neither response or both are in another language than the prompt",
        ),
    ),
    "asks_form": Signal(
        1,
        False,
        _counts(
            "the prompt asks for nothing about the answer's form",
            "the prompt asks for one thing about the answer's form",
            "the prompt asks for {value:.0f} things about the answer's form",
        ),
    ),
    "asks_json": Signal(1, False, _either("the prompt asks for JSON or the like", "the prompt asks for no JSON")),
    "asks_list": Signal(1, False, _either("the prompt asks for a list", "the prompt asks for no list")),
    "asks_length": Signal(1, False, _either("the prompt sets a length", "the prompt sets no length")),
    "asks_table": Signal(1, False, _either("the prompt asks for a table", "the prompt asks for no table")),
    "asks_code": Signal(1, False, _either("the prompt asks for code", "the prompt asks for no code")),
}


def signal_of(name: str) -> Signal:
    """Return what is known about a column of signals. Raises `KeyError` for a name that is never made."""
    if name.startswith(DIFFERS):
        other = name.removeprefix(DIFFERS)
        return Signal(1, True, lambda value, judge: _other_judge(other, value, judge))
    if name.startswith(IN_CATEGORY):
        words = f"the prompt's category is {{}}{name.removeprefix(IN_CATEGORY)}"
        return Signal(1, False, lambda value, judge: words.format("" if value >= 0.5 else "not "))
    if name.startswith(TAG):
        return Signal(1, False, _tag_words(name.removeprefix(TAG)))
    if name.startswith(COLUMN):
        return Signal(1, False, _column_words(name.removeprefix(COLUMN)))
    return SIGNALS[name]


def _other_judge(other: str, value: float, judge: str) -> str:
    return f"{other} is {_points(value)} away from {judge}" if value >= NOTHING else f"{other} says what {judge} says"


# Signals that tell of the same thing: only the strongest of them is given as a reason.
ABOUT = {
    "length": {"length_gap", "pick_length", "length_pull"},
    "sure": {"margin", "tie"},
    "jury": {"others_disagree", "others_opposed", "prob_spread", "jury_margin", "other_judges"},
    "responses": {"pick_record", "record_gap", "others_record"},
    "models": {"pick_form", "form_gap", "others_form"},
    "ties": {"tie_form", "judges_tie_form"},
    "refusal": {"refusal", "pick_refuses"},
    "language": {"foreign", "pick_foreign", "rare_language", "language_known"},
}
_ABOUT = {name: thing for thing, names in ABOUT.items() for name in names}
# Said of the pick against the other: where the judge picked neither, or both are alike, they tell nothing.
OF_THE_PICK = frozenset(
    {"pick_form", "others_form", "pick_record", "others_record", "pick_length", "length_pull", "pick_lists"}
    | {"pick_refuses", "pick_foreign", "pairing_form", "judges_pairing_form"}
)


def about(name: str) -> str:
    """Return what a signal tells of: the same text for signals of which one reason is enough."""
    if name.startswith(DIFFERS):
        return "jury"
    kept = name.removeprefix("judges_").rpartition("_")[0]
    if kept in ("form", "record", "pairing") and name not in _ABOUT:
        return "responses" if kept == "record" else "models"
    return _ABOUT.get(name, name)


def tells(name: str, value: float) -> bool:
    """Say whether a value is worth a reason: known, and not the nothing of a signal that speaks of the pick."""
    return not (np.isnan(value) or (name in OF_THE_PICK and abs(value) < NOTHING))


def _tag_words(tag: str) -> Callable[[float, str], str]:
    if tag.startswith(SUBJECT):
        return _either(
            f"the prompt is about {tag.removeprefix(SUBJECT)}", f"the prompt is not about {tag[len(SUBJECT) :]}"
        )
    if tag.startswith(FACT):
        things = tag.removeprefix(FACT).replace("_", " ")
        return _either(f"the prompt has {things}", f"the prompt has no {things}")
    return _says(f"the prompt's {tag.replace('_', ' ')} is {{value:.0%}} of the most")


def _column_words(column: str) -> Callable[[float, str], str]:
    name, equals, value = column.partition("=")
    if equals:
        return lambda known, judge: f"{name} in the file is {'' if known >= 0.5 else 'not '}{value}"
    return lambda known, judge: f"{name} in the file is {known:g}"


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
