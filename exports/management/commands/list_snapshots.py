from typing import Any

from django.db.models import Count

from annotation.commanding import ProjectCommand
from exports.models import Snapshot


class Command(ProjectCommand):
    help = "List a project's snapshots, the newest first."

    def run(self, **options: Any) -> dict[str, Any]:
        mine = Snapshot.objects.filter(project=self.project(options["slug"])).defer("report", "files")
        # A count of others takes the usual order away.
        snapshots = mine.annotate(erased=Count("erasures")).order_by("-created_at")
        listed = [
            {
                "number": snapshot.number,
                "state": snapshot.state,
                "profiles": snapshot.profiles,
                "rows": {name: counts["rows"] for name, counts in snapshot.counts.get("profiles", {}).items()},
                "content_hash": snapshot.content_hash,
                "created_at": snapshot.created_at,
                "folder": snapshot.folder,
                "erased_people": snapshot.erased,
            }
            for snapshot in snapshots
        ]
        for one in listed:
            rows = ", ".join(f"{name} {n:,}" for name, n in one["rows"].items()) or ", ".join(one["profiles"])
            held = one["erased_people"] if one["state"] == "done" else 0
            self.stdout.write(
                f"{one['number']:>4}  {one['created_at']:%Y-%m-%d %H:%M}  {one['state']:<8}  "
                f"{one['content_hash'][:12]:<12}  {rows}{f'  may hold {held:,} erased' if held else ''}"
            )
        if not listed:
            self.stdout.write("No snapshot yet.")
        return {"snapshots": listed}
