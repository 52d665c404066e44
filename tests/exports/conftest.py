"""A small project with every kind of label an export meets."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from annotation.models import Choice, Origin, Pair, Preference, Project, Rater, RaterKind
from judges.models import Judge, JudgeKind, JudgeVersion
from tests.builders import make_pair, make_person, make_preference, make_project, make_prompt


@pytest.fixture
def project(db: None) -> Project:
    """Return the fixed project: ada manages, ben and cyd annotate."""
    return make_project(with_people=True)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Return a folder that does not exist yet."""
    return tmp_path / "export"


@pytest.fixture
def make_judge() -> Callable[..., JudgeVersion]:
    """Make a version of a judge with its rater; another protocol of the same name is another version."""

    def make(project: Project, name: str = "gpt", *, kind: str = JudgeKind.RECORDED, **overrides: Any) -> JudgeVersion:
        judge, _ = Judge.objects.get_or_create(project=project, name=name, defaults={"kind": kind})
        number = judge.versions.count() + 1
        origin = Origin.RECORDED if kind == JudgeKind.RECORDED else Origin.LIVE
        rater = Rater.objects.create(project=project, kind=RaterKind.JUDGE, origin=origin, name=f"{name} v{number}")
        values = {"protocol": "pairwise", "content_hash": f"hash-{number}", **overrides}
        return JudgeVersion.objects.create(judge=judge, rater=rater, number=number, **values)

    return make


@pytest.fixture
def vote(project: Project) -> Callable[..., list[Preference]]:
    """Have ben, cyd and a recorded person answer a pair: `vote(pair, "a", "a", "b")`."""

    def cast(pair: Pair, *choices: str, **overrides: Any) -> list[Preference]:
        raters: list[Rater | str] = [make_person(project, "ben"), make_person(project, "cyd"), "recorded-dora"]
        return [
            make_preference(pair, rater, choice, **overrides) for rater, choice in zip(raters, choices, strict=False)
        ]

    return cast


@pytest.fixture
def labelled(project: Project, vote: Callable[..., list[Preference]]) -> Project:
    """Return a project of twelve pairs in eight groups: eight with a winner, four without for a reason each."""
    prompts = [make_prompt(project, f"Question {number}?") for number in range(4)]
    for number in range(8):
        pair = make_pair(project, prompt=prompts[number // 2], external_id=f"p{number}")
        vote(pair, *(("a", "a", "b") if number % 2 else ("b", "b", "b")))
    vote(make_pair(project, prompt="A tie?", external_id="tie"), Choice.TIE, Choice.TIE)
    vote(make_pair(project, prompt="Contested?", external_id="contested"), Choice.A, Choice.B)
    vote(make_pair(project, prompt="Bad?", external_id="bad"), Choice.BOTH_BAD, Choice.BOTH_BAD)
    make_pair(project, prompt="Nobody?", external_id="nobody")
    return project
