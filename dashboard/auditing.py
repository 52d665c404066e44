"""The audit of a judge as a page shows it: every figure with its words, interval, n and what it could have shown."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

NOTHING = "\N{EN DASH}"
Values = Mapping[str, Any]


class Row(NamedTuple):
    """One measure, written out. `flagged`: a bias was found by it."""

    title: str
    text: str
    value: str
    interval: str = ""
    n: int | None = None
    detectable: str = ""
    flagged: bool = False


class Group(NamedTuple):
    """Measures that belong together, under a heading, with a sentence about them."""

    title: str
    lead: str
    rows: list[Row]


# How a card's probes are called in the rows they flag.
PROBES = {"position": "first_shown", "length": "longer_gain", "own_family": "own_family_gain", "cycles": "cycles"}
SCORE_NAMES = {
    "expectation": "scores by their mean",
    "mode": "scores by the likeliest",
    "sharpened": "scores by the sharpened mean",
    "stated": "scores as stated",
}
COMPARISON_NAMES = {
    "mean": "mean of both orders",
    "likelihood": "likelihood over both orders",
    "settled": "its answers as they stand",
}


def audit_groups(audit: Values) -> list[Group]:
    """Return the groups of an audit (`Audit.as_dict()`), those without a row left out."""
    card = audit["card"]
    groups = [
        Group("Beside people", "Where people answered the same pairs.", _beside_people(audit, card)),
        Group("How sure it is", "Whether its stated probability can be taken at its word.", _calibration(audit, card)),
        Group("Without any label", "What its own answers tell about it.", _without_labels(audit, card)),
        Group("What draws it", "Biases, each tested; those found beyond chance are marked.", _biases(audit, card)),
        Group("Beside other judges", "", [_companion(one) for one in audit["others"]]),
        Group("Criterion by criterion", "Against people's answers on the same criterion.", _criteria(audit)),
        Group("Standing in for a person", _alt_lead(audit), [_alt_test(one) for one in audit["alt_tests"]]),
        Group("Running it", "", _running(card)),
    ]
    return [group for group in groups if group.rows]


def _beside_people(audit: Values, card: Values) -> list[Row]:
    return [
        _share("Agrees with people", "both take a side", card["preference_two_way"]),
        _share("… with ties as an answer", "", card["preference_three_way"]),
        _plain("Agreement beyond chance (κ)", "0 is chance, 1 is complete", card["kappa"]),
        _share("People among themselves", "both take a side", card["people"]["two_way"]),
        _share("The length rule on the same pairs", "the longer response wins", card["length_rule"]),
        _points("Better than the length rule by", "", card["beats_length_rule"]),
        _share("The learned baseline on the same pairs", "fitted to other pairs' labels", audit["learned_baseline"]),
        _points("Better than the learned baseline by", "", audit["beats_learned_baseline"]),
        _share("A single call", "one order alone, both take a side", card["verdict_two_way"]),
        *(
            _share(f"Where it is {band['low']:.0%} to {band['high']:.0%} sure", "", band["right"])
            for band in audit["bands"]
            if band["right"]["n"]
        ),
    ]


def _calibration(audit: Values, card: Values) -> list[Row]:
    found = audit["calibration"]
    rows = [
        _points("Calibration error", "how far stated confidence is from the share right", found["error_before"]),
        _plain("Brier score", "squared distance to people's votes; lower is better", found["brier_before"], digits=3),
    ]
    if found["method"]:
        rows += [
            _points("Calibration error after fitting", "flattered where fitted to these labels", found["error_after"]),
            _plain("Brier score after fitting", "", found["brier_after"], digits=3),
        ]
    rows.append(_plain("Area under coverage and accuracy", "mean accuracy, surest first", audit["coverage"]["area"]))
    if card["label_mass"] is not None:
        rows.append(Row("Label mass, median", "what the labels held of all probability", f"{card['label_mass']:.1%}"))
    return rows


def _without_labels(audit: Values, card: Values) -> list[Row]:
    rows = [
        _share("Pairs whose answer holds in the other order", "", card["held_order"]),
        _share("Flips", "decided in both orders, and otherwise", card["flips"]),
        _share("Same answer when asked again", "other versions asked alike", audit["repeat_stability"]),
        _share("Same answer among its samples", "several calls of one question", audit["sample_stability"]),
        _share("Ties", "of its pairs", card["preference_ties"]),
        _share("Failed questions", "", card["failed"]),
        _share("… it refused", "", card["refused"]),
        _share("… it answered unreadably", "", card["unreadable"]),
    ]
    cycles = audit["cycles"]
    rows += [
        _share(
            "Triples that contradict themselves (NTR₃)", "such as x over y, y over z, z over x", cycles["violated_3"]
        ),
        _share("… sets of four (NTR₄)", "", cycles["violated_4"]),
        _share("… sets of five (NTR₅)", "", cycles["violated_5"]),
        _share("… circles among triples", "", cycles["circular"]),
        _share("… equalities that clash", "", cycles["equality"]),
    ]
    rows += [
        _share(f"NTR₃ by {COMPARISON_NAMES.get(one['comparison'], one['comparison'])}", "", one["violated_3"])
        for one in audit["remedies"]
    ]
    rows += [_conflict(one) for one in audit["conflicts"]]
    return [row for row in rows if row.n]


def _biases(audit: Values, card: Values) -> list[Row]:
    flagged = {PROBES.get(probe["name"], "") for probe in card["probes"] if probe["flagged"]}
    length, family, test = audit["length"], audit["own_family"], audit["order_test"]
    rows = [
        _share(
            "Picks the first shown", "decisive calls; 50 % is no bias", card["first_shown"], "first_shown" in flagged
        ),
    ]
    if test["p"] is not None:
        flips = test["to_first"] + test["to_second"]
        told = f"of {flips:,} flips {test['to_first']:,} went to the first shown (McNemar)"
        rows.append(Row("Chance of such flips without a bias", told, f"{test['p']:.3f}", n=test["n"]))
    rows += [
        _share("Prefers the longer", "of pairs with two lengths", card["longer_preferred"]),
        _points("… more often than people do", "", card["longer_gain"], "longer_gain" in flagged),
        _plain("Pull of length on it", "coefficient; 0 is none", length["judge"]),
        _plain("… on people", "on the same pairs", length["people"]),
    ]
    if family["family"]:
        name = family["family"]
        rows += [
            _share(f"Pairs with one response of its family ({name})", "", family["own_family_share"]),
            _share("Its own family wins", "ties half", family["win_rate"]),
            _points("… more often than in people", "DBG", card["own_family_gain"], "own_family_gain" in flagged),
        ]
    rows.append(_share("Contradicts itself in triples", "tested as a bias too", card["cycles"], "cycles" in flagged))
    return [row for row in rows if row.n or row.flagged]


def _criteria(audit: Values) -> list[Row]:
    return [
        row
        for one in audit["criteria"]
        for row in (
            _share(one["criterion"], "both take a side", one["two_way"]),
            _share(f"{one['criterion']}, with ties", "", one["three_way"]),
        )
    ]


def _alt_lead(audit: Values) -> str:
    short = next((one["too_few"] for one in audit["alt_tests"] if one["passed"] is None), "")
    told = "Held against each person, beside the others who answered: does it match them at least as well?"
    return f"{told} Not possible yet: {short}." if short else told


def _alt_test(one: Values) -> Row:
    title = f"Allowed to be {one['epsilon']:.0%} worse than a person"
    if one["passed"] is None:
        return Row(title, one["too_few"], "not known", n=one["n_people"])
    text = f"matches the others at least as well on {one['advantage']:.0%} of pairs; n counts people"
    value = "passes" if one["passed"] else "fails"
    return Row(title, text, f"{value}, {one['winning_rate']:.0%} of people", n=one["n_people"])


def _companion(one: Values) -> Row:
    return _share(f"Agrees with {one['judge']} v{one['version']}", "ties counted", one["three_way"])


def _conflict(one: Values) -> Row:
    scores, comparison = SCORE_NAMES.get(one["scores"], one["scores"]), COMPARISON_NAMES.get(one["comparison"], "")
    text = f"{scores} against {comparison or one['comparison']}" + (", from samples" if one["sampled"] else "")
    return _share("Scores contradict comparisons (CR)", text, one["conflict"])


def _running(card: Values) -> list[Row]:
    rows = []
    if card["cost_per_1000"] is not None:
        rows.append(Row("1,000 pairs cost", "over the pairs of known cost", f"${card['cost_per_1000']:,.2f}"))
    if card["seconds_p50"] is not None:
        rows.append(Row("A call takes, median", "", f"{card['seconds_p50']:.2f} s"))
    if card["flagged_pairs"]:
        text = "people decide those, not the judge"
        rows.append(Row("Pairs with a response that speaks to the judge", text, f"{card['flagged_pairs']:,}"))
    return rows


def _share(title: str, text: str, figure: Values, flagged: bool = False) -> Row:
    return _row(title, text, figure, lambda value: f"{100 * value:.1f} %", flagged)


def _points(title: str, text: str, figure: Values, flagged: bool = False) -> Row:
    return _row(title, text, figure, lambda value: f"{100 * value:+.1f} points", flagged)


def _plain(title: str, text: str, figure: Values, *, digits: int = 2) -> Row:
    return _row(title, text, figure, lambda value: f"{value:.{digits}f}", False)


def _row(title: str, text: str, figure: Values, write: Any, flagged: bool) -> Row:
    if figure["value"] is None:
        return Row(title, figure["too_few"] or text, "too few" if figure["too_few"] else NOTHING, n=figure["n"])
    known = [write(figure[end]) for end in ("low", "high") if figure[end] is not None]
    detectable = figure.get("detectable")
    return Row(
        title,
        text,
        write(figure["value"]),
        " to ".join(known) if len(known) == 2 else "",
        figure["n"],
        "" if detectable is None else write(detectable).lstrip("+"),
        flagged,
    )


def calibration_facts(stored: Values) -> Iterable[tuple[str, str]]:
    """Return a version's fitted calibration as names and values for a person; nothing where none was fitted."""
    if not stored:
        return []
    names = {
        "method": "Map",
        "n": "Pairs fitted to",
        "groups": "Prompts among them",
        "ece_before": "Calibration error before",
        "ece_after": "Calibration error after",
        "brier_before": "Brier score before",
        "brier_after": "Brier score after",
        "fitted_at": "Fitted",
    }
    return [(title, _value(stored[key])) for key, title in names.items() if stored.get(key) is not None]


MAPS = {"temperature": "one number for all (temperature)", "isotonic": "a step for each level (isotonic)"}


def _value(value: Any) -> str:
    if value in MAPS:
        return MAPS[value]
    if isinstance(value, str):
        # A time, to the minute.
        return f"{value[:16].replace('T', ' ')} UTC"
    if isinstance(value, float):
        return f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
