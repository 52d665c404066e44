"""What a simulation takes for the truth of a pair, and where it has that from."""

from collections import Counter
from collections.abc import Iterable
from enum import StrEnum
from random import Random
from typing import NamedTuple
from uuid import UUID

from annotation.models import Assignment, Choice, Gold, Origin, Pair, Preference, Project, RaterKind
from annotation.simulating.behaving import Item

# SQLite binds at most 32,766 values in a statement.
CHUNK = 5_000
TRUE = (Choice.A, Choice.B, Choice.TIE, Choice.BOTH_BAD)


class Source(StrEnum):
    """Where the truth of a pair comes from, the first that has one."""

    GOLD = "gold"
    FILE = "meta.better"  # as the bundled sample says it
    PEOPLE = "recorded people"  # what most of the people say who were imported with the pair
    PLANTED = "planted"  # a or b, drawn from the seed


class Known(NamedTuple):
    """A pair as a simulation knows it, where its truth is from, and why it is true, in the file's words."""

    item: Item
    source: Source
    why: str = ""


class Knowledge:
    """What is known of a project's pairs; each is looked up once."""

    def __init__(self, project: Project, *, seed: int) -> None:
        self.project = project
        self.seed = seed
        self._known: dict[UUID, Known] = {}

    def of(self, pair_id: UUID) -> Known:
        """Return what is known of a pair."""
        if pair_id not in self._known:
            self.learn([pair_id])
        return self._known[pair_id]

    def learn(self, pair_ids: Iterable[UUID]) -> None:
        """Look up pairs that are not known yet: four queries for every 5,000."""
        wanted = list(dict.fromkeys(one for one in pair_ids if one not in self._known))
        for start in range(0, len(wanted), CHUNK):
            self._learn(wanted[start : start + CHUNK])

    def behind(self, assignment_id: UUID) -> tuple[Known, Choice]:
        """Return what is known of the pair that a lease is on, and which response stands first on its screen."""
        pair_id, shown = Assignment.objects.values_list("task__pair_id", "shown_order").get(pk=assignment_id)
        return self.of(pair_id), Choice(shown[0])

    def sources(self, pair_ids: Iterable[UUID]) -> dict[str, int]:
        """Return of how many pairs the truth is from where."""
        ids = list(pair_ids)
        self.learn(ids)
        return dict(Counter(self._known[one].source.value for one in ids))

    def _learn(self, ids: list[UUID]) -> None:
        gold = dict(Gold.objects.live().filter(pair__in=ids).values_list("pair_id", "accepted"))
        said: dict[UUID, Counter[str]] = {}
        judged: dict[UUID, Choice] = {}
        answers = Preference.objects.current().filter(pair__in=ids, criterion__isnull=True, choice__in=TRUE)
        people = answers.of_people().filter(rater__origin=Origin.RECORDED)
        for pair_id, choice in people.values_list("pair_id", "choice"):
            said.setdefault(pair_id, Counter())[choice] += 1
        judges = answers.filter(rater__kind=RaterKind.JUDGE).order_by("created_at", "pk")
        for pair_id, choice in judges.values_list("pair_id", "choice"):
            judged[pair_id] = Choice(choice)
        for pair in Pair.objects.filter(pk__in=ids).select_related("prompt", "response_a", "response_b"):
            better, source = self._truth(pair, gold.get(pair.pk), said.get(pair.pk))
            item = Item(pair.external_id, better, _characters(pair), pair.pk in gold, judged.get(pair.pk))
            why = str(pair.meta.get("better_why", "")) if source is Source.FILE else ""
            self._known[pair.pk] = Known(item, source, why)

    def _truth(self, pair: Pair, accepted: list[str] | None, said: Counter[str] | None) -> tuple[Choice, Source]:
        if accepted:
            return Choice(accepted[0]), Source.GOLD
        if pair.meta.get("better") in TRUE:
            return Choice(pair.meta["better"]), Source.FILE
        top = said.most_common(2) if said else []
        if top and (len(top) == 1 or top[0][1] > top[1][1]):
            return Choice(top[0][0]), Source.PEOPLE
        draw = Random(f"{self.seed}\ntruth\n{pair.external_id}")
        return draw.choice([Choice.A, Choice.B]), Source.PLANTED


def _characters(pair: Pair) -> int:
    messages = [*pair.prompt.messages, *pair.response_a.messages, *pair.response_b.messages]
    return sum(len(str(message.get("content") or "")) for message in messages)
