"""How long a plan takes from stored verdicts, and how much memory: 10,000 pairs, and ten times as many.

A made-up project (two judges asked in both orders, texts of 50 to 300 words, answers of people on 2,000 pairs) is put
straight into a test database of its own, which is thrown away. Then a fresh process, as a worker would be, draws the
first plan, draws it again with everything kept, and draws once more after one pair came with its verdicts. The routes
of the same seed must be the same byte for byte.

    python bench/routing_speed.py [--pairs 10000] [--large 100000]
"""

import argparse
import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
WANTED_FIRST_SECONDS, WANTED_AGAIN_SECONDS, WANTED_MB = 60.0, 5.0, 2000.0
# Sorting grows a little faster than the pairs do; twice their ratio would be another kind of algorithm.
WANTED_GROWTH = 1.5
ANSWERED = 2000
PAIRS_PER_BATCH = 2000
BUDGET, SEED = "25%", 7


def main() -> None:
    """Measure both sizes, each in processes of its own, print a table and one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=10_000)
    parser.add_argument("--large", type=int, default=100_000, help="0: leave it out")
    parser.add_argument("--profile", action="store_true", help="print where the time of each draw goes")
    parser.add_argument("--step", choices=["fill", "draw", "drop"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        {"fill": fill, "draw": draw, "drop": drop}[options.step](options)
        return
    # Throws the database away also when this is told to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    rows = [measured(pairs, options) for pairs in (options.pairs, options.large) if pairs]
    print("\nSeconds, with those of the processor in brackets: on a busy machine they are the steadier figure.")
    print(f"{'pairs':>8} {'first plan':>17} {'again':>17} {'one new pair':>17} {'peak MB':>8}  same queue  predictor")
    for row in rows:
        times = [f"{row[f'{name}_s']:.1f} ({row[f'{name}_cpu_s']:.1f})" for name in ("first", "again", "one_more")]
        print(
            f"{row['pairs']:>8,} {times[0]:>17} {times[1]:>17} {times[2]:>17} {row['peak_mb']:>8,.0f}  "
            f"{'yes' if row['same_queue'] else 'NO':<10}  {row['predictor']}"
        )
    checks = verdict_on(rows)
    for name, (value, wanted, kept) in checks.items():
        print(f"{'ok  ' if kept else 'MISS'} {name}: {value:.2f} (wanted: at most {wanted:g})")
    print(json.dumps({"sizes": rows, "checks": {name: kept for name, (_, _, kept) in checks.items()}}))


def verdict_on(rows: list[dict[str, Any]]) -> dict[str, tuple[float, float, bool]]:
    """Return each figure with what is wanted of it and whether it is kept."""
    small = rows[0]
    wanted = {
        f"first plan of {small['pairs']:,} pairs, seconds": (small["first_s"], WANTED_FIRST_SECONDS),
        f"the same again with everything kept, {small['pairs']:,} pairs, seconds": (
            small["again_s"],
            WANTED_AGAIN_SECONDS,
        ),
        "plans that differ though the seed is the same": (float(sum(not row["same_queue"] for row in rows)), 0.0),
        "most memory, MB": (max(row["peak_mb"] for row in rows), WANTED_MB),
    }
    for large in rows[1:]:
        growth = (large["first_s"] / small["first_s"]) / (large["pairs"] / small["pairs"])
        wanted["time of the first plan, growth over growth of the pairs"] = (growth, WANTED_GROWTH)
    return {name: (value, limit, value <= limit) for name, (value, limit) in wanted.items()}


def measured(pairs: int, options: argparse.Namespace) -> dict[str, Any]:
    """Fill a database, draw in a fresh process, throw the database away."""
    folder = tempfile.mkdtemp(prefix="tiebreak-bench-")
    environment = {**os.environ, "TIEBREAK_VAR": folder}
    command = [sys.executable, __file__, "--pairs", str(pairs), *(["--profile"] if options.profile else [])]
    try:
        subprocess.run([*command, "--step", "fill"], env=environment, check=True)
        drawn = subprocess.run([*command, "--step", "draw"], env=environment, check=True, stdout=subprocess.PIPE)
        subprocess.run([*command, "--step", "drop"], env=environment, check=True)
    finally:
        shutil.rmtree(folder)
    row: dict[str, Any] = json.loads(drawn.stdout.splitlines()[-1])
    return row


def set_up(*, keep: bool) -> None:
    """Load the application and connect to its test database, new or as the step before left it."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    os.environ.setdefault("LOG_LEVEL", "ERROR")
    import django

    django.setup()
    from django.conf import settings
    from django.db import connection

    settings.OUTBOX_CONSUMERS = {}
    # Not `serialize`: Django would hold the whole database as one text for tests to put back, which no worker does.
    connection.creation.create_test_db(verbosity=0, autoclobber=True, keepdb=keep, serialize=False)


