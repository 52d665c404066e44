"""What people prefer, inferred from comparisons that share responses and from people who do not always look.

Pure. Noisy Bradley-Terry (Chen et al. 2013, "Pairwise ranking aggregation in a crowdsourced setting") with ties after
Davidson (1970): each response has a score, a person answers by the difference of two scores with the chance of their
sincerity, and otherwise by the place on the screen. Pairs of one prompt that share responses inform each other, so a
triple of answers in a circle is noticed; pairs of different prompts share nothing but the people.
"""

from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import pandas as pd
from scipy import optimize, special

from annotation.agreeing.figures import SIDE_OF

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Places = NDArray[np.int64]

SIDES = ("a", "b", "tie")
# Before any answer: scores of a prompt spread like a standard normal, and people are sincere nine times in ten, held
# as firmly as by ten answers; the shares of places as by three.
SCORE_SPREAD = 1.0
SINCERE, INSINCERE = 9.0, 1.0
PLACES_LENT = 1.0
TIES_BEFORE, TIES_SPREAD = float(np.log(0.5)), 1.0
# People are learned to the third digit; scores, which labels follow from, to more digits than a label has.
LEARNING = {"maxiter": 500, "ftol": 1e-7}
SCORING = {"maxiter": 500, "ftol": 1e-11, "gtol": 1e-6}


