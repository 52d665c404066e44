"""How busy a worker keeps its GPU while it reads, claims and stores: the share of a run in which the engine computes.

The engine is a stand-in that takes a stated time a batch and lets the interpreter go meanwhile, as CUDA does; all else
is the worker's: waiting rows become settled preferences in the configured database (DATABASE_URL, else SQLite), in a
test database that is made and thrown away. A share of 1 would be an engine that never waits for the worker. CPU
milliseconds a question are the steady figure on a busy machine, and what bounds the rate.

    python bench/gpu_working.py [--pairs 1000] [--rates 100 300 1000] [--batch 64]
"""

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
# At so many questions a second (an 8 B model on one GPU, and more) the worker must not be what is waited for.
WANTED_RATE, WANTED_SHARE = 300, 0.85


class StandIn:
    """Answers `rate` questions a second, in batches; `busy` is how long it computed, in seconds."""

    def __init__(self, rate: float, batch: int) -> None:
        self.rate, self.batch = rate, batch
        self.busy = 0.0

    def answer(self, conversations: Sequence[Any], *, stopped: Callable[[], bool] = lambda: False) -> Iterator[Any]:
        """Yield outcomes as batches end."""
        from judges.gpu import Outcome

        for start in range(0, len(conversations), self.batch):
            if stopped():
                return
            places = range(start, min(start + self.batch, len(conversations)))
            begun = time.perf_counter()
            time.sleep(len(places) / self.rate)
            self.busy += time.perf_counter() - begun
            for place in places:
                logprobs = {"A": math.log(0.6), "B": math.log(0.3), "C": math.log(0.05)}
                yield Outcome(place, logprobs=logprobs, prompt_tokens=500, cached_tokens=300, seconds=1 / self.rate)


def main() -> None:
    """Measure one rate after the other; end with status 1 where the GPU would wait for the worker."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--rates", type=float, nargs="+", default=[100.0, 300.0, 1000.0])
    parser.add_argument("--batch", type=int, default=64)
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    import django

    django.setup()
    from django.conf import settings
    from django.db import connection

    settings.OUTBOX_CONSUMERS = {}
    connection.creation.create_test_db(verbosity=0, autoclobber=True)
    try:
        rows = {f"{rate:g}": measured(rate, options.pairs, options.batch) for rate in options.rates}
    finally:
        connection.creation.destroy_test_db(settings.DATABASES["default"]["NAME"], verbosity=0)
    print(f"{'engine, questions/s':>20} {'run, questions/s':>18} {'engine busy':>12} {'CPU ms/question':>16}")
    for rate, row in rows.items():
        print(f"{rate:>20} {row['questions_a_second']:>18.0f} {row['busy']:>12.1%} {row['cpu_ms']:>16.2f}")
    print(json.dumps({"bench": "gpu_working", "database": connection.vendor, "rates": rows}))
    short = [rate for rate, row in rows.items() if float(rate) <= WANTED_RATE and row["busy"] < WANTED_SHARE]
    if short:
        raise SystemExit(f"The engine waits for the worker at {', '.join(short)} questions a second.")


def measured(rate: float, pairs: int, batch: int) -> dict[str, float]:
    """Return what became of a run beside an engine of this rate."""
    from judges import computing
    from judges.models import JudgeRun, Verdict
    from judges.running import work_off
    from tests.builders import make_project
    from tests.judged import make_judge, make_pairs

    project = make_project(f"bench-{rate:g}", with_people=False)
    version = make_judge(project, "bench", kind="gpu", protocol="letter")
    # A model of its own for each rate: nothing of it is in the cache.
    version.prompt_template, version.files_hash = "You compare two responses.\n\nAnswer with a letter.", f"{rate:064g}"
    version.sampling = {"max_tokens": 1, "temperature": 0}
    version.save()
    run = JudgeRun.objects.create(project=project, version=version)
    Verdict.objects.bulk_create(
        Verdict(version=version, run=run, pair=pair, order=order)
        for pair in make_pairs(project, pairs, groups=max(1, pairs // 4), words=300)
        for order in ("ab", "ba")
    )
    engine: Any = StandIn(rate, batch)
    setattr(computing, "_engine_of", lambda _version: engine)  # noqa: B010  (a plain assignment has another type)
    begun, used = time.perf_counter(), time.process_time()
    report = work_off(run)
    seconds, used = time.perf_counter() - begun, time.process_time() - used
    if report.done != 2 * pairs:
        raise SystemExit(f"{report.done} of {2 * pairs} questions are answered: {report.reason}")
    return {
        "questions_a_second": report.done / seconds,
        "busy": engine.busy / seconds,
        "cpu_ms": 1000 * used / report.done,
    }


if __name__ == "__main__":
    main()
