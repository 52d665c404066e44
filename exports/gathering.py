"""One pass over a project: every pair read, decided upon and put on disk, with what all rows of the export share."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from django.db.models import Max, Min
from numpy.typing import NDArray

from annotation.models import Criterion, Project, Rating
from exports.deciding import Decision, Entry, decide, margin_of
from exports.errors import ExportError
from exports.grouping import Groups
from exports.leaving_out import NEVER_WRITTEN
from exports.profiles.annotators import full_name
from exports.profiles.contract import Context, Profile
from exports.profiles.reasoning import opposing_rationales
from exports.reading import read_records
from exports.records import Message, Record
from exports.screening import Gate
from exports.settings import UNKNOWN_LICENCE, SnapshotSettings
from exports.splitting import SplitKeys, Splitter
from exports.spooling import Spool

# In this order of preference where the export leaves it open: a strength was said of the pair as a whole.
AUTOMATIC_MARGINS = ("strength", "scores")


class Gathered(NamedTuple):
    """What a pass gave: whether each entry of the spool is tested, the rows' context, counts over all decided pairs.

    `gate` knows what texts held of personal data, `groups` what may be told of people. `relabelled` and `fragile` are
    under weights of criteria: labels that these turned, and those that weights a fifth larger or smaller would turn.
    `licences` counts the pairs that may be in a file.
    """

    tested: NDArray[np.bool_]
    context: Context
    opposing_rationales: int
    relabelled: int
    fragile: int
    licences: dict[str, int]
    gate: Gate
    groups: Groups

    def safe_report(self, figures: dict[str, Any]) -> dict[str, Any]:
        """Return the report's figures without texts and groups that rows do not show either."""
        self.groups.limit_report(figures["disagreement"])
        safe: dict[str, Any] = self.gate.replaced(figures, "prompts")
        return safe


def gather(
    project: Project, profiles: Sequence[Profile], settings: SnapshotSettings, spool: Spool, *, key: bytes
) -> Gathered:
    """Fill the spool from the database. Caller holds the consistent read. Holds one batch of pairs at a time.

    Raises `ExportError` where texts hold what the settings block.
    """
    ranges = score_ranges(project)
    splitter, survey = Splitter(), _Survey(settings)
    gate, groups = Gate(settings), Groups(settings.least_in_group)
    for record in read_records(project, key=key, with_calls=any(profile.wants_calls for profile in profiles)):
        entry = Entry(record, decide(record, settings, ranges))
        if entry.decision.left_out not in NEVER_WRITTEN:
            record = gate.screened(record)
            entry = entry if record is entry.record else Entry(record, decide(record, settings, ranges))
            groups.add(record)
        spool.add(entry)
        splitter.add(SplitKeys(record.prompt_group, record.prompt_hash, (record.a.text, record.b.text), _asked(record)))
        survey.add(entry)
    gate.refuse_blocked()
    components = splitter.components(lambda place: _asked(spool.get(place).record))
    tested = splitter.split(components, test_share=settings.test_share, seed=settings.seed)
    licences = dict(sorted(survey.licences.items()))
    return Gathered(
        tested, survey.context(), survey.opposing, survey.relabelled, survey.fragile, licences, gate, groups
    )


def _asked(record: Record) -> str:
    """Return what tells a prompt from others: its turns without the system's, which many prompts share."""
    said: list[Message] = [message for message in record.prompt if message["role"] != "system"]
    return "\n\n".join(message["content"] for message in said)


def check_weights(project: Project, settings: SnapshotSettings) -> None:
    """Raise `ExportError` for a weight of a criterion that the project does not have. One query if there are any."""
    if settings.criterion_weights:
        known = sorted(Criterion.objects.filter(project=project).values_list("name", flat=True))
        if unknown := sorted(set(settings.criterion_weights) - set(known)):
            raise ExportError(
                f"{project.slug} has no criterion {', '.join(unknown)}. Criteria: {', '.join(known) or 'none'}."
            )


def score_ranges(project: Project) -> dict[str, float]:
    """Return the largest difference of two scores, by criterion: its scale's, else that of what was given."""
    given = Rating.objects.filter(criterion__project=project).values_list("criterion__name").order_by("criterion__name")
    ranges = {name: high - low for name, low, high in given.annotate(Min("value"), Max("value"))}
    for criterion in Criterion.objects.filter(project=project, scale_min__isnull=False, scale_max__isnull=False):
        ranges[criterion.name] = (criterion.scale_max or 0.0) - (criterion.scale_min or 0.0)
    return ranges


class _Survey:
    """Notes what all decided pairs have, so that a column is in every row or in none."""

    def __init__(self, settings: SnapshotSettings) -> None:
        self.opposing = self.relabelled = self.fragile = 0
        self.licences: Counter[str] = Counter()
        self._settings = settings
        self._with_margin = dict.fromkeys(AUTOMATIC_MARGINS, True)
        self._has_tools = False
        self._people: set[str] = set()
        self._judges: set[str] = set()

    def add(self, entry: Entry) -> None:
        record, decision = entry
        if decision.left_out in NEVER_WRITTEN:
            return
        self.licences[record.license or self._settings.license or UNKNOWN_LICENCE] += 1
        self._people.update(vote.person for vote in record.votes)
        self._judges.update(full_name(one) for one in record.judgements)
        self._has_tools |= bool(record.tools)
        if decision.winners:
            self.opposing += opposing_rationales(record, _choice(decision))
            self.relabelled += decision.is_relabelled
            self.fragile += decision.is_fragile
            for kind in AUTOMATIC_MARGINS:
                if self._with_margin[kind]:
                    self._with_margin[kind] = margin_of(record, decision, decision.winners[0], kind) is not None

    def context(self) -> Context:
        asked = self._settings.margin
        found = [kind for kind, complete in self._with_margin.items() if complete]
        margin = {"auto": found[0] if found else "", "none": ""}.get(asked, asked)
        return Context(
            self._settings, margin, self._has_tools, tuple(sorted(self._people)), tuple(sorted(self._judges))
        )


def _choice(decision: Decision) -> str:
    return decision.label.choice if decision.label else ""
