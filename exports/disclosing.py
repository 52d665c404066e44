"""What whoever takes a dataset has to be told, in sentences: for the card, and for the fields of croissant.json.

Everything is from the export's report, so that both files say the same and nothing that the report does not hold.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from annotation.models import Criterion, Project
from exports.profiles import PROFILES
from exports.settings import UNKNOWN_LICENCE

LIMITATIONS = (
    "A preference says which of two responses a rater would rather have, under these guidelines and at that time. It "
    "does not say that the better response is right, safe or good.",
    "Labels given by a judge carry that judge's biases. Weigh or filter by `label_source`, `p_correct` and `p_wrong`.",
    "Where the router chose what people answer, their pairs are the doubtful ones. Figures over them need weights: "
    "`selection_prob` is the probability that a pair was sent to people.",
    "What judges and people wrote as reasons may name a response by its place; `rationale_order` says which they saw "
    "first, where it is known.",
)
USES = (
    "Training on preferences (DPO and its kin, reward models), and studies of agreement between people and judges.",
    "Not for deciding anything about the people who answered, and not as a benchmark of facts.",
)
MAINTENANCE = (
    "An export is never changed. A correction, an erased person or new answers make another export with another "
    "content hash; `compare_snapshots` tells what differs. What was published before stays until its owner removes it."
)
ORIGINS = {
    "live": "given here by people who signed in; which response stood first was drawn per person and stored",
    "recorded": "imported with the pairs; how they were collected is for their source to say",
    "simulated": "made by a program that errs at a stated rate; no human being gave them",
}


def disclose(project: Project, report: Mapping[str, Any], *, guidelines: str) -> "Disclosure":
    """Return what is disclosed of an export of this report, with the guidelines as they may be shown. One query."""
    names = Criterion.objects.filter(project=project).order_by("name").values_list("name", flat=True)
    return Disclosure(project.title, report, tuple(names), guidelines)


SCREENED = {
    "rationales": "reasons and words of people's own",
    "prompts": "prompts, context and `meta`",
    "responses": "responses",
}


class Disclosure(NamedTuple):
    """What is disclosed of one export; `criteria` are the names of the project's."""

    title: str
    report: Mapping[str, Any]
    criteria: Sequence[str]
    guidelines: str

    @property
    def summary(self) -> str:
        """Return one sentence on what the rows are."""
        counts = self.report["counts"]
        rows = ", ".join(f"{name} {one['rows']:,}" for name, one in counts["profiles"].items())
        return f"preference pairs collected with Tiebreak, {counts['pairs']:,} pairs, rows by profile: {rows}."

    def protocol(self) -> list[str]:
        """Return how people and judges were asked."""
        people = len(self.report["people"]["people"])
        return [
            "A rater chose between two responses (a, b, tie, both bad, cannot judge), or the choice follows from "
            "ratings or an order (`basis`).",
            "To people who answered here (`live`) the order of the responses was drawn for each and stored; names of "
            "models, verdicts and router scores were not shown before their own answer. Of recorded answers their "
            "source says how they were given.",
            f"Criteria beside the whole: {', '.join(self.criteria) or 'none'}.",
            f"{people:,} people answered; they appear under pseudonyms (HMAC-SHA256 with a key of the project, the "
            "seed and the installation).",
        ]

    def origins(self) -> list[tuple[str, int, str]]:
        """Return (origin, number, meaning) of people's answers."""
        return [(origin, n, ORIGINS[origin]) for origin, n in self.report["agreement"]["votes_by_origin"].items()]

    def tools(self) -> list[str]:
        """Return the judges, with their version and the hash of their prompt."""
        return [
            f"{judge['judge']} version {judge['version']} ({judge['kind']}"
            + (f", {judge['protocol']}" if judge["protocol"] else "")
            + (f", prompt {judge['prompt_hash']})" if judge["prompt_hash"] else ", prompt not known)")
            for judge in self.report["judges"]
        ]

    @property
    def sampled(self) -> list[str]:
        """Return on what the figures were counted, where that is not everything."""
        return [self.report["sample"]["sentence"]] if "sample" in self.report else []

    def analysis(self) -> list[str]:
        """Return how far people agree, and how often an answer is flipped."""
        people = self.report["agreement"]["people"]
        flips = self.report["noise"]["votes"]["flip_rate"]
        figures = [people["three_way"], people["alpha"], people["ac1"], flips]
        return [*self.sampled, *(figure["sentence"] for figure in figures if figure.get("sentence"))]

    def biases(self) -> list[str]:
        """Return what is known of how labels lean: routing, length, position."""
        routing, data = self.report["routing"], self.report["data"]
        said = []
        if routing["plans"]:
            said.append(
                "A router chose the pairs that people answered: where the judge was most likely wrong, and an audit "
                "slice at random. `selection_prob` and `is_audit` say which; weigh by them."
            )
        figures = [part["longer_chosen"] for part in data["length_bias"] if part["labels"] == "all"]
        said += [figure["sentence"] for figure in figures if figure.get("sentence")]
        said += [
            f"{judge['judge']} version {judge['version']}: {judge['first_shown']['sentence']}"
            for judge in self.report["judges"]
            if judge["first_shown"].get("sentence")
        ]
        return [*self.sampled, *said] if said else ["No bias could be measured on so little data."]

    def citation(self, data_hash: str) -> str:
        """Return how to cite the export: by its title and the hash of its data files (BibTeX)."""
        title = self.title.replace("{", "").replace("}", "")
        return (
            f"@misc{{tiebreak-{data_hash[:12]},\n  title = {{{title}}},\n  howpublished = {{Preference dataset "
            f"collected with Tiebreak}},\n  note = {{SHA-256 over the data files: {data_hash}}}\n}}"
        )

    def fields(self) -> dict[str, Any]:
        """Return the fields of Croissant's vocabulary for responsible AI, by their names in it."""
        votes = sum(n for _, n, _ in self.origins())
        answers = "; ".join(f"{n:,} {origin}: {meaning}" for origin, n, meaning in self.origins())
        return {
            "dataCollection": f"Pairs of responses were imported and labelled with Tiebreak. People's answers: "
            f"{answers or 'none'}.",
            "dataCollectionType": ["Manual Human Curator", *(["Software Collection"] if self.report["judges"] else [])],
            "dataCollectionMissingData": "Pairs that make no row are counted by reason in `report.json`: "
            + "; ".join(
                f"{name}: {_tally(one['left_out'])}" for name, one in self.report["counts"]["profiles"].items()
            ),
            "dataAnnotationProtocol": self.protocol(),
            "dataAnnotationPlatform": ["Tiebreak"],
            "dataAnnotationAnalysis": self.analysis(),
            "annotationsPerItem": f"{votes:,} answers of people on {self.report['counts']['pairs']:,} pairs; "
            "`n_votes` says how many decided a row.",
            "machineAnnotationTools": self.tools(),
            "dataBiases": self.biases(),
            "dataLimitations": list(LIMITATIONS),
            "dataUseCases": list(USES),
            "personalSensitiveInformation": personal_data(self.report),
            "annotatorDemographics": demographics(self.report),
            "dataReleaseMaintenancePlan": MAINTENANCE,
        }


