"""Judges that are no models: the longer response wins, and a logistic baseline learned from the project's own labels.

They are what every model must beat. Neither can see an order, so neither has a position bias by construction.
"""

import hashlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from annotation.models import Pair, Project
from annotation.sampling import Sample
from judges.averaging import CHOICE_PROB_A
from judges.errors import TooFewLabels

if TYPE_CHECKING:
    from uuid import UUID

    import pandas as pd
    from numpy.typing import NDArray

WORD = re.compile(r"\w+")
LIST_ITEM = re.compile(r"^\s*(?:[-*•]|\d{1,3}[.)])\s", re.MULTILINE)
HEADING = re.compile(r"^#{1,6}\s", re.MULTILINE)
BOLD = re.compile(r"\*\*[^*\n]+\*\*")
FENCE = re.compile(r"^\s*```", re.MULTILINE)
DIGITS = re.compile(r"\d+")
REFUSAL = re.compile(
    r"\b(?:I(?:['\u2019]m| am)? (?:sorry|unable|not able)|I (?:can(?:no|['\u2019])t|won['\u2019]t|must decline)"
    r"|as an AI)\b",
    re.IGNORECASE,
)
# An apology at the start refuses; one inside a letter or a story does not.
REFUSAL_WITHIN = 300

# A coefficient for each feature would follow single pairs below this.
LEAST_PAIRS = 30
LEAST_GROUPS = 5
FOLDS = 5
# Inverse strengths of the L2 penalty; the one with the lowest held-out log loss is taken.
STRENGTHS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
# Coefficients are stored and probabilities rounded to these steps, so that p(a, b) + p(b, a) is exactly 1.
COEFFICIENT_DIGITS = 10
PROBABILITY_STEPS = 2.0**40
IDS_PER_QUERY = 10_000


def length_prob_a(response_a: str, response_b: str) -> float:
    """Return 1 where a has more characters, 0 where b has, 0.5 where they are equal. Outer white space is no length."""
    length_a, length_b = len(response_a.strip()), len(response_b.strip())
    return 0.5 if length_a == length_b else float(length_a > length_b)


def learned_prob_a(fitted: Mapping[str, Any], prompt: str, response_a: str, response_b: str, group: str = "") -> float:
    """Return the learned baseline's probability that a is better; `fitted` comes from `fit_learned`.

    With `group` (the prompt's), the answer is that of the fold that was trained without this group's labels, so a
    labelled pair is never judged by a model that has seen its label. Without, it is that of the fit to all labels.
    Swapping the responses gives exactly the other probability.
    """
    coefficients = fitted["fold_coef"][fold_of(group, fitted["seed"], fitted["folds"])] if group else fitted["coef"]
    differences = feature_differences(prompt, response_a, response_b)
    logit = sum(
        weight * (difference / scale)
        for weight, difference, scale in zip(coefficients, differences, fitted["scale"], strict=True)
    )
    # tanh is odd to the last bit where the logistic function is not.
    return 0.5 + round(0.5 * math.tanh(logit / 2) * PROBABILITY_STEPS) / PROBABILITY_STEPS


def fold_of(group: str, seed: int, folds: int = FOLDS) -> int:
    """Return the fold that holds a prompt group out."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{group}".encode()).digest()[:8], "big") % folds


# --- Features -------------------------------------------------------------------------------------------------------

FEATURES = (
    "log_characters",
    "log_words",
    "word_variety",
    "list_items",
    "headings",
    "bold",
    "code_blocks",
    "paragraphs",
    "prompt_overlap",
    "numbers",
    "refuses",
    "empty",
)


def features_of(prompt_words: frozenset[str], response: str) -> tuple[float, ...]:
    """Return the surface features of one response, in the order of `FEATURES`. Counts are log(1 + n)."""
    words = WORD.findall(response.lower())
    vocabulary = frozenset(words)
    return (
        math.log1p(len(response)),
        math.log1p(len(words)),
        len(vocabulary) / len(words) if words else 0.0,
        math.log1p(len(LIST_ITEM.findall(response))),
        math.log1p(len(HEADING.findall(response))),
        math.log1p(len(BOLD.findall(response))),
        math.log1p(len(FENCE.findall(response)) // 2),
        math.log1p(response.strip().count("\n\n")),
        len(prompt_words & vocabulary) / len(prompt_words) if prompt_words else 0.0,
        math.log1p(len(DIGITS.findall(response))),
        float(REFUSAL.search(response[:REFUSAL_WITHIN]) is not None),
        float(not words),
    )


def feature_differences(prompt: str, response_a: str, response_b: str) -> tuple[float, ...]:
    """Return the features of a minus those of b: swapping the responses flips every sign exactly."""
    prompt_words = frozenset(WORD.findall(prompt.lower()))
    of_a, of_b = features_of(prompt_words, response_a), features_of(prompt_words, response_b)
    return tuple(a - b for a, b in zip(of_a, of_b, strict=True))


def prompt_text(messages: Iterable[Mapping[str, Any]]) -> str:
    """Return a prompt as plain text: the contents of its messages, joined by blank lines."""
    return "\n\n".join(str(message.get("content") or "") for message in messages)


# --- Fitting --------------------------------------------------------------------------------------------------------


class LabelledPair(NamedTuple):
    """A pair with people's answer: `target` is 1 for a, 0 for b, 0.5 where people say neither is better."""

    name: str
    group: str
    target: float
    differences: tuple[float, ...]


