"""How far each judge can be trusted: a light card for lists and gates, a full audit for its page and the export."""

from judges.auditing.audits import Audit, Inconsistency, judge_audit, judge_audits, judge_inconsistencies
from judges.auditing.calibration import calibration_error
from judges.auditing.cards import JudgeCard, judge_card, judge_cards

__all__ = [
    "Audit",
    "Inconsistency",
    "JudgeCard",
    "calibration_error",
    "judge_audit",
    "judge_audits",
    "judge_card",
    "judge_cards",
    "judge_inconsistencies",
]
