"""Which pairs reports count: all of a project's, or, where it has very many, a random sample of its prompt groups.

Reports hold what they count in memory, so above `REPORT_PAIRS` they count a sample: whole groups, since intervals draw
groups again. Groups stand in a random order that is the same in every database (`Prompt.draw`), and the project's seed
says where in it the sample begins. So one number, stored with each prompt, narrows every query.
"""

from typing import Any, NamedTuple

from django.conf import settings
from django.db.models import Case, Count, Q, Value, When

from annotation.models import Pair, Project
from annotation.models.pairs import draw_of


class Sample(NamedTuple):
    """Whole prompt groups of a project: `pairs` of its `of_pairs`, `groups` of its `of_groups`, drawn by `seed`.

    The groups are those with a draw from `first` on to `last`; the order goes round, so `last` may be the lower one.
    """

    pairs: int
    of_pairs: int
    groups: int
    of_groups: int
    seed: int
    first: int
    last: int

    def of_prompt(self, path: str) -> Q:
        """Return the condition that the prompt at this path (`pair__prompt`; '' for its own row) is in the sample."""
        draw = f"{path}__draw" if path else "draw"
        after, before = Q((f"{draw}__gte", self.first)), Q((f"{draw}__lte", self.last))
        return after & before if self.first <= self.last else after | before

    @property
    def sentence(self) -> str:
        """Return what the sample is, for whoever reads its figures."""
        return (
            f"Counted on a random sample: {self.pairs:,} of {self.of_pairs:,} pairs, which are all pairs of "
            f"{self.groups:,} of {self.of_groups:,} prompt groups (seed {self.seed})."
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the sample as JSON values."""
        told = ("pairs", "of_pairs", "groups", "of_groups", "seed", "sentence")
        return {name: getattr(self, name) for name in told}


def sample_of(project: Project) -> Sample | None:
    """Return the sample that reports on a project count; None where they count all of it. At most four queries.

    Groups are taken in their order until `REPORT_PAIRS` pairs are reached, so only the last group may add to that.
    """
    pairs, most = Pair.objects.filter(project=project), settings.REPORT_PAIRS
    of_pairs = pairs.count()
    if of_pairs <= most:
        return None
    first = draw_of(f"seed {project.seed}")
    turn = Case(When(prompt__draw__gte=first, then=Value(0)), default=Value(1))
    last = pairs.order_by(turn, "prompt__draw").values_list("prompt__draw", flat=True)[most - 1]
    whole = Sample(0, of_pairs, 0, 0, project.seed, first, last)
    counts = {"pairs": Count("id"), "groups": Count("prompt__group", distinct=True)}
    drawn = pairs.filter(whole.of_prompt("prompt")).aggregate(**counts)
    if drawn["pairs"] == of_pairs:
        # The last group that was taken held all that was left.
        return None
    return whole._replace(**drawn, of_groups=pairs.aggregate(groups=counts["groups"])["groups"])


def in_sample(sample: Sample | None, path: str) -> Q:
    """Return the condition for `filter` that narrows rows to a sample by the path to their prompt; none without one."""
    return Q() if sample is None else sample.of_prompt(path)
