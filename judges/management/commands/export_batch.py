from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from annotation.commanding import ProjectCommand
from judges.batching import Exported, export_file
from judges.commanding import budget_of, version_of


class Command(ProjectCommand):
    help = (
        "Write the questions to a judge to a file that `vllm run-batch` and OpenAI's Batch API take. "
        "Bring the answers back with import_batch."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("name", help="the judge; its newest version is asked")
        parser.add_argument("--out", required=True, type=Path, metavar="FILE", help="a new file, one request a line")
        parser.add_argument("--limit", type=int, metavar="N", help="at most N pairs")
        parser.add_argument("--budget-usd", metavar="USD", help="no more questions than this pays for at worst")
        parser.add_argument(
            "--again", action="store_true", help="also what earlier files asked and nobody answered, as after a loss"
        )
        parser.add_argument("--fresh", action="store_true", help="ask even where the same request was answered before")

    def run(self, **options: Any) -> Mapping[str, Any]:
        version = version_of(self.project(options["slug"]), options["name"])
        exported = export_file(
            version,
            options["out"],
            limit=options["limit"],
            budget_usd=budget_of(options["budget_usd"]),
            fresh=options["fresh"],
            again=options["again"],
        )
        self._say(options, exported)
        return {
            "run": str(exported.run.pk),
            "judge": version.judge.name,
            "version": version.number,
            "file": str(options["out"]) if exported.batch else None,
            "requests": exported.requests,
            "questions": exported.questions,
            "waiting": exported.waiting,
            "reserved_usd": exported.run.reserved_usd,
        }

    def _say(self, options: Mapping[str, Any], exported: Exported) -> None:
        slug, name, path = options["slug"], options["name"], options["out"]
        if exported.batch is None:
            self.stdout.write(f"No file was written: {exported.run.reason or 'there is nothing new to ask.'}")
            for batch in exported.run.batches.filter(by_hand=True, state="written"):
                self.stdout.write(
                    f"{batch.n_requests} requests are in {batch.path} already. Import their answers: "
                    f"manage.py import_batch {slug} {name} ANSWERS. Or write them again: add --again."
                )
            return
        self.stdout.write(f"{path}: {exported.requests} requests for {exported.questions} questions.")
        self.stdout.write(
            f"Answer them, for example: vllm run-batch -i {path} -o answers.jsonl --model {exported.run.version.model}"
        )
        self.stdout.write(f"Then: manage.py import_batch {slug} {name} answers.jsonl")
        if exported.waiting:
            self.stdout.write(f"{exported.waiting} questions did not fit; export them to another file.")
