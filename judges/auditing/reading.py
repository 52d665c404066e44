"""What cards are made from, read from the database in a few queries whatever the number of versions."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import pandas as pd
from django.db.models import Count, Q

from annotation.aggregating import consensus, vote_frame
from annotation.ids import id_text, spelled_ids
from annotation.models import Pair, Project, Response
from annotation.models.pairs import joined_text
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
    # Pairs first: the responses of what is imported meanwhile are then among those read.
    pairs = Pair.objects.filter(project=project).values_list(
        id_text("id"), "prompt__group", id_text("prompt_id"), id_text("response_a_id"), id_text("response_b_id")
    )
    records = list(pairs.iterator(chunk_size=5000))
    found = pd.DataFrame.from_records(records, columns=["pair_id", *PAIR_COLUMNS[:4]])
    responses = _responses(project)
    # As an index, since an empty list would become a column of numbers.
    pair_ids, prompts = (pd.Index(spelled_ids(found[name])) for name in ("pair_id", "prompt"))
    frame = pd.DataFrame({"pair_id": pair_ids, "group": found["group"], "prompt": prompts})
    for side in ("a", "b"):
        theirs = responses.loc[found[f"response_{side}"]]
        frame[f"response_{side}"] = theirs["id"].to_numpy()
        frame[f"length_{side}"] = theirs["length"].to_numpy(dtype=float)
        frame[f"family_{side}"] = theirs["family"].to_numpy()
    return frame.set_index("pair_id")[list(PAIR_COLUMNS)]


def _responses(project: Project) -> pd.DataFrame:
    """Return a row a response, by its id as the database writes it: `id`, `length` and `family`."""
    rows = Response.objects.filter(prompt__project=project).values_list(id_text("id"), "messages", "model")
    keys: list[str] = []
    lengths: list[int] = []
    models: list[str] = []
    for key, messages, model in rows.iterator(chunk_size=2000):
        keys.append(key)
        lengths.append(len(joined_text(messages).strip()))
        models.append(model)
    families = {model: family_of(model) for model in set(models)}
    columns = {"id": spelled_ids(keys), "length": lengths, "family": [families[model] for model in models]}
    return pd.DataFrame(columns, index=keys)