def fit_learned(project: Project, *, seed: int = 0, sample: Sample | None = None) -> dict[str, Any]:
    """Return the learned baseline of a project as JSON values, for `JudgeVersion.fitted`.

    Reads the consensus of people's current answers; pairs they contest are left out, and those outside a `sample`.
    Raises `TooFewLabels` below 30 such pairs or five prompt groups. One query for the votes and one for every 10,000
    pairs.
    """
    from annotation.aggregating import consensus, vote_frame

    return fit_pairs(_labelled(project, consensus(vote_frame(project, sample=sample))), seed=seed)


def fit_pairs(pairs: Sequence[LabelledPair], *, features: Sequence[str] = FEATURES, seed: int = 0) -> dict[str, Any]:
    """Return coefficients of a logistic regression without intercept on scaled feature differences.

    `features` names them, in their order.

    A pair that people call equal counts half for each side, which keeps the probabilities calibrated. The penalty is
    the one with the lowest log loss on held-out prompt groups. `coef` is fitted to all labels; `fold_coef[k]` and its
    penalty without the groups of fold k. `cv_accuracy` is that of the held-out folds over the `cv_n` pairs where people
    prefer a side. Raises `TooFewLabels`.
    """
    import numpy as np

    pairs = sorted(pairs)
    groups = sorted({pair.group for pair in pairs})
    if len(pairs) < LEAST_PAIRS:
        raise TooFewLabels("pairs with people's answer", len(pairs), LEAST_PAIRS)
    if len(groups) < LEAST_GROUPS:
        raise TooFewLabels("prompt groups with people's answers", len(groups), LEAST_GROUPS)
    differences = np.array([pair.differences for pair in pairs])
    target = np.array([pair.target for pair in pairs])
    fold = np.array([fold_of(pair.group, seed) for pair in pairs])
    # Root mean square and no mean: a shift would break the symmetry.
    spread = np.sqrt((differences**2).mean(axis=0))
    scale = np.where(spread > 0, spread, 1.0)
    scaled = differences / scale
    strength = _best_strength(scaled, target, fold)
    # The penalty of a fold is chosen without it too: nothing about a label reaches the fit that judges its pair.
    rest = [fold != k for k in range(FOLDS)]
    fold_strength = [_best_strength(scaled[others], target[others], fold[others]) for others in rest]
    fold_coef = [_fit(scaled[others], target[others], one) for others, one in zip(rest, fold_strength, strict=True)]
    logits = _held_out_logits(scaled, fold, fold_coef)
    decided = target != 0.5
    return {
        "features": list(features),
        "scale": [round(float(one), COEFFICIENT_DIGITS) for one in scale],
        "coef": _rounded(_fit(scaled, target, strength)),
        "fold_coef": [_rounded(one) for one in fold_coef],
        "folds": FOLDS,
        "seed": seed,
        "C": strength,
        "fold_C": fold_strength,
        "n": len(pairs),
        "n_ties": int((~decided).sum()),
        "groups": len(groups),
        "cv_accuracy": round(float(((logits > 0) == (target > 0.5))[decided].mean()), 6) if decided.any() else None,
        "cv_n": int(decided.sum()),
        "labels_sha256": hashlib.sha256(repr([(p.name, p.target) for p in pairs]).encode()).hexdigest(),
    }


def _labelled(project: Project, people: "pd.DataFrame") -> list[LabelledPair]:
    known = people["choice"].map(CHOICE_PROB_A).dropna()
    targets = {str(pair_id): float(target) for pair_id, target in known.items()}
    ids: list[UUID | str] = sorted(targets)
    fields = Pair.objects.filter(project=project).values_list(
        "id", "external_id", "prompt__group", "prompt__messages", "response_a__messages", "response_b__messages"
    )
    found = []
    for start in range(0, len(ids), IDS_PER_QUERY):
        for pair_id, name, group, prompt, a, b in fields.filter(id__in=ids[start : start + IDS_PER_QUERY]).iterator():
            differences = feature_differences(prompt_text(prompt), prompt_text(a), prompt_text(b))
            found.append(LabelledPair(name, group, targets[str(pair_id)], differences))
    return found


def _fit(scaled: "NDArray[Any]", target: "NDArray[Any]", strength: float) -> "NDArray[Any]":
    """Return coefficients. Every pair is a win of a with weight `target` and a win of b with the rest.

    Without pairs they are 0: nothing is known, so every answer is one half.
    """
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    if not len(scaled):
        return np.zeros(scaled.shape[1])

    model = LogisticRegression(C=strength, fit_intercept=False, max_iter=1000)
    outcome = np.repeat([1, 0], len(scaled))
    model.fit(np.vstack([scaled, scaled]), outcome, sample_weight=np.concatenate([target, 1.0 - target]))
    return np.asarray(model.coef_[0])


def _held_out_logits(
    scaled: "NDArray[Any]", fold: "NDArray[Any]", fold_coef: Sequence["NDArray[Any]"]
) -> "NDArray[Any]":
    import numpy as np

    return np.asarray((scaled * np.array(fold_coef)[fold]).sum(axis=1))


def _best_strength(scaled: "NDArray[Any]", target: "NDArray[Any]", fold: "NDArray[Any]") -> float:
    return min(STRENGTHS, key=lambda one: _held_out_loss(scaled, target, fold, one))


def _held_out_loss(scaled: "NDArray[Any]", target: "NDArray[Any]", fold: "NDArray[Any]", strength: float) -> float:
    import numpy as np

    fold_coef = [_fit(scaled[fold != k], target[fold != k], strength) for k in range(FOLDS)]
    logits = _held_out_logits(scaled, fold, fold_coef)
    # log(1 + e^z) - y z is the cross-entropy of a (soft) label y under the logit z.
    return float(np.sum(np.logaddexp(0.0, logits) - target * logits))


def _rounded(coefficients: "NDArray[Any]") -> list[float]:
    return [round(float(one), COEFFICIENT_DIGITS) for one in coefficients]
