"""Projects whose pairs have judges' verdicts and preferences, for tests of routing."""

from collections.abc import Sequence

from annotation.models import Origin, Pair, Preference, Project, Prompt, Rater, RaterKind, Response
from annotation.models.pairs import content_hash
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


def make_pairs(project: Project, n: int, *, groups: int | None = None, words: int = 4, start: int = 0) -> list[Pair]:
    """Return so many new pairs in three statements, over `groups` prompt groups (default: each its own).

    The responses have `words` words, and the texts and names follow from the pair's number, which `start` moves.
    """
    prompts, responses, pairs = [], [], []
    for number in range(start, start + n):
        messages = [{"role": "user", "content": f"Question {number} of the project?"}]
        digest = content_hash(messages)
        group = digest if groups is None else f"group {number % groups}"
        prompt = Prompt(project=project, messages=messages, content_hash=digest, group=group, language="en")
        sides = []
        for side in "ab":
            text = [{"role": "assistant", "content": " ".join([f"answer {number} {side}", *["word"] * (words - 3)])}]
            model = f"model-{side}"
            sides.append(Response(prompt=prompt, messages=text, content_hash=content_hash(text), model=model))
        a, b = sides
        prompts.append(prompt)
        responses += sides
        pairs.append(Pair(project=project, prompt=prompt, response_a=a, response_b=b, external_id=f"many-{number}"))
    Prompt.objects.bulk_create(prompts)
    Response.objects.bulk_create(responses)
    return Pair.objects.bulk_create(pairs)


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
