"""What rows say about the people behind them, told only where enough people of the export share it (k-anonymity).

A record may name a community, a country and more of its people. A combination of these, with the prompt's language that
stands beside it, is told where at least k people who answered share it; else only the community, where k share that;
else nothing. Whether somebody is an expert is told for all or for nobody.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from exports.deciding import Entry
from exports.records import Record

COMMUNITY = "community"
# Parts of an imported record that describe people.
ATTRIBUTES = (
    COMMUNITY, "country", "nationality", "region", "age", "age_group", "gender", "sex", "ethnicity", "education",
    "occupation", "religion", "native_language",
)  # fmt: skip
KNOWN = frozenset(ATTRIBUTES)
Cell = tuple[str, tuple[tuple[str, str], ...]]


class Groups:
    """The people of an export by what its records say of them: fill it with all records, then ask.

    Memory: a reference for each person and combination.
    """

    def __init__(self, least: int) -> None:
        self.least = least
        self._people: dict[Cell, set[str]] = defaultdict(set)
        self._experts: dict[Cell, set[str]] = defaultdict(set)
        self._records: Counter[Cell] = Counter()
        self._tells_experts: bool | None = None

    def add(self, record: Record) -> None:
        """Count the people of a record in each cell that it may be told by."""
        names_something = not KNOWN.isdisjoint(record.meta)
        parts = (ATTRIBUTES, (COMMUNITY,), ()) if names_something else ((),)
        for cell in {_cell(record.meta, record.language, names) for names in parts}:
            self._people[cell].update(vote.person for vote in record.votes)
            self._experts[cell].update(vote.person for vote in record.votes if vote.is_expert)
        if names_something:
            self._records[_cell(record.meta, record.language, ATTRIBUTES)] += 1

    def told_of(self, meta: Mapping[str, Any], language: str) -> tuple[str, ...]:
        """Return the attributes that a record may name."""
        for names in (ATTRIBUTES, (COMMUNITY,)):
            cell = _cell(meta, language, names)
            if cell[1] and len(self._people.get(cell, ())) >= self.least:
                return names
        return ()

    def limited(self, meta: dict[str, Any], language: str) -> dict[str, Any]:
        """Return a record's `meta` without what may not be told; the same one where all of it may."""
        if KNOWN.isdisjoint(meta):
            return meta
        withheld = KNOWN - set(self.told_of(meta, language))
        return {name: value for name, value in meta.items() if name not in withheld} if withheld & set(meta) else meta

    def told(self, entry: Entry) -> Entry:
        """Return an entry as it may be written; the same one where all of it may."""
        record = entry.record
        meta = self.limited(record.meta, record.language)
        votes = record.votes
        if not self._tells_who_is_expert():
            votes = tuple(vote._replace(is_expert=False) if vote.is_expert else vote for vote in votes)
        if meta is record.meta and votes == record.votes:
            return entry
        return entry._replace(record=record.with_texts(meta=meta, votes=votes))

    def limit_report(self, disagreement: dict[str, Any]) -> None:
        """Take groups of too few people out of the report on disagreement, which by itself tells those of five."""
        for by in disagreement["groups"]:
            kept = [group for group in by["groups"] if group["people"] >= self.least]
            by["people_in_small_groups"] += sum(group["people"] for group in by["groups"]) - sum(
                group["people"] for group in kept
            )
            by["groups"] = kept
            if by["worst"] not in {group["name"] for group in kept}:
                by["worst"] = ""
        disagreement["least_in_group"] = max(self.least, disagreement["least_in_group"])

    def as_dict(self) -> dict[str, Any]:
        """Return k, and how many pairs tell whole, in part or not at all what they name of their people."""
        told: Counter[str] = Counter()
        for (language, attributes), n in self._records.items():
            if attributes:
                names = self.told_of(dict(attributes), language)
                told["whole" if names == ATTRIBUTES else "in_part" if names else "not"] += n
        experts = set().union(*self._experts.values()) if self._experts else set()
        return {
            "least": self.least,
            "pairs_told_whole": told["whole"],
            "pairs_told_in_part": told["in_part"],
            "pairs_not_told": told["not"],
            "experts": len(experts) if self._tells_who_is_expert() else None,
        }

    def _tells_who_is_expert(self) -> bool:
        """Say whether every group of experts, and of others, that could be told apart has enough people."""
        if self._tells_experts is None:
            parts = [
                part
                for cell, people in self._people.items()
                for part in (self._experts[cell], people - self._experts[cell])
                if self._experts[cell] and part
            ]
            self._tells_experts = bool(parts) and min(map(len, parts)) >= self.least
        return self._tells_experts


def _cell(meta: Mapping[str, Any], language: str, names: tuple[str, ...]) -> Cell:
    return language, tuple((name, str(meta[name])) for name in names if meta.get(name) not in (None, "", [], {}))
