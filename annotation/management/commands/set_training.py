"""`manage.py set_training`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from annotation.commanding import ProjectCommand, text_of_file
from annotation.training import set_training


class Command(ProjectCommand):
    help = "Store a JSON file as a project's practice pairs and questions, in place of what it has."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("file", type=Path, help="JSON in UTF-8; '-' reads the standard input")

    def run(self, **options: Any) -> Mapping[str, Any]:
        project = self.project(options["slug"])
        try:
            value = json.loads(text_of_file(options["file"]))
        except (json.JSONDecodeError, RecursionError) as error:
            raise CommandError(f"{options['file']} is no JSON: {error}.") from None
        training = set_training(project, value)
        questions = len(training.gate.questions) if training.gate else 0
        self.stdout.write(f"{project.slug} has {len(training.practice)} practice pairs and {questions} questions now.")
        if training.gate:
            self.stdout.write(f"{training.gate.needed} right answers pass; tries: {training.gate.tries}.")
        return {
            "slug": project.slug,
            "practice": len(training.practice),
            "questions": questions,
            "needed": training.gate.needed if training.gate else None,
            "tries": training.gate.tries if training.gate else None,
        }