def drop(_: argparse.Namespace) -> None:
    """Throw the test database away."""
    set_up(keep=True)
    from django.conf import settings
    from django.db import connection

    connection.creation.destroy_test_db(settings.DATABASES["default"]["NAME"], verbosity=0)


# --- Drawing --------------------------------------------------------------------------------------------------------


def draw(options: argparse.Namespace) -> None:
    """Draw the plan three times and print one JSON object."""
    set_up(keep=True)
    from annotation.models import Project
    from routing.plans.planning import Budget, draw_plan

    project = Project.objects.get()
    timed = Timed(options.profile)

    def plan() -> Any:
        return draw_plan(project, budget=Budget.parse(BUDGET), judge="steady", seed=SEED)

    first, first_s, first_cpu_s = timed(plan)
    again, again_s, again_cpu_s = timed(plan)
    same = queue_hash(first) == queue_hash(again)
    again.delete()
    Simulated(project, 1, 1, first_number=options.pairs).write()
    _, one_more_s, one_more_cpu_s = timed(plan)
    row = {
        "pairs": options.pairs,
        "first_s": first_s,
        "first_cpu_s": first_cpu_s,
        "again_s": again_s,
        "again_cpu_s": again_cpu_s,
        "one_more_s": one_more_s,
        "one_more_cpu_s": one_more_cpu_s,
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000, 1),
        "same_queue": same,
        "predictor": first.predictor_kind,
    }
    print(json.dumps(row))


class Timed:
    """Calls a function and returns its result with its seconds and its CPU seconds; profiles it if asked."""

    def __init__(self, profile: bool) -> None:
        self.profile = profile

    def __call__(self, work: Callable[[], Any]) -> tuple[Any, float, float]:
        """Call it; a profile goes to standard error."""
        import cProfile
        import pstats

        profiler = cProfile.Profile(time.process_time)
        started, cpu = time.perf_counter(), time.process_time()
        result = profiler.runcall(work) if self.profile else work()
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
        if self.profile:
            pstats.Stats(profiler, stream=sys.stderr).sort_stats("cumulative").print_stats(60)
        return result, round(seconds, 2), round(cpu_seconds, 2)


def queue_hash(plan: Any) -> str:
    """Return a hash of all that a plan decided: every route with its odds, price and reasons."""
    digest = hashlib.sha256()
    routes = plan.routes.order_by("pair_id").values_list(
        "pair_id",
        "source",
        "p_wrong",
        "expected_gain",
        "cost_usd",
        "expected_usd",
        "expected_seconds",
        "selection_prob",
        "why",
    )
    for row in routes.iterator(chunk_size=5000):
        digest.update(repr(row).encode())
    return digest.hexdigest()


# --- The made-up project --------------------------------------------------------------------------------------------


def fill(options: argparse.Namespace) -> None:
    """Write the project into a new test database."""
    set_up(keep=False)
    from tests.builders import make_project

    project = make_project("bench", with_people=False)
    Simulated(project, options.pairs, 1, first_number=0).write()


