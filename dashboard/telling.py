"""The page Reports: its sections, each with its charts and the page that has more."""

from typing import NamedTuple

# Rows beyond these are in the JSON.
MOST_ROWS = 400


class Section(NamedTuple):
    """A report on the page: its name, title and lead, its charts, and the page that has more."""

    name: str
    title: str
    lead: str
    charts: tuple[str, ...]
    page: str


SECTIONS = (
    Section(
        "agreement",
        "Agreement",
        "How far people who answered the same pairs agree, and judges with them.",
        ("coefficients",),
        "agreement",
    ),
    Section(
        "noise",
        "Noise",
        "How often a label is flipped, which labels judges doubt together, and what a robust loss takes.",
        ("flips",),
        "",
    ),
    Section(
        "consistency",
        "Consistency",
        "Whether ratings and choices say the same, and whether preferences run in circles: within one person, between "
        "people, and within each judge.",
        ("consistency",),
        "",
    ),
    Section(
        "judges",
        "Judges",
        "Every judge's card: agreement with people, and the biases that were looked for.",
        ("judges",),
        "judges",
    ),
    Section(
        "routing",
        "Routing",
        "What the router chose and found, and how far judge and labels agree with people without its bias.",
        ("rounds",),
        "audit",
    ),
    Section(
        "disagreement",
        "Disagreement",
        "Whether people differ in what they prefer, and whose answers the labels follow.",
        ("followed",),
        "people",
    ),
    Section(
        "data",
        "Data",
        "Lengths, likeness and coverage of the responses, who wrote and labelled them, and which models win.",
        ("leaderboard", "likeness"),
        "",
    ),
    Section(
        "rationales",
        "Reasons",
        "How many answers say why, whether reasons argue for the label, and whether what they cite is there.",
        ("reasons",),
        "",
    ),
)
BY_NAME = {section.name: section for section in SECTIONS}
