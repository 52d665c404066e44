"""Four worker processes share a capped run with prices, and one of them is killed."""

import time
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest
from django.db.models import Sum

from judges.defining import add_judge
from judges.models import JudgeRun, RunState, Verdict, VerdictState
from judges.running import resume, start_run, work_off
from tests.builders import make_pair, make_project
from tests.judge_server import JudgeServer
from tests.judge_worker import start_worker

PAIRS, WORKERS, AT_ONCE = 120, 4, 4
CAP = Decimal("0.03")
PRICES: dict[str, Any] = {"price_input_usd_per_million": Decimal(1), "price_output_usd_per_million": Decimal(2)}


def books_of(run: JudgeRun) -> Decimal:
    """Return what the run's verdicts say they cost, lost calls included."""
    cost = run.verdicts.aggregate(cost=Sum("cost_usd"))["cost"] or Decimal(0)
    return cost + sum(Decimal(one.meta.get("lost_usd", "0")) for one in run.verdicts.all())


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_four_workers_and_a_kill_keep_the_cap_and_the_books_at_every_instant() -> None:
    project = make_project(with_people=False)
    for number in range(PAIRS):
        make_pair(project, response_a=f"a long answer {number}", response_b=f"short {number}")
    limits = {
        "TIEBREAK_JUDGE_CONCURRENCY": str(AT_ONCE),
        "TIEBREAK_JUDGE_LEASE_SECONDS": "5",
        "TIEBREAK_JUDGE_TIMEOUT_SECONDS": "3",
    }
    with JudgeServer(latency=0.1) as server:
        version = add_judge(project, "stub", kind="openai", base_url=server.base_url, model="m", **PRICES)
        run = start_run(version, budget_usd=CAP, send=False)
        workers = [start_worker(run.pk, **limits) for _ in range(WORKERS)]
        try:
            promised: list[Decimal] = []
            killed_at, deadline = 0, time.monotonic() + 120
            while any(worker.poll() is None for worker in workers[1:]) and time.monotonic() < deadline:
                run.refresh_from_db()
                promised.append(run.spent_usd + run.reserved_usd)
                if not killed_at and len(server.calls) > 40:
                    workers[0].kill()
                    killed_at = len(server.calls)
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()
        assert killed_at, "the run ended before a worker was killed"
        run.refresh_from_db()
        assert max(promised) <= CAP
        assert (run.state, run.reserved_usd) == (RunState.PAUSED, Decimal(0))
        assert "is used up" in run.reason
        assert 0 < run.spent_usd <= CAP
        assert run.spent_usd == books_of(run)
        done = run.verdicts.filter(state=VerdictState.DONE).count()
        assert 0 < done < 2 * PAIRS
        assert not run.verdicts.filter(state=VerdictState.CLAIMED).exists()
        assert len(server.calls) <= done + AT_ONCE

        report = work_off(resume(run, budget_usd=Decimal(1), send=False))
    assert (report.done, report.failed, report.state) == (2 * PAIRS, 0, RunState.DONE)
    run.refresh_from_db()
    assert (run.reserved_usd, run.spent_usd) == (Decimal(0), books_of(run))
    calls = Counter((call.first, call.second) for call in server.calls)
    assert len(calls) == 2 * PAIRS
    # Paid twice is at most what the killed worker had under way.
    assert sum(calls.values()) - len(calls) <= AT_ONCE
    assert Verdict.objects.filter(run=run, reserved_usd__gt=0).count() == 0
