from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from annotation.commanding import ProjectCommand, parse_mapping
from annotation.models import Project
from exports.leaving_out import LEFT_OUT_IN_WORDS, LeftOut
from exports.models import Snapshot
from exports.profiles import PROFILES
from exports.settings import BOTH_BAD_RULES, FORMATS, GOLD_RULES, MARGINS, PII_MODES, TERMS_RULES, TIE_RULES
from exports.snapshotting import take_snapshot

TRAINING = """To train on it with TRL:
  from datasets import load_dataset
  from trl import DPOConfig, DPOTrainer
  data = load_dataset({folder!r}, "dpo")
  DPOTrainer("your/model", args=DPOConfig(output_dir="out"), train_dataset=data["train"]).train()"""
# The options whose names are those of the settings.
SETTINGS = (
    "format",
    "gzip",
    "seed",
    "test_share",
    "tie_rule",
    "both_bad_rule",
    "gold_rule",
    "min_agreement",
    "min_votes",
    "min_p_correct",
    "margin",
    "good_from",
    "license",
    "with_project",
    "terms_allowed",
    "pii_rationales",
    "pii_prompts",
    "pii_responses",
    "least_in_group",
)


class Command(ProjectCommand):
    help = "Write a project's labels as a dataset that a trainer loads untouched, with a card and a report."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--profile",
            action="append",
            choices=list(PROFILES),
            metavar="NAME",
            help=f"what the rows are for, several times for several (default: dpo): {', '.join(PROFILES)}",
        )
        parser.add_argument("--out", required=True, type=Path, help="a folder that does not exist yet")
        parser.add_argument("--format", choices=FORMATS, default="both")
        parser.add_argument("--gzip", action="store_true", help="compress JSON lines")
        parser.add_argument("--seed", type=int, default=0, help="of the split, the pseudonyms and the intervals")
        parser.add_argument("--test-share", type=float, default=0.1, help="share of prompt groups kept for testing")
        parser.add_argument(
            "--tie-rule",
            choices=TIE_RULES,
            default="drop",
            help="leave ties out, write each twice with prob 0.5, or take the side that most judges take",
        )
        parser.add_argument(
            "--both-bad-rule", choices=BOTH_BAD_RULES, default="drop", help='leave "both bad" out, or treat it as a tie'
        )
        parser.add_argument(
            "--gold-rule",
            choices=GOLD_RULES,
            default="exclude",
            help="leave out gold and pairs that judges' prompts or practice show, or mark them",
        )
        self._add_limits(parser)
        parser.add_argument(
            "--margin", choices=MARGINS, default="auto", help="what the column margin is in; auto: what every row has"
        )
        parser.add_argument(
            "--weight",
            action="append",
            default=[],
            metavar="CRITERION=W",
            help="make labels again from answers and scores by criterion, under these weights",
        )
        parser.add_argument(
            "--good-from", type=float, help="kto: mean score from which a response of a tie is desirable"
        )
        self._add_privacy(parser)
        parser.add_argument("--license", default="", help="of rows whose imported record names none, such as cc-by-4.0")

    def _add_limits(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--min-agreement", type=float, default=0.0, help="leave out rows on which fewer of the people agree"
        )
        parser.add_argument("--min-votes", type=int, default=0, help="leave out rows that fewer people answered")
        parser.add_argument(
            "--min-p-correct", type=float, default=0.0, help="leave out rows that are known to be less likely right"
        )
        parser.add_argument("--without-simulated", action="store_true", help="leave out what simulated people labelled")
        parser.add_argument(
            "--with-project", action="store_true", help="add all pairs and answers, to make the project again from"
        )

    def _add_privacy(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--allow-license",
            action="append",
            default=[],
            metavar="NAME",
            help="export only pairs of these licences, several times for several; unknown: also those without one",
        )
        parser.add_argument(
            "--generator-terms",
            action="append",
            default=[],
            metavar="MODEL=free|restricted",
            help="whether others may train on what a model wrote",
        )
        parser.add_argument(
            "--terms-allowed",
            choices=TERMS_RULES,
            default="any",
            help="leave out what is known to be restricted, or all that is not known to be free",
        )
        for part, mode in (("rationales", "redact"), ("prompts", "allow"), ("responses", "allow")):
            parser.add_argument(
                f"--pii-{part}",
                choices=PII_MODES,
                default=mode,
                help=f"what personal data and secrets in {part} do (default: {mode})",
            )
        parser.add_argument(
            "--least-in-group",
            type=int,
            default=5,
            metavar="K",
            help="what rows tell of their people is told where at least K people share it (default: 5)",
        )

    def run(self, **options: Any) -> dict[str, Any]:
        out = options["out"]
        if not out.name:
            raise CommandError(f"--out takes the path of a folder to make, not {str(out)!r}.")
        try:
            snapshot = self._take(self.project(options["slug"]), out, options)
        except OSError as error:
            raise CommandError(
                f"The export could not be written to {out}: {error.strerror or error}. Name another folder with --out."
            ) from error
        self._tell(snapshot)
        return {
            "snapshot": str(snapshot.id),
            "number": snapshot.number,
            "folder": snapshot.folder,
            "content_hash": snapshot.content_hash,
            "files": snapshot.files,
            "counts": snapshot.counts,
        }

    def _take(self, project: Project, out: Path, options: Mapping[str, Any]) -> Snapshot:
        return take_snapshot(
            project,
            profiles=tuple(options["profile"] or ["dpo"]),
            out=out,
            progress=lambda stage: self.stderr.write(f"{stage} ..."),
            include_simulated=not options["without_simulated"],
            criterion_weights=_weights(options["weight"]),
            licences_allowed=options["allow_license"],
            generator_terms=parse_mapping(options["generator_terms"], "--generator-terms"),
            **{name: options[name] for name in SETTINGS},
        )

    def _tell(self, snapshot: Snapshot) -> None:
        self.stdout.write(f"Snapshot {snapshot.number} of {snapshot.project} in {snapshot.folder}")
        for file in snapshot.files:
            rows = f"{file['rows']:>9,} rows" if file["rows"] else " " * 14
            self.stdout.write(f"  {rows} {file['bytes']:>12,} bytes  {file['path']}")
        for name, counts in snapshot.counts["profiles"].items():
            self.stdout.write(f"{name}: {counts['rows']:,} rows of {snapshot.counts['pairs']:,} pairs")
            for reason, n in counts["left_out"].items():
                self.stdout.write(f"  left out {n:>7,}  {LEFT_OUT_IN_WORDS[LeftOut(reason)]}")
            if counts["annotator_origins"].get("simulated"):
                self.stdout.write(
                    f"  {counts['annotator_origins']['simulated']:,} rows rest on answers of simulated people"
                )
        for part, found in snapshot.counts["personal_data"].items():
            if n := sum(found["found"].values()):
                self.stdout.write(f"{part}: {n:,} places look like personal data or secrets ({found['mode']})")
        groups = snapshot.counts["groups"]
        if n := groups["pairs_told_in_part"] + groups["pairs_not_told"]:
            self.stdout.write(
                f"{n:,} pairs do not tell all they name of their people: fewer than {groups['least']} share it"
            )
        if snapshot.settings["criterion_weights"]:
            self.stdout.write(
                f"Under these weights {snapshot.counts['relabelled']:,} pairs have another label than without, and "
                f"{snapshot.counts['fragile']:,} would have another under weights a fifth away."
            )
        if "dpo" in snapshot.profiles:
            self.stdout.write(TRAINING.format(folder=snapshot.folder))
        self.stdout.write(f'Load it: datasets.load_dataset("{snapshot.folder}")')


def _weights(given: list[str]) -> dict[str, float]:
    """Return `["clear=1"]` as weights. Raises `CommandError` for one that is no number."""
    weights = {}
    for name, value in parse_mapping(given, "--weight").items():
        try:
            weights[name] = float(value)
        except ValueError:
            raise CommandError(f"--weight {name}={value}: {value!r} is no number.") from None
    return weights
