"""Celery's doors to the runs: ids in, one function called. The rows are the state, so every task may run twice."""

import uuid
from typing import Any

from celery import shared_task
from celery.signals import worker_shutting_down
from django.utils import timezone

from judges import batching, caching, running, working
from judges.models import JudgeRun


@shared_task(name="judges.tasks.judge_chunk")
def judge_chunk(run_id: str, verdict_ids: list[str]) -> None:
    """Answer the waiting ones of some verdicts of a run."""
    running.judge_chunk(uuid.UUID(run_id), [uuid.UUID(verdict_id) for verdict_id in verdict_ids])


@shared_task(name="judges.tasks.judge_on_gpu")
def judge_on_gpu(run_id: str, verdict_ids: list[str]) -> None:
    """Do the same with a model in this process. A name of its own, so that it goes to the workers that have a GPU."""
    running.judge_chunk(uuid.UUID(run_id), [uuid.UUID(verdict_id) for verdict_id in verdict_ids])


@shared_task(name="judges.tasks.sweep_runs")
def sweep_runs() -> None:
    """Put back what dead workers held and send again what lost messages spoke for."""
    running.sweep(now=timezone.now())


@shared_task(name="judges.tasks.submit_batches")
def submit_batches(run_id: str) -> None:
    """Send a run's waiting questions to its server in files."""
    run = JudgeRun.objects.select_related("version__judge").filter(pk=run_id).first()
    if run is not None:
        batching.submit(run)


@shared_task(name="judges.tasks.poll_batches")
def poll_batches() -> None:
    """Ask about the files that servers work on, store the answers of those that ended, and submit what waits."""
    batching.poll(now=timezone.now())


@shared_task(name="judges.tasks.forget_replies")
def forget_replies() -> None:
    """Delete the kept answers that are older than the operator wants them."""
    caching.forget(before=caching.expiry(timezone.now()))


@worker_shutting_down.connect
def begin_nothing_new(**_kwargs: Any) -> None:
    """Let a stopping worker finish the questions it has asked, and begin no others."""
    working.stopping.set()