def personal_data(report: Mapping[str, Any]) -> list[str]:
    """Return what was done about personal data, with counts."""
    return [
        "Beside what texts say, no file has a name, an address, an account or a database id of a person who answered. "
        "No row has a time; the report has days at most.",
        "Searched for e-mail addresses, telephone numbers, bank accounts, cards, public IP addresses and secrets such "
        "as API keys, by patterns and check digits. Names and descriptions of people are not found that way.",
        *(_screened(part, found) for part, found in report["counts"]["personal_data"].items()),
    ]


def _screened(part: str, found: Mapping[str, Any]) -> str:
    n = sum(found["found"].values())
    if not n:
        return f"In {SCREENED[part]} nothing was found ({found['mode']})."
    done = "replaced by its kind in brackets" if found["mode"] == "redact" else "left as it is"
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in found["found"].items())
    return f"In {SCREENED[part]} {n:,} places were found in {found['texts']:,} texts and {done}: {kinds}."


def demographics(report: Mapping[str, Any]) -> list[str]:
    """Return what the files say of the people who answered."""
    groups = report["counts"]["groups"]
    least = groups["least"]
    told = f"{groups['pairs_told_whole']:,} pairs tell it whole, {groups['pairs_told_in_part']:,} only the community, "
    experts = (
        "Who is an expert is not told." if groups["experts"] is None else f"{groups['experts']:,} people are experts."
    )
    return [
        "Tiebreak asks nobody for demographic data. What the imported records say of their people (`community`, and "
        f"parts of `meta` such as `country`) is told where at least {least:,} people who answered share the "
        f"combination: {told}{groups['pairs_not_told']:,} nothing. {experts}"
    ]


def licences_of(counts: Mapping[str, Any], profile: str) -> dict[str, int]:
    """Return how many rows of a profile are under each licence, `unknown` where none is stated.

    A profile without a column for it tells of none: all pairs of the export are counted instead.
    """
    if not any(column.name == "license" for column in PROFILES[profile].columns):
        return dict(counts["licences"])
    mine = counts["profiles"][profile]
    stated: Counter[str] = Counter(mine["licenses"])
    stated[UNKNOWN_LICENCE] += mine["rows"] - stated.total()
    return dict(sorted((+stated).items()))


def all_licences(counts: Mapping[str, Any]) -> list[str]:
    """Return the licences of all rows of an export: whoever takes it is bound by each, not free to choose one."""
    return sorted({name for profile in counts["profiles"] for name in licences_of(counts, profile)})


def _tally(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in counts.items()) or "none"
