"""Why a pair makes no row: a closed list, with its words."""

from enum import StrEnum


class LeftOut(StrEnum):
    """Why a pair makes no row."""

    LICENCE = "licence"
    LICENCE_UNKNOWN = "licence_unknown"
    TERMS = "terms"
    TERMS_UNKNOWN = "terms_unknown"
    NO_LABEL = "no_label"
    CONTESTED = "contested"
    FLAGGED = "flagged"
    JUDGES_SPLIT = "judges_split"
    NOT_GUARANTEED = "not_guaranteed"
    TIE = "tie"
    BOTH_BAD = "both_bad"
    UNSURE = "unsure"
    IDENTICAL_TEXT = "identical_text"
    LOW_AGREEMENT = "low_agreement"
    FEW_VOTES = "few_votes"
    LIKELY_WRONG = "likely_wrong"
    SIMULATED_PEOPLE = "simulated_people"
    GOLD = "gold"
    EXAMPLE = "example"
    NO_CRITERIA = "no_criteria"
    NO_MARGIN = "no_margin"
    SHAPE = "shape"
    NO_RATIONALE = "no_rationale"
    OPPOSING_RATIONALE = "opposing_rationale"
    NAMES_A_PLACE = "names_a_place"
    NO_STRENGTH = "no_strength"
    NO_ANSWERS = "no_answers"
    NO_CALLS = "no_calls"
    IN_A_CYCLE = "in_a_cycle"


# What an export may not hold at all: such a pair is in no profile, decided or not.
NEVER_WRITTEN = frozenset({LeftOut.LICENCE, LeftOut.LICENCE_UNKNOWN, LeftOut.TERMS, LeftOut.TERMS_UNKNOWN})

LEFT_OUT_IN_WORDS = {
    LeftOut.LICENCE: "its licence is none of those that the export allows",
    LeftOut.LICENCE_UNKNOWN: "its licence is not known, and the export allows only some",
    LeftOut.TERMS: "the terms of a model that wrote it do not let others train on it",
    LeftOut.TERMS_UNKNOWN: "the terms of a model that wrote it are not known",
    LeftOut.NO_LABEL: "nobody has labelled the pair yet",
    LeftOut.CONTESTED: "people share the first place between two answers",
    LeftOut.FLAGGED: "a response speaks to the judge, and no person has answered",
    LeftOut.JUDGES_SPLIT: "two judges answer differently, and no person has answered",
    LeftOut.NOT_GUARANTEED: "the judge's label lies beyond the plan's guarantee, and no person has answered",
    LeftOut.TIE: "neither response is better",
    LeftOut.BOTH_BAD: "both responses are bad",
    LeftOut.UNSURE: "the pair could not be judged",
    LeftOut.IDENTICAL_TEXT: "both responses are the same text",
    LeftOut.LOW_AGREEMENT: "fewer of the people agree than the export asks for",
    LeftOut.FEW_VOTES: "fewer people answered than the export asks for",
    LeftOut.LIKELY_WRONG: "the label is less likely right than the export asks for",
    LeftOut.SIMULATED_PEOPLE: "simulated people answered it and the export leaves them out",
    LeftOut.GOLD: "its answer was known before: it tests people",
    LeftOut.EXAMPLE: "a judge's prompt or a practice pair shows it",
    LeftOut.NO_CRITERIA: "nobody judged it by a criterion that has a weight",
    LeftOut.NO_MARGIN: "what its winner leads by is not known, and the export asks for it",
    LeftOut.SHAPE: "the consumer's shape has no place for its turns",
    LeftOut.NO_RATIONALE: "nobody gave a reason",
    LeftOut.OPPOSING_RATIONALE: "the only reasons argue for another answer than the label",
    LeftOut.NAMES_A_PLACE: "its reason names a response by its place, which is drawn anew here",
    LeftOut.NO_STRENGTH: "nobody said how strong their preference is",
    LeftOut.NO_ANSWERS: "nobody has answered the pair",
    LeftOut.NO_CALLS: "no judge was asked about the pair",
    LeftOut.IN_A_CYCLE: "the labels of its prompt contradict each other in a circle, so that they order nothing",
}
