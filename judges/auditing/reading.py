"""What cards are made from, read from the database in a few queries whatever the number of versions."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import pandas as pd
from django.db.models import Count, Q

from annotation.aggregating import consensus, vote_frame
from annotation.models import Pair, Project, Response
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
    """The judge version a card is about. `examples` are the pairs that its prompt shows with people's answers."""

    version_id: str
    judge: str
    protocol: str
    kind: str
    model: str
    asked: Asked
    examples: frozenset[str] = frozenset()

    @property
    def family(self) -> str:
        """The maker's family of its model; '' where it is not known."""
        return family_of(self.model)


def read_ground(project: Project) -> Ground:
    """Return what a project's cards are measured against. Four queries and one walk over the responses."""
    votes = vote_frame(project)
    pairs = _pairs(project)
    flagged = set(ResponseFlag.objects.filter(response__prompt__project=project).values_list("response_id", flat=True))
    ids = {str(key) for key in flagged}
    hit = pairs["response_a"].isin(ids) | pairs["response_b"].isin(ids)
    return Ground(votes, consensus(votes), pairs, project.seed, frozenset(pairs.index[hit]))


def read_subjects(versions: Iterable[JudgeVersion]) -> dict[Any, Subject]:
    """Return the subjects by the versions' primary keys. One query."""
    wanted = list(versions)
    asked = _asked(wanted)
    return {
        version.pk: Subject(
            version_id=str(version.pk),
            judge=version.judge.name,
            protocol=version.protocol,
            kind=version.judge.kind,
            model=version.model,
            asked=asked[version.pk],
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


def _pairs(project: Project) -> pd.DataFrame:
    responses = Response.objects.filter(prompt__project=project).values_list("id", "messages", "model")
    known: dict[Any, tuple[str, int, str]] = {}
    families: dict[str, str] = {}
    for key, messages, model in responses.iterator(chunk_size=2000):
        if model not in families:
            families[model] = family_of(model)
        known[key] = (str(key), len(Response(messages=messages).text.strip()), families[model])
    rows = Pair.objects.filter(project=project).values_list(
        "id", "prompt__group", "prompt_id", "response_a_id", "response_b_id"
    )
    records = []
    for key, group, prompt, a, b in rows:
        (id_a, length_a, family_a), (id_b, length_b, family_b) = known[a], known[b]
        records.append((str(key), group, str(prompt), id_a, id_b, length_a, length_b, family_a, family_b))
    frame = pd.DataFrame.from_records(records, columns=["pair_id", *PAIR_COLUMNS]).set_index("pair_id")
    frame[["length_a", "length_b"]] = frame[["length_a", "length_b"]].astype(float)
    return frame