class Simulated:
    """Pairs with texts, verdicts in both orders, what they come to, and people's answers on some.

    The better response wins more often the further apart the two are; a judge leans to the longer one and, when the two
    are close, to the one it saw first.
    """

    def __init__(self, project: Any, pairs: int, seed: int, *, first_number: int) -> None:
        self.project, self.pairs, self.first_number = project, pairs, first_number
        self.rng = np.random.default_rng([seed, first_number])
        vocabulary = np.random.default_rng(0)
        letters = np.array(list("abcdefghijklmnoprstuvw"))
        self.words = np.array(["".join(vocabulary.choice(letters, size=n)) for n in vocabulary.integers(2, 10, 5000)])

    def write(self) -> None:
        """Write everything, some thousand pairs at a time."""
        from annotation.models import Origin, Rater, RaterKind

        judges = {name: self.judge(name) for name in ("steady", "hasty")}
        person, _ = Rater.objects.get_or_create(
            project=self.project, kind=RaterKind.PERSON, name="person", defaults={"origin": Origin.RECORDED}
        )
        numbers = iter(range(self.first_number, self.first_number + self.pairs))
        while batch := list(islice(numbers, PAIRS_PER_BATCH)):
            self.write_batch(batch, judges, person)

    def judge(self, name: str) -> Any:
        """Return the recorded judge of that name."""
        from tests.judged import make_judge

        stored = self.project.judges.filter(name=name).first()
        return stored.latest() if stored else make_judge(self.project, name)

    def write_batch(self, numbers: list[int], judges: dict[str, Any], person: Any) -> None:
        """Write these pairs: two to a prompt, three responses of which the pairs share one."""
        from annotation.models import Pair, Preference, Prompt, Response
        from judges.averaging import VerdictValues, settle
        from judges.models import Verdict, VerdictState

        prompts, responses, pairs, verdicts, preferences = [], [], [], [], []
        shared: Any = None
        for number in numbers:
            if number % 2 == 0 or shared is None:
                prompt = Prompt(
                    project=self.project,
                    messages=self.messages("user", 30),
                    content_hash=f"p{number}",
                    group=f"group {number // 2}",
                    language="en",
                    category=f"kind {number // 2 % 7}",
                )
                prompts.append(prompt)
                shared = self.response(prompt, number, "model 0")
                responses.append(shared)
            other = self.response(shared.prompt, number, f"model {1 + number % 4}")
            responses.append(other)
            pair = Pair(
                project=self.project,
                prompt=shared.prompt,
                response_a=shared,
                response_b=other,
                external_id=f"{number}",
            )
            pairs.append(pair)
            gap = self.rng.normal(0, 1)
            longer = np.sign(len(shared.messages[0]["content"]) - len(other.messages[0]["content"]))
            for name, noise in (("steady", 0.7), ("hasty", 1.2)):
                lean = gap + 0.3 * longer + self.rng.normal(0, noise)
                values = []
                for order, first in (("ab", 0.3), ("ba", -0.3)):
                    prob_a = float(1 / (1 + np.exp(-(lean + first))))
                    choice = "a" if prob_a > 0.5 else "b"
                    values.append(VerdictValues(order, choice, prob_a))
                    verdicts.append(
                        Verdict(
                            version=judges[name],
                            pair=pair,
                            order=order,
                            state=VerdictState.DONE,
                            choice=choice,
                            prob_a=prob_a,
                            label_mass=1 - 0.1 * self.rng.random(),
                            rationale="It answers what was asked, and the other does not. " * 4,
                        )
                    )
                settled = settle(values)
                preferences.append(
                    Preference(
                        pair=pair,
                        rater=judges[name].rater,
                        choice=settled.choice,
                        prob_a=settled.prob_a,
                        meta={"consistent": settled.consistent},
                    )
                )
            if number % max(1, self.pairs // ANSWERED) == 0:
                choice = "a" if gap + self.rng.normal(0, 0.5) > 0 else "b"
                preferences.append(Preference(pair=pair, rater=person, choice=choice))
        Prompt.objects.bulk_create(prompts, batch_size=500)
        Response.objects.bulk_create(responses, batch_size=500)
        Pair.objects.bulk_create(pairs, batch_size=500)
        Verdict.objects.bulk_create(verdicts, batch_size=500)
        Preference.objects.bulk_create(preferences, batch_size=500)

    def response(self, prompt: Any, number: int, model: str) -> Any:
        """Return a response of 50 to 300 words; some hold a list, some code."""
        from annotation.models import Response

        messages = self.messages("assistant", int(self.rng.integers(50, 300)))
        return Response(prompt=prompt, messages=messages, content_hash=f"{number} {model}", model=model)

    def messages(self, role: str, words: int) -> list[dict[str, str]]:
        """Return one message of so many words."""
        text = list(self.rng.choice(self.words, size=words))
        if self.rng.random() < 0.2:
            text.insert(10, "\n- one\n- two\n")
        if self.rng.random() < 0.1:
            text.append("\n```\ncode = 1\n```\n")
        return [{"role": role, "content": " ".join(text)}]


if __name__ == "__main__":
    main()
