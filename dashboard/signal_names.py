"""What signals are called in tables; `routing.signals.deriving` says them as reasons about one pair."""

from routing.signals.wording import COLUMN, DIFFERS, IN_CATEGORY, TAG

NAMES = {
    "flipped": "Changed its answer with the order",
    "asked_both_orders": "Asked in both orders",
    "margin": "How sure the judge says it is",
    "tie": "Called it a tie",
    "picked_first": "Picked the response it saw first",
    "score_gap": "Distance of its scores",
    "self_disagrees": "Contradicts itself when asked in another way",
    "others_disagree": "Other judges answer differently",
    "others_opposed": "Other judges prefer the other response",
    "others_flipped": "Other judges changed with the order",
    "other_judges": "Number of other judges",
    "prob_spread": "How far the judges are apart",
    "jury_margin": "How sure all judges are together",
    "pick_form": "How its pick's model does elsewhere",
    "form_gap": "Distance of the two models elsewhere",
    "others_form": "How its pick's model does with other judges",
    "pick_record": "How its pick does in its other pairs",
    "record_gap": "Distance of the two responses in its other pairs",
    "others_record": "How its pick does with other judges",
    "form_picked": "How often the picked model wins elsewhere",
    "form_passed": "How often the other model wins elsewhere",
    "form_level": "How strong the two models are elsewhere",
    "pairing_form": "How its pick's model does against the other",
    "tie_form": "Ties between the two models elsewhere",
    "judges_form_picked": "How often the picked model wins elsewhere, all judges",
    "judges_form_passed": "How often the other model wins elsewhere, all judges",
    "judges_form_level": "How strong the two models are elsewhere, all judges",
    "judges_pairing_form": "How its pick's model does against the other, all judges",
    "judges_tie_form": "Ties between the two models elsewhere, all judges",
    "record_picked": "How often its pick wins in other pairs",
    "record_passed": "How often the other response wins in other pairs",
    "record_level": "How strong the two responses are in other pairs",
    "judges_record_picked": "How often its pick wins in other pairs, all judges",
    "judges_record_passed": "How often the other response wins in other pairs, all judges",
    "judges_record_level": "How strong the two responses are in other pairs, all judges",
    "group_flips": "Changed with the order on this prompt's other pairs",
    "group_disagreement": "Judges differ on this prompt's other pairs",
    "length_gap": "Difference in length",
    "pick_length": "Picked the longer response",
    "pick_lists": "Picked the response with more lists",
    "words": "Length of the responses",
    "prompt_words": "Length of the prompt",
    "turns": "Turns of the conversation",
    "similarity": "Words the responses share",
    "has_code": "Code",
    "has_digits": "Numbers",
    "refusal": "A response refuses",
    "pick_refuses": "Picked the refusal",
    "empty": "An empty response",
    "language_known": "The language is known",
    "label_mass": "How much of its probability went to a valid answer",
    "learned_differs": "The learned baseline differs",
    "length_pull": "How far its taste for length explains the pick",
    "rare_language": "The prompt is in a rare language",
    "foreign": "A response is in another language",
    "pick_foreign": "Picked the response in another language",
    "asks_form": "What the prompt asks of the form",
    "asks_json": "The prompt asks for JSON",
    "asks_list": "The prompt asks for a list",
    "asks_length": "The prompt sets a length",
    "asks_table": "The prompt asks for a table",
    "asks_code": "The prompt asks for code",
    "prompt_cosine_gap": "One response is closer to the prompt in meaning",
    "cosine": "How alike the responses are in meaning",
}


def signal_name(name: str) -> str:
    """Return what a signal is called in a table."""
    if name in NAMES:
        return NAMES[name]
    if name.startswith(DIFFERS):
        return f"Differs from {name.removeprefix(DIFFERS)}"
    if name.startswith(IN_CATEGORY):
        return f"The prompt's category is {name.removeprefix(IN_CATEGORY)}"
    if name.startswith(TAG):
        return f"Tag of the prompt: {name.removeprefix(TAG).replace('_', ' ')}"
    if name.startswith(COLUMN):
        return f"Column {name.removeprefix(COLUMN)}"
    return name.replace("_", " ").capitalize()
