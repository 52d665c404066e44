"""Projects whose pairs have judges' verdicts and preferences, for tests of routing."""

from collections.abc import Sequence

from annotation.models import Origin, Pair, Preference, Project, Rater, RaterKind
from judges.averaging import VerdictValues, settle
from judges.models import Judge, JudgeKind, JudgeVersion, Verdict, VerdictState


def make_judge(
    project: Project, name: str = "gpt", *, kind: str = JudgeKind.RECORDED, protocol: str = "pairwise"
) -> JudgeVersion:
    """Return a new version of a judge, with its rater."""
    judge, _ = Judge.objects.get_or_create(project=project, name=name, defaults={"kind": kind})
    number = judge.versions.count() + 1
    rater = Rater.objects.create(
        project=project, kind=RaterKind.JUDGE, origin=Origin.RECORDED, name=f"{name} v{number}"
    )
    return JudgeVersion.objects.create(
        judge=judge, rater=rater, number=number, protocol=protocol, content_hash=f"{name}-{number}"
    )


def judge_pairs(version: JudgeVersion, pairs: Sequence[Pair], answers: Sequence[str]) -> None:
    """Store one answer a pair: "a", "b" or "tie" in both orders; "flip" picks the first shown in each."""
    verdicts, preferences = [], []
    for pair, answer in zip(pairs, answers, strict=True):
        said = {"ab": "a", "ba": "b"} if answer == "flip" else {"ab": answer, "ba": answer}
        verdicts += [
            Verdict(version=version, pair=pair, order=order, state=VerdictState.DONE, choice=choice)
            for order, choice in said.items()
        ]
        settled = settle([VerdictValues(order, choice) for order, choice in said.items()])
        preferences.append(Preference(pair=pair, rater=version.rater, choice=settled.choice, prob_a=settled.prob_a))
    Verdict.objects.bulk_create(verdicts)
    Preference.objects.bulk_create(preferences)


def answer_pairs(
    pairs: Sequence[Pair], choices: Sequence[str], *, origin: Origin = Origin.RECORDED, people: int = 1
) -> None:
    """Store the same answer of so many people on each pair."""
    project = pairs[0].project
    for number in range(people):
        rater, _ = Rater.objects.get_or_create(
            project=project, kind=RaterKind.PERSON, name=f"{origin} person {number}", defaults={"origin": origin}
        )
        Preference.objects.bulk_create(
            Preference(pair=pair, rater=rater, choice=choice) for pair, choice in zip(pairs, choices, strict=True)
        )
