"""What cards are made from, read from the database in a few queries whatever the number of versions."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple
from uuid import UUID

import pandas as pd
from django.db.models import Count, Q

from annotation.aggregating import consensus, vote_frame
from annotation.aggregating.framing import read_frame
from annotation.ids import id_text
from annotation.models import Pair, Preference, Project
from annotation.models.pairs import joined_text
from annotation.sampling import Sample, in_sample
from judges.families import family_of
from judges.models import SECOND_PASSES, JudgeVersion, ResponseFlag, VerdictState
from judges.options import example_pairs

PAIR_COLUMNS = (
    "group",
    "prompt",
    "response_a",
    "response_b",
    "length_a",
    "length_b",
    "family_a",
    "family_b",
)
_IDS = ("pair_id", "prompt", "response_a", "response_b")


class Ground(NamedTuple):
    """What every card of a project is measured against.

    `votes` comes from `vote_frame`, `people` from `consensus`. `pairs` has a row a pair (the index): `group`, `prompt`,
    `response_a` and `response_b` (ids as strings), `length_a` and `length_b` (characters, outer white space left out)
    and `family_a` and `family_b` ('' where not known). `flagged` are the pairs with a response that speaks to the
    judge.
    """

    votes: pd.DataFrame
    people: pd.DataFrame
    pairs: pd.DataFrame
    seed: int
    flagged: frozenset[str] = frozenset()

    @property
    def longer(self) -> "pd.Series[Any]":
        """Which response of each pair is longer: a, b, or tie."""
        difference = self.pairs["length_a"] - self.pairs["length_b"]
        sides = pd.Series("tie", index=self.pairs.index, dtype=object)
        return sides.mask(difference > 0, "a").mask(difference < 0, "b")


class Asked(NamedTuple):
    """How a version's finished calls ended. A refusal is the model's or its server's; `unreadable` answers came."""

    answered: int
    failed: int
    refused: int = 0
    unreadable: int = 0


class Subject(NamedTuple):
    """The judge version a card is about, and how many pairs it labelled.

    `examples` are the pairs that its prompt shows with people's answers.
    """

    version_id: str
    judge: str
    protocol: str
    kind: str
    model: str
    asked: Asked
    labelled: int = 0
    examples: frozenset[str] = frozenset()

    @property
    def family(self) -> str:
        """The maker's family of its model; '' where it is not known."""
        return family_of(self.model)


def read_ground(project: Project, *, sample: Sample | None = None) -> Ground:
    """Return what a project's cards are measured against. Four queries, one of them a walk over all texts."""
    votes = vote_frame(project, sample=sample)
    pairs = _pairs(project, sample)
    flagged = set(ResponseFlag.objects.filter(response__prompt__project=project).values_list("response_id", flat=True))
    ids = {str(key) for key in flagged}
    hit = pairs["response_a"].isin(ids) | pairs["response_b"].isin(ids)
    return Ground(votes, consensus(votes), pairs, project.seed, frozenset(pairs.index[hit]))


def read_subjects(versions: Iterable[JudgeVersion]) -> dict[Any, Subject]:
    """Return the subjects by the versions' primary keys. Two queries."""
    wanted = list(versions)
    asked, labelled = _asked(wanted), _labelled(wanted)
    return {
        version.pk: Subject(
            version_id=str(version.pk),
            judge=version.judge.name,
            protocol=version.protocol,
            kind=version.judge.kind,
            model=version.model,
            asked=asked[version.pk],
            labelled=labelled.get(version.rater_id, 0),
            examples=frozenset(str(pair_id) for pair_id in example_pairs(version)),
        )
        for version in wanted
    }


def _asked(versions: list[JudgeVersion]) -> dict[Any, Asked]:
    asked = ~Q(verdicts__order__in=SECOND_PASSES)
    failed = asked & Q(verdicts__state=VerdictState.FAILED)
    # Answers stored before the kind of failure was kept say it in their first words.
    refused = Q(verdicts__meta__unanswered="refusal") | Q(verdicts__error__startswith="The judge refused")
    unreadable = (
        Q(verdicts__meta__unanswered="unreadable")
        | Q(verdicts__error__startswith="The judge's answer")
        | Q(verdicts__error__startswith="The judge's choice")
    )
    counted = JudgeVersion.objects.filter(pk__in=[version.pk for version in versions]).annotate(
        answered=Count("verdicts", filter=asked & Q(verdicts__state=VerdictState.DONE)),
        failed=Count("verdicts", filter=failed),
        refused=Count("verdicts", filter=failed & refused),
        unreadable=Count("verdicts", filter=failed & unreadable),
    )
    fields = ("answered", "failed", "refused", "unreadable")
    return {pk: Asked(*counts) for pk, *counts in counted.values_list("pk", *fields)}


def _labelled(versions: list[JudgeVersion]) -> dict[UUID, int]:
    """Return how many pairs each version labelled, by its rater."""
    labels = Preference.objects.counted().filter(rater__in=[version.rater_id for version in versions])
    return dict(labels.values_list("rater_id").annotate(n=Count("id")).order_by("rater_id"))


def _pairs(project: Project, sample: Sample | None) -> pd.DataFrame:
    rows, columns = _measured(project, sample), ["pair_id", *PAIR_COLUMNS]
    frame = read_frame(rows, columns, ids=_IDS, numbers=("length_a", "length_b"))
    return frame.set_index("pair_id")


def _measured(project: Project, sample: Sample | None) -> Iterator[tuple[Any, ...]]:
    """Yield `pair_id` and `PAIR_COLUMNS` of each pair: texts are read with it and forgotten, not held by response."""
    sides = [(id_text(f"response_{side}_id"), f"response_{side}__messages", f"response_{side}__model") for side in "ab"]
    rows = Pair.objects.filter(in_sample(sample, "prompt"), project=project).values_list(
        id_text("id"), "prompt__group", id_text("prompt_id"), *sides[0], *sides[1]
    )
    families: dict[str, str] = {}
    for pair, group, prompt, a, messages_a, model_a, b, messages_b, model_b in rows.iterator(chunk_size=2000):
        for model in (model_a, model_b):
            if model not in families:
                families[model] = family_of(model)
        lengths = (float(len(joined_text(messages).strip())) for messages in (messages_a, messages_b))
        yield pair, group, prompt, a, b, *lengths, families[model_a], families[model_b]
