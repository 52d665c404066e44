"""What consumers take: each profile turns records into rows of one fixed schema (`exports.profiles.contract`)."""

from collections.abc import Sequence

from exports.errors import ExportError
from exports.leaving_out import LeftOut
from exports.profiles.annotators import ANNOTATIONS, HELPSTEER3, MULTIPREF
from exports.profiles.columns import Column, Row
from exports.profiles.contract import Context, Profile
from exports.profiles.dpo import CURRICULUM, DPO, REWARD
from exports.profiles.icai import ICAI
from exports.profiles.judge_runs import JUDGE_RUNS
from exports.profiles.kto import KTO
from exports.profiles.legacy import HH, LISTS, ULTRAFEEDBACK
from exports.profiles.listwise import LISTWISE
from exports.profiles.rationales import RATIONALE, RATIONALE_SFT
from exports.profiles.trainers import LLAMA_FACTORY, OPENAI, SWIFT

PROFILES: dict[str, Profile] = {
    profile.name: profile
    for profile in (
        DPO,
        REWARD,
        KTO,
        LISTWISE,
        CURRICULUM,
        RATIONALE,
        RATIONALE_SFT,
        ANNOTATIONS,
        JUDGE_RUNS,
        OPENAI,
        LLAMA_FACTORY,
        SWIFT,
        HELPSTEER3,
        MULTIPREF,
        ICAI,
        ULTRAFEEDBACK,
        LISTS,
        HH,
    )
}


def profiles_named(names: Sequence[str]) -> list[Profile]:
    """Return profiles in the order of the registry, each once. Raises `ExportError` with those there are."""
    if not names:
        raise ExportError(f"An export needs a profile. Known: {', '.join(PROFILES)}.")
    if unknown := sorted(set(names) - set(PROFILES)):
        raise ExportError(f"Unknown profile {', '.join(unknown)}. Known: {', '.join(PROFILES)}.")
    return [profile for name, profile in PROFILES.items() if name in names]


__all__ = ["PROFILES", "Column", "Context", "LeftOut", "Profile", "Row", "profiles_named"]
