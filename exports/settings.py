"""What an export may be asked for; an unknown setting or value is refused with what there is."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from exports.errors import ExportError

FORMATS = ("jsonl", "parquet", "both")
TIE_RULES = ("drop", "both")
# What Snapshot and numpy take as a seed without surprises.
LARGEST_SEED = 2**31 - 1


@dataclass(frozen=True, slots=True)
class SnapshotSettings:
    """The settings of a snapshot.

    `tie_rule` "both" writes a tie twice, once each way, with `prob` 0.5: under the DPO loss the two rows together are a
    soft label of one half. `min_agreement` applies to rows that people labelled.
    """

    format: str = "both"
    seed: int = 0
    test_share: float = 0.1
    tie_rule: str = "drop"
    min_agreement: float = 0.0
    include_simulated: bool = True

    def __post_init__(self) -> None:
        _one_of("format", self.format, FORMATS)
        _one_of("tie_rule", self.tie_rule, TIE_RULES)
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed <= LARGEST_SEED:
            raise ExportError(f"The seed is {self.seed!r}; it takes a whole number from 0 to {LARGEST_SEED}.")
        for name in ("test_share", "min_agreement"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
                raise ExportError(f"{name} is {value!r}; it takes a number from 0 to 1.")
        if not isinstance(self.include_simulated, bool):
            raise ExportError(f"include_simulated is {self.include_simulated!r}; it takes true or false.")

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """Return settings from a mapping such as `Snapshot.settings`. Raises `ExportError` for an unknown name."""
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ExportError(f"Unknown export settings: {', '.join(unknown)}. Known: {', '.join(sorted(known))}.")
        return cls(**values)

    def to_json(self) -> dict[str, Any]:
        """Return the settings as they are stored and written into the files."""
        return asdict(self)


def _one_of(name: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ExportError(f"Unknown {name} {value!r}. Known: {', '.join(known)}.")
