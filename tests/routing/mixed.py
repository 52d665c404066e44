"""Pairs for tests of mixes: what people want shows in the texts' features, and the judge is misled by one of them."""

import numpy as np
import pandas as pd

from annotation.models import Project
from routing.predicting.scoring import Floats, sigmoid
from routing.studies.mixing import MixPairs
from tests.builders import make_pair
from tests.judged import answer_pairs, judge_pairs, make_judge

PEOPLE = ("Bold", "Calm", "Dull", "Exact", "Frank", "Grand")


def mix_pairs(n: int = 480, *, misled: float = 0.35, seed: int = 0) -> tuple[MixPairs, Floats]:
    """Return pairs in groups of four, and their features: a signal tells where the judge is misled."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 10))
    human = (rng.random(n) < sigmoid(2 * x @ np.r_[-1.0, np.linspace(0.5, 1.0, 9)])).astype(float)
    is_misled = rng.random(n) < misled
    judge = np.where(is_misled, (x[:, 0] > 0).astype(float), human)
    wrong = judge != human
    signals = pd.DataFrame(
        {
            "flipped": (is_misled ^ (rng.random(n) < 0.1)).astype(float),
            "similarity": rng.random(n),
            "margin": np.where(rng.random(n) < 0.2, np.nan, rng.random(n)),
        },
        index=[f"pair-{number}" for number in range(n)],
    )
    groups = np.array([f"g{number // 4}" for number in range(n)], dtype=object)
    texts = [(f"Question {number // 4}?", f"Yes {number}.", f"No {number}.") for number in range(n)]
    clusters = (np.arange(n) // 4) % 3
    pairs = MixPairs(
        list(signals.index), groups, human, judge, wrong, np.ones(n), wrong.astype(np.int64), signals, clusters, texts
    )
    return pairs, x


def fill_project(project: Project, n: int = 220) -> None:
    """Give a project n pairs with answers of people and of the judge "gpt", who likes the longer one, and flips."""
    rng = np.random.default_rng(1)
    pairs, people, judged = [], [], []
    for number in range(n):
        words = [str(rng.choice(PEOPLE)) for _ in range(2)]
        texts = [f"{word} " * int(rng.integers(3, 30)) for word in words]
        pairs.append(
            make_pair(project, prompt=f"Question {number}?", response_a=texts[0], response_b=texts[1] + str(number))
        )
        people.append("a" if words[0] < words[1] else "b" if words[1] < words[0] else "tie")
        longer = "a" if len(texts[0]) > len(texts[1]) else "b"
        judged.append("flip" if rng.random() < 0.3 else people[-1] if rng.random() < 0.5 else longer)
    judge_pairs(make_judge(project), pairs, judged)
    answer_pairs(pairs, people)
