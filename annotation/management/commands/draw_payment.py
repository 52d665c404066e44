"""`manage.py draw_payment`."""

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from annotation.commanding import ProjectCommand, manager_of
from annotation.models import Project
from annotation.money.drawing import bonus_csv, draw_up, preview
from annotation.money.payers import Channel, channels_of


class Command(ProjectCommand):
    help = "Draw up a payment of all that a project's people are owed; nothing is sent by it (see: pay)."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--by", help="the manager who draws it up")
        parser.add_argument("--study", help="the platform's study to pay by; without it, by a file")
        parser.add_argument("--dry-run", action="store_true", help="only show the sums, and store nothing")
        parser.add_argument("--out", type=Path, help="with --dry-run, write the bonus file there")

    def run(self, **options: Any) -> Mapping[str, Any]:
        project = self.project(options["slug"])
        channel = _channel(project, options["study"]) if options["study"] else None
        if options["dry_run"]:
            drafts = preview(project, channel)
            total = sum((draft.amount_usd for draft in drafts), Decimal(0))
            text = bonus_csv(drafts)
            if options["out"]:
                options["out"].write_text(text, encoding="utf-8")
            self.stdout.write(f"{text}{len(drafts)} people, {total:.2f} USD. Nothing was stored.")
            return {"slug": project.slug, "people": len(drafts), "total_usd": str(total), "dry_run": True}
        payment = draw_up(project, by=manager_of(project, options["by"]), now=timezone.now(), channel=channel)
        people = payment.lines.count()
        self.stdout.write(f"Payment {payment.number}: {people} people, {payment.total_usd:.2f} USD. Nothing was sent.")
        self.stdout.write(
            f"Go on with: manage.py pay {project.slug} {payment.number} confirm --by NAME --total-usd "
            f"{payment.total_usd:.2f}"
        )
        return {
            "slug": project.slug,
            "payment": payment.number,
            "people": people,
            "total_usd": str(payment.total_usd),
            "dry_run": False,
        }


def _channel(project: Project, study_id: str) -> Channel:
    found = {channel.study_id: channel for channel in channels_of(project)}
    if study_id not in found:
        known = ", ".join(sorted(found)) or "none"
        raise CommandError(f"{project} is connected to no study {study_id!r}. Connected studies: {known}.")
    return found[study_id]
