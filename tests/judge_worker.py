"""A worker process for tests: it works on a run as a Celery worker does, without a broker between.

Started as `python -m tests.judge_worker RUN_ID`.
"""

import os
import subprocess
import sys
import time
import uuid
from pathlib import Path
from urllib.parse import quote

ROOT = Path(__file__).resolve().parents[1]


def start_worker(run_id: uuid.UUID, **environment: str) -> "subprocess.Popen[bytes]":
    """Start a process that works on a run in this test's PostgreSQL database."""
    from django.db import connection

    database = connection.settings_dict
    password = f":{quote(database['PASSWORD'], safe='')}" if database["PASSWORD"] else ""
    place = f"{database['HOST'] or '127.0.0.1'}:{database['PORT'] or 5432}"
    url = f"postgres://{quote(database['USER'], safe='')}{password}@{place}/{database['NAME']}"
    return subprocess.Popen(
        [sys.executable, "-m", "tests.judge_worker", str(run_id)],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", "DATABASE_URL": url, **environment},
        cwd=ROOT,
    )


def main(run_id: uuid.UUID) -> None:
    """Answer a run's waiting verdicts, and look again as the scheduler does, until the run is no longer running."""
    import django

    django.setup()
    from django.utils import timezone

    from judges.models import JudgeRun, RunState, Verdict, VerdictState
    from judges.running import judge_chunk
    from judges.working import release_expired

    while JudgeRun.objects.filter(pk=run_id, state=RunState.RUNNING).exists():
        release_expired(now=timezone.now())
        waiting = Verdict.objects.filter(run=run_id, state=VerdictState.PENDING).order_by("pair_id", "order")
        judge_chunk(run_id, list(waiting.values_list("pk", flat=True)))
        time.sleep(0.1)


if __name__ == "__main__":
    main(uuid.UUID(sys.argv[1]))