class Comparers(NamedTuple):
    """What was learned of people: how often each is sincere, and what place they choose when not.

    `sincere` has P(answers by the responses) by person's id, `places` their shares for the response shown first, the
    one shown second, and neither; `anybody` is the average of both, for those who answer later. `ties` is Davidson's
    log nu: how readily a sincere person sees no difference.
    """

    sincere: dict[str, float]
    places: dict[str, list[float]]
    anybody: tuple[float, list[float]]
    ties: float

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values; `from_json` brings back the very same numbers."""
        return {**self._asdict(), "anybody": list(self.anybody)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """Return what `as_json` wrote."""
        sincere, places = value["anybody"]
        return cls(value["sincere"], value["places"], (sincere, places), value["ties"])


class _Coded(NamedTuple):
    a: "Places"
    b: "Places"
    said: "Places"
    rater: "Places"
    # P(answer | place chosen): a row an answer, columns first, second, neither.
    by_place: "Array"
    n_responses: int
    raters: list[str]


def infer_comparers(votes: pd.DataFrame, contenders: pd.DataFrame) -> Comparers | None:
    """Return what votes tell of the people who gave them; None without a vote that decides.

    `votes`: `pair_id`, `rater_id`, `choice`, `shown_order`; `contenders` as `contender_frame` returns it.
    """
    coded = _code(votes, contenders)
    if not len(coded.said):
        return None
    n, r = coded.n_responses, len(coded.raters)
    start = np.concatenate([np.zeros(n), [TIES_BEFORE], np.full(r, np.log(SINCERE / INSINCERE)), np.zeros(3 * r)])
    found = optimize.minimize(_loss, start, args=(coded,), jac=True, method="L-BFGS-B", options=LEARNING).x
    sincere = special.expit(found[n + 1 : n + 1 + r])
    places = special.softmax(found[n + 1 + r :].reshape(r, 3), axis=1)
    return Comparers(
        dict(zip(coded.raters, sincere.tolist(), strict=True)),
        dict(zip(coded.raters, places.tolist(), strict=True)),
        (float(sincere.mean()), places.mean(axis=0).tolist()),
        float(found[n]),
    )


def preferences_of(votes: pd.DataFrame, contenders: pd.DataFrame, comparers: Comparers) -> pd.DataFrame:
    """Return what a sincere person would answer on every pair with a vote, given everybody's answers on its prompt.

    A row a `pair_id`, sorted. `a`, `b` and `tie` are the chances of the answer of a sincere person; `p_a`, `p_b` and
    `p_tie` that it is the one most sincere people would give, from the normal approximation to the posterior of the
    difference of the scores (Laplace).
    """
    coded = _code(votes, contenders)
    n = coded.n_responses
    fixed = _fixed(coded, comparers)

    def loss(scores: "Array") -> tuple[float, "Array"]:
        value, slope = _loss(np.concatenate([scores, fixed]), coded)
        return value, slope[:n]

    start = np.zeros(n)
    scores = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options=SCORING).x if n else start
    asked = contenders.loc[sorted(set(votes.loc[votes["choice"].isin(SIDE_OF), "pair_id"]))]
    names = _responses(contenders)
    a, b = names.get_indexer(pd.Index(asked["response_a"])), names.get_indexer(pd.Index(asked["response_b"]))
    apart = scores[a] - scores[b]
    spread = _spreads(coded, scores, fixed, asked, names)
    chances = _davidson(apart, comparers.ties)
    # Neither is the most likely answer where the scores differ by less than this.
    band = max(0.0, 2.0 * comparers.ties)
    p_a, p_b = special.ndtr((apart - band) / spread), special.ndtr((-apart - band) / spread)
    columns = {"a": chances[:, 0], "b": chances[:, 1], "tie": chances[:, 2]}
    certain = {"p_a": p_a, "p_b": p_b, "p_tie": np.clip(1.0 - p_a - p_b, 0.0, 1.0)}
    return pd.DataFrame(columns | certain, index=pd.Index(asked.index, name="pair_id", dtype=object))


def _responses(contenders: pd.DataFrame) -> "pd.Index[Any]":
    names: pd.Index[Any] = pd.Index(sorted({*contenders["response_a"], *contenders["response_b"]}), dtype=object)
    return names


def _code(votes: pd.DataFrame, contenders: pd.DataFrame) -> _Coded:
    side = votes["choice"].map(SIDE_OF)
    rows = votes[side.notna()]
    said = pd.Index(SIDES).get_indexer(pd.Index(side[side.notna()]))
    names = _responses(contenders)
    pairs = contenders.loc[rows["pair_id"]]
    rater, raters = pd.factorize(rows["rater_id"].to_numpy(dtype=object), sort=True)
    shown = rows["shown_order"].to_numpy(dtype=object)
    first = np.where(said == 2, "", np.array(SIDES, dtype=object)[said]) == [str(order)[:1] for order in shown]
    known = np.isin(shown.astype(str), ["ab", "ba"])
    by_place = np.zeros((len(rows), 3))
    by_place[said == 2, 2] = 1.0
    decisive = said != 2
    by_place[decisive & known & first, 0] = 1.0
    by_place[decisive & known & ~first, 1] = 1.0
    by_place[decisive & ~known, :2] = 0.5
    return _Coded(
        names.get_indexer(pd.Index(pairs["response_a"])),
        names.get_indexer(pd.Index(pairs["response_b"])),
        said,
        rater,
        by_place,
        len(names),
        [str(one) for one in raters],
    )


def _fixed(coded: _Coded, comparers: Comparers) -> "Array":
    sincere, places = comparers.anybody
    gammas = np.array([comparers.sincere.get(one, sincere) for one in coded.raters])
    shares = np.array([comparers.places.get(one, places) for one in coded.raters]).reshape(-1, 3)
    return np.concatenate([[comparers.ties], special.logit(gammas), np.log(shares).ravel()])


def _davidson(apart: "Array", log_nu: float) -> "Array":
    """Return the chances of a, b and neither for these differences of scores (Davidson 1970, eq. 2.3)."""
    ahead, tied = np.exp(apart / 2), np.exp(log_nu)
    total = ahead + 1.0 / ahead + tied
    return np.column_stack([ahead / total, 1.0 / (ahead * total), tied / total])


def _loss(at: "Array", coded: _Coded) -> tuple[float, "Array"]:
    """Return minus the log posterior and its slope.

    `at` holds the scores, log nu, each person's log odds of being sincere, and after these the logs of their places.
    """
    n, r = coded.n_responses, len(coded.raters)
    scores, log_nu, odds, logs = at[:n], at[n], at[n + 1 : n + 1 + r], at[n + 1 + r :].reshape(r, 3)
    gammas, places = special.expit(odds), special.softmax(logs, axis=1)
    chances = _davidson(scores[coded.a] - scores[coded.b], float(log_nu))
    rows = np.arange(len(coded.said))
    by_content = chances[rows, coded.said]
    by_place = (coded.by_place * places[coded.rater]).sum(axis=1)
    gamma = gammas[coded.rater]
    likely = gamma * by_content + (1.0 - gamma) * by_place
    looked = gamma * by_content / likely
    is_tie = coded.said == 2
    lean = (chances[:, 0] - chances[:, 1]) / 2
    own = np.array([0.5, -0.5, 0.0])[coded.said]
    of_apart = looked * (own - lean)
    of_scores = np.bincount(coded.a, of_apart, n) - np.bincount(coded.b, of_apart, n)
    of_ties = (looked * (is_tie - chances[:, 2])).sum()
    of_odds = np.bincount(coded.rater, (by_content - by_place) / likely * gamma * (1.0 - gamma), r)
    missed = (1.0 - gamma) / likely
    of_logs = np.column_stack(
        [
            np.bincount(coded.rater, missed * places[coded.rater, m] * (coded.by_place[:, m] - by_place), r)
            for m in range(3)
        ]
    )
    ties_off = (log_nu - TIES_BEFORE) / TIES_SPREAD**2
    prior = (
        -0.5 * (scores**2).sum() / SCORE_SPREAD**2
        - 0.5 * (log_nu - TIES_BEFORE) * ties_off
        + (SINCERE * special.log_expit(odds) + INSINCERE * special.log_expit(-odds)).sum()
        + PLACES_LENT * np.log(places).sum()
    )
    slope = np.concatenate(
        [
            of_scores - scores / SCORE_SPREAD**2,
            [of_ties - ties_off],
            of_odds + SINCERE * (1.0 - gammas) - INSINCERE * gammas,
            (of_logs + PLACES_LENT * (1.0 - 3.0 * places)).ravel(),
        ]
    )
    return -float(np.log(likely).sum() + prior), -slope


def _spreads(coded: _Coded, scores: "Array", fixed: "Array", asked: pd.DataFrame, names: "pd.Index[Any]") -> "Array":
    """Return the standard deviation of the difference of each asked pair's scores, from the information of its prompt.

    Responses of different prompts are independent, so every prompt is a small matrix of its own.
    """
    log_nu, gammas = float(fixed[0]), special.expit(fixed[1 : 1 + len(coded.raters)])
    chances = _davidson(scores[coded.a] - scores[coded.b], log_nu)
    lean = (chances[:, 0] - chances[:, 1]) / 2
    # Who looks with chance gamma says about gamma squared of what somebody says who always does.
    information = gammas[coded.rater] ** 2 * ((chances[:, 0] + chances[:, 1]) / 4 - lean**2)
    a, b = names.get_indexer(pd.Index(asked["response_a"])), names.get_indexer(pd.Index(asked["response_b"]))
    found = np.empty(len(asked))
    prompt_of = np.full(len(names), -1)
    prompts, _ = pd.factorize(asked["prompt_id"].to_numpy(dtype=object))
    prompt_of[a] = prompt_of[b] = prompts
    order = np.argsort(prompts, kind="stable")
    votes_order = np.argsort(prompt_of[coded.a], kind="stable")
    of_votes = prompt_of[coded.a][votes_order]
    for prompt in range(prompts.max() + 1 if len(prompts) else 0):
        mine = order[np.searchsorted(prompts[order], prompt) : np.searchsorted(prompts[order], prompt, "right")]
        rows = votes_order[np.searchsorted(of_votes, prompt) : np.searchsorted(of_votes, prompt, "right")]
        local = np.unique(np.concatenate([a[mine], b[mine]]))
        at_a, at_b = np.searchsorted(local, coded.a[rows]), np.searchsorted(local, coded.b[rows])
        precision = np.eye(len(local)) / SCORE_SPREAD**2
        np.add.at(precision, (at_a, at_a), information[rows])
        np.add.at(precision, (at_b, at_b), information[rows])
        np.add.at(precision, (at_a, at_b), -information[rows])
        np.add.at(precision, (at_b, at_a), -information[rows])
        spread = np.linalg.inv(precision)
        i, j = np.searchsorted(local, a[mine]), np.searchsorted(local, b[mine])
        found[mine] = spread[i, i] + spread[j, j] - 2 * spread[i, j]
    return np.sqrt(found)
