"""A project whose pairs a judge and people answered, enough of them for a predictor."""

import numpy as np

from annotation.models import Pair, Project
from judges.models import JudgeVersion
from tests.builders import make_pair, make_project, make_prompt
from tests.judged import answer_pairs, judge_pairs, make_judge

LEAST = 100


def make_replayable(slug: str = "helpfulness", *, pairs: int = LEAST, judge: str = "gpt") -> Project:
    """Return a project of that many pairs, two a prompt; its judge is wrong mostly where it changes with the order."""
    project = make_project(slug)
    rng = np.random.default_rng(5)
    made: list[Pair] = []
    for number in range(pairs // 2):
        prompt = make_prompt(project, f"Question {number}?")
        made += [
            make_pair(project, prompt=prompt, response_a=f"{number} {'so ' * side}yes", response_b=f"{number} no")
            for side in range(2)
        ]
    flips = rng.random(len(made)) < 0.35
    version = make_judge(project, judge)
    judge_pairs(version, made, ["flip" if flip else "a" for flip in flips])
    wrong = rng.random(len(made)) < np.where(flips, 0.8, 0.15)
    # A judge that flips has no preference.
    people = ["b" if bad else "tie" if flip else "a" for flip, bad in zip(flips, wrong, strict=True)]
    answer_pairs(made, people)
    return project


def add_judge_with_few_labels(project: Project, name: str = "rare", *, pairs: int = 7) -> JudgeVersion:
    """Return another judge, that answered the first pairs only."""
    version = make_judge(project, name)
    some = list(Pair.objects.filter(project=project).order_by("id")[:pairs])
    judge_pairs(version, some, ["a"] * len(some))
    return version
