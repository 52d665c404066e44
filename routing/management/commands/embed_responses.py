from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser

from annotation.commanding import ProjectCommand
from judges.commanding import progress_of_run
from routing.signals.extending import save_settings, settings_of
from routing.signals.likening import LOCAL, embed_responses, embedded_of, endpoint_in


class Command(ProjectCommand):
    help = "Fetch the vectors that responses lack from an embeddings endpoint; the local model needs no fetching."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--embedder",
            metavar="WHICH",
            help=f"{LOCAL}, none, or 'URL MODEL' of an OpenAI-compatible endpoint (default: the project's)",
        )

    def run(self, **options: Any) -> Mapping[str, Any]:
        project = self.project(options["slug"])
        settings = settings_of(project)
        if options["embedder"] is not None:
            wanted = "" if options["embedder"] == "none" else options["embedder"]
            settings = save_settings(project, columns=settings.columns, embedder=wanted, tagger=settings.tagger)
        if endpoint_in(settings.embedder) is None:
            named = "the local model, in this process" if settings.embedder == LOCAL else "nothing"
            self.stdout.write(f"{project}: responses are compared by {named}; nothing is fetched.")
            return {"embedder": settings.embedder, "stored": 0}
        with progress_of_run(f"vectors from {settings.embedder}") as progress:
            stored = embed_responses(project, progress=progress)
        there = embedded_of(project, settings.embedder)
        self.stdout.write(f"{stored:,} vectors fetched; {there.done:,} of {there.total:,} responses have one.")
        return {"embedder": settings.embedder, "stored": stored, "done": there.done, "total": there.total}
