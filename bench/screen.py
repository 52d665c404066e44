"""How fast the annotation screen serves, against the figures it is held to.

People without thinking time answer pairs over HTTP: a cycle is one answer whose reply carries the next pair. They are
a process of their own; gunicorn serves as it is deployed (config/gunicorn.py) on a free port, on SQLite, then, with
DATABASE_URL, on that PostgreSQL, whose role must be able to create databases (all are called tiebreak_bench_...).
Messages go to BROKER_URL where it is set (give them a virtual host of their own: nobody takes them out) and else to a
folder.

    python bench/screen.py [--pairs 10000,100000,1000000] [--people 1,8,32] [--database sqlite,postgres] [--seconds 15]
                           [--quick] [--keep] [--json]

Prints a table a database, the statements of a cycle, what the pages weigh, and each floor with what was got. Ends with
1 where one is missed. The worlds are thrown away unless --keep leaves them for the next run.
"""

import argparse
import gzip
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urljoin

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from bench.screen_people import Annotator, KeptConnection
from bench.screen_serving import (
    ROOT,
    Gunicorn,
    PostgresStore,
    Spec,
    SqliteStore,
    Store,
    busy_seconds,
    cpu_of,
    linked_files,
    make_world,
    process_times,
    run_step,
    served,
)

# Of the queries one books what the answer earns.
MOST_CPU_MS, MOST_P95_MS, MOST_QUERIES = 20.0, 300.0, 12
LEAST_PER_SECOND = {"postgres": 100.0, "sqlite": 60.0}
MOST_FIRST_KB, MOST_NEXT_KB = 120.0, 15.0
# Two runs of the same on a busy machine differ by so much; what grows with the pairs differs by more at ten times them.
MOST_GROWTH = 1.25
# More than this, and something else on the machine is part of what is measured.
MOST_OTHERS = 0.3
HISTORY = 2000
SEVERAL_VOTES = 3
FLOOR_SECONDS = 5.0
# What a copy may give away before it is made anew; the rest is for one run.
MOST_USED = 0.3
QUERIED = (10_000, 100_000)
RUN = "tiebreak_bench_run"


class Measured(NamedTuple):
    """One run: what the world held, how many people came, and what was seen."""

    spec: Spec
    people: int
    load: Mapping[str, Any]
    server_cpu_ms: float
    database_cpu_ms: float | None
    busiest: float
    others: float
    lost: int
    over: int
    extras: int

    @property
    def per_second(self) -> float:
        """Cycles a second."""
        return float(self.load["per_second"])

    @property
    def all_cpu_ms(self) -> float:
        """Processor time a cycle of the server and, where it is another process, of the database."""
        return self.server_cpu_ms + (self.database_cpu_ms or 0.0)


class Floor(NamedTuple):
    """A figure with what it may be at most, or (`at_least`) at least."""

    name: str
    wanted: float
    got: float
    at_least: bool = False

    @property
    def kept(self) -> bool:
        """Say whether the figure is good enough."""
        return self.got >= self.wanted if self.at_least else self.got <= self.wanted


class Weights(NamedTuple):
    """Bytes of the screen without a pair's own text, as sent: the first visit and its parts, and the next pair."""

    files: Mapping[str, int]
    page: int
    page_gzipped: int
    next_pair: int
    next_gzipped: int

    @property
    def first(self) -> int:
        """Bytes of a first visit."""
        return self.page + sum(self.files.values())


class Loaded(NamedTuple):
    """A timed window: what the clients saw, seconds of processor time, and what tells how fair the window was."""

    found: dict[str, Any]
    server_cpu: float
    database_cpu: float | None
    busiest: float  # the share of the server's time that one process of it used
    others: float  # cores that neither the server, its database nor the clients used


# --- Measuring ------------------------------------------------------------------------------------------------------


class Bench:
    """The measurements on one database."""

    def __init__(self, store: Store, options: argparse.Namespace, folder: Path) -> None:
        self.store = store
        self.options = options
        self.folder = folder
        self.made: set[str] = set()
        self.measured: list[Measured] = []
        self.livez: Mapping[str, Any] = {}
        self.commit_ms: float | None = None
        self.weights: Weights | None = None
        self.queries: dict[int, dict[str, Any]] = {}
        # Statements, sessions and signatures of all processes of a run agree; nothing of it outlives the run.
        self.environment = {
            "TIEBREAK_PROFILE": "embedded",
            "TIEBREAK_VAR": str(folder),
            "STATIC_ROOT": str(folder / "static"),
            "SECRET_KEY": secrets.token_urlsafe(50),
            "LOG_LEVEL": "WARNING",
            "DATABASE_URL": store.url(RUN),
        }

    def run(self) -> None:
        """Measure everything the options ask for."""
        most = max(self.options.people)
        sizes: list[int] = self.options.pairs
        plan = [(Spec(pairs), self.options.people) for pairs in sizes]
        plan.append((Spec(min(sizes), votes=SEVERAL_VOTES), [most]))
        if min(sizes) > HISTORY:
            plan.append((Spec(min(sizes), history=HISTORY), [most]))
        for spec, people in plan:
            self._make(spec)
            used = spec.pairs
            for number in people:
                if used > MOST_USED * spec.pairs:
                    self.store.copy(spec.name, RUN)
                    used = 0
                used += self._measure(spec, number)
            if spec in [Spec(pairs) for pairs in QUERIED]:
                self.store.copy(spec.name, RUN)
                self.queries[spec.pairs] = run_step("queries", self.environment)
            if not self.options.keep:
                self.store.drop(spec.name)
        self.store.drop(RUN)

    def throw_away(self) -> None:
        """Drop the copies and, unless they are kept, the worlds."""
        self.store.drop(RUN)
        for name in self.made:
            self.store.drop(f"{name}_unfinished")
            if not self.options.keep:
                self.store.drop(name)

    def _make(self, spec: Spec) -> None:
        self.made.add(spec.name)
        seconds = make_world(self.store, spec, self.environment)
        print(f"{self.store.vendor}: {spec.name} is there after {seconds:.0f} s", file=sys.stderr)

    def _measure(self, spec: Spec, people: int) -> int:
        """Let people work on the copy; return how many answers they gave."""
        began = run_step("begin", self.environment)
        if self.commit_ms is None and isinstance(self.store, PostgresStore):
            self.commit_ms = self.store.commit_ms(RUN)
        with served(self.environment, self.folder / "gunicorn.log") as server:
            if self.weights is None:
                self.weights = weigh(server, began["cookie"], began["sessions"][0])
            if not self.livez:
                plan = {"path": "/livez", "sessions": [""] * max(self.options.people)}
                self.livez = self._loaded(server, plan, FLOOR_SECONDS).found
            plan = {**began, "sessions": began["sessions"][:people]}
            loaded = self._loaded(server, plan, self.options.seconds)
        ended = run_step("count", self.environment)
        answers = ended["answers"] - began["answers"]
        load = loaded.found
        cycles = max(1, load["cycles"])
        self.measured.append(
            Measured(
                spec,
                people,
                load,
                server_cpu_ms=1000 * loaded.server_cpu / cycles,
                database_cpu_ms=None if loaded.database_cpu is None else 1000 * loaded.database_cpu / cycles,
                busiest=loaded.busiest,
                others=loaded.others,
                lost=abs(load["stored"] - answers),
                over=ended["over"],
                extras=ended["extras"] - began["extras"],
            )
        )
        print(f"{self.store.vendor}: {line_of(self.measured[-1])}", file=sys.stderr)
        return int(answers)

    def _loaded(self, server: Gunicorn, plan: Mapping[str, Any], seconds: float) -> Loaded:
        """Load the server; return what its clients saw, and who used the processor meanwhile."""
        command = [sys.executable, str(ROOT / "bench" / "screen_people.py"), "--port", str(server.port)]
        command += ["--seconds", str(seconds), "--warm-up", str(self.options.warm_up)]
        people = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert people.stdin is not None
        assert people.stdout is not None
        people.stdin.write(json.dumps(plan))
        people.stdin.close()
        _expect(people.stdout.readline(), "begin")
        before = server.cpu_seconds(), self._database_cpu(), busy_seconds()
        _expect(people.stdout.readline(), "end")
        after = server.cpu_seconds(), self._database_cpu(), busy_seconds()
        found: dict[str, Any] = json.loads(people.stdout.readline())
        people.wait()
        workers = used_by_each(before[0], after[0])
        database = used_by_each(before[1], after[1])
        ours = sum(workers) + sum(database) + found["client_cpu_s"]
        return Loaded(
            found,
            server_cpu=sum(workers),
            database_cpu=sum(database) if database else None,
            busiest=max(workers) / max(0.001, sum(workers)),
            others=max(0.0, after[2] - before[2] - ours) / found["seconds"],
        )

    def _database_cpu(self) -> dict[int, float]:
        """Return the processor time of each process of PostgreSQL that serves the copy, where it runs here."""
        if not isinstance(self.store, PostgresStore):
            return {}
        backends = self.store.backends(RUN)
        times = process_times()
        return {process: cpu_of([process], times) for process in backends if process in times}


def used_by_each(before: Mapping[int, float], after: Mapping[int, float]) -> list[float]:
    """Return how much each process used in between; one that was not there before began at nothing."""
    return [used - before.get(process, 0.0) for process, used in after.items()]


def _expect(line: str, word: str) -> None:
    if line.strip() != word:
        raise SystemExit(f"the people ended before {word!r}")


def weigh(server: Gunicorn, cookie: str, session: str) -> Weights:
    """Return what the screen of a pair of three words weighs, with all the files a browser fetches for it."""
    connection = KeptConnection(server.port)
    annotator = Annotator(connection, "bare")
    annotator.sign_in(cookie, session)
    page = annotator.open()
    files: dict[str, int] = {}
    waiting = list(linked_files(page.text))
    while waiting:
        address = waiting.pop()
        if address in files:
            continue
        file = connection.get(address)
        if file.status != 200:
            raise SystemExit(f"the page links to {address}, which answers {file.status}")
        files[address] = file.body_bytes + file.head_bytes
        if address.endswith(".css"):
            inside = re.findall(r"""url\(["']?([^"')]+)["']?\)""", file.text)
            waiting += [urljoin(address, link) for link in inside if not link.startswith(("data:", "#"))]
    following = annotator.submit()
    sizes = [reply.body_bytes + reply.head_bytes for reply in (page, following)]
    gzipped = [len(gzip.compress(reply.text.encode())) + reply.head_bytes for reply in (page, following)]
    return Weights(files, sizes[0], gzipped[0], sizes[1], gzipped[1])


# --- Judging --------------------------------------------------------------------------------------------------------


def floors_of(bench: Bench) -> list[Floor]:
    """Return every figure that this run can say something about."""
    vendor, rows = bench.store.vendor, bench.measured
    most = max(row.people for row in rows)
    plain = sorted((row for row in rows if row.spec == Spec(row.spec.pairs)), key=lambda row: row.spec.pairs)
    crowded = [row for row in plain if row.people == most]
    least = LEAST_PER_SECOND[vendor]
    floors = [
        Floor("errors people saw", 0, sum(row.load["errors"] for row in rows)),
        Floor("answers lost or stored twice", 0, sum(row.lost for row in rows)),
        Floor("pairs with more votes than wanted", 0, max(row.over for row in rows)),
        Floor("answers that found their slot given away", 0, sum(row.extras for row in rows)),
    ]
    for row in crowded:
        where = f"{row.spec.pairs:,} pairs, {most} people"
        floors.append(Floor(f"cycles a second, {where}", least, row.per_second, at_least=True))
        floors.append(Floor(f"server CPU ms a cycle, {where}", MOST_CPU_MS, row.server_cpu_ms))
        if vendor == "postgres":
            floors.append(Floor(f"p95 ms, {where}", MOST_P95_MS, row.load["p95_ms"]))
    for row in crowded[1:]:
        growth = f"{row.spec.pairs:,} pairs over {crowded[0].spec.pairs:,}"
        floors.append(
            Floor(f"cycles a second, {growth}", 1 / MOST_GROWTH, row.per_second / crowded[0].per_second, True)
        )
        floors.append(Floor(f"CPU a cycle, {growth}", MOST_GROWTH, row.all_cpu_ms / crowded[0].all_cpu_ms))
    for row in rows:
        if row.spec.history:
            name = f"cycles a second, {row.spec.history:,} answers of each behind over none"
            floors.append(Floor(name, 1 / MOST_GROWTH, row.per_second / crowded[0].per_second, True))
            name = f"CPU a cycle, {row.spec.history:,} answers of each behind over none"
            floors.append(Floor(name, MOST_GROWTH, row.all_cpu_ms / crowded[0].all_cpu_ms))
    for pairs, asked in bench.queries.items():
        floors.append(Floor(f"queries a cycle, {pairs:,} pairs", MOST_QUERIES, asked["most"]))
    if len(bench.queries) > 1:
        usual = [asked["usual"] for asked in bench.queries.values()]
        floors.append(Floor("queries a cycle, most pairs minus fewest", 0, max(usual) - min(usual)))
    if bench.weights:
        floors.append(Floor("first visit kB without the pair's text", MOST_FIRST_KB, bench.weights.first / 1000))
        floors.append(Floor("next pair kB without its text", MOST_NEXT_KB, bench.weights.next_pair / 1000))
    return floors


# --- Printing -------------------------------------------------------------------------------------------------------

HEAD = (
    f"{'pairs':>9} {'votes':>5} {'history':>7} {'people':>6} {'cycles/s':>8} {'p50 ms':>7} {'p95 ms':>7} {'p99 ms':>7} "
    f"{'CPU ms':>7} {'DB CPU ms':>9} {'kB':>6} {'errors':>6} {'lost':>5} {'over':>5} {'busiest':>7} {'others':>6}"
)


def line_of(row: Measured) -> str:
    """Return one row of the table."""
    load = row.load
    database = "-" if row.database_cpu_ms is None else f"{row.database_cpu_ms:.1f}"
    return (
        f"{row.spec.pairs:>9,} {row.spec.votes:>5} {row.spec.history:>7,} {row.people:>6} {row.per_second:>8.1f} "
        f"{load['p50_ms']:>7.0f} {load['p95_ms']:>7.0f} {load['p99_ms']:>7.0f} {row.server_cpu_ms:>7.1f} {database:>9} "
        f"{load['bytes'] / 1000:>6.1f} {load['errors']:>6} {row.lost:>5} {row.over:>5} "
        f"{row.busiest:>7.0%} {row.others:>6.1f}"
        + (f"  first error: {load['first_error'][:200]}" if load["errors"] else "")
    )


def show(bench: Bench, floors: Iterable[Floor]) -> None:
    """Print everything that was measured on one database."""
    print(f"\n== {bench.store.vendor}: a cycle is an answer with the next pair; CPU is that of gunicorn's processes;")
    print(f"busiest, the share of it that one of them used; others, the cores that something else here took\n{HEAD}")
    for row in bench.measured:
        print(line_of(row))
    if disturbed := sum(row.others > MOST_OTHERS for row in bench.measured):
        print(f"\n{disturbed} of {len(bench.measured)} rows ran while others took more than {MOST_OTHERS} cores: their")
        print("cycles a second, latencies and ratios tell how busy the machine was, and their CPU is too high.")
    best = max(row.per_second for row in bench.measured)
    bare = bench.livez["per_second"]
    print(f"\nThe emptiest view (/livez): {bare:.0f} requests a second; {best:.0f} cycles are {best / bare:.1%} of it.")
    if bench.commit_ms is not None:
        print(f"A transaction of one small row takes {bench.commit_ms:.1f} ms here.")
    for pairs, asked in bench.queries.items():
        print(f"\nQueries a cycle at {pairs:,} pairs: {asked['usual']:g} (most {asked['most']}), and", end=" ")
        print(f"{asked['control']:g} of BEGIN, COMMIT and SAVEPOINT; the connection: {asked['connection']}")
        for kind, seen in sorted(asked["kinds"].items(), key=lambda item: -item[1]["ms"]):
            print(f"  {kind:<40} {seen['queries']:>5.1f} {seen['ms']:>8.1f} ms")
    if bench.weights:
        weights = bench.weights
        print(f"\nFirst visit {weights.first / 1000:.1f} kB, of which the page {weights.page / 1000:.1f}", end="")
        print(f" ({weights.page_gzipped / 1000:.1f} gzipped) and {len(weights.files)} files:")
        for address, size in sorted(weights.files.items(), key=lambda item: -item[1]):
            print(f"  {address:<60} {size / 1000:>6.1f} kB")
        print(f"Next pair {weights.next_pair / 1000:.1f} kB ({weights.next_gzipped / 1000:.1f} gzipped)\n")
    print(f"{'floor':<62} {'wanted':>12} {'got':>10}")
    for floor in floors:
        sign = ">=" if floor.at_least else "<="
        print(f"{floor.name:<62} {sign} {floor.wanted:>9.4g} {floor.got:>10.4g}  {'ok' if floor.kept else 'MISSED'}")


def result_of(bench: Bench, floors: Sequence[Floor]) -> dict[str, Any]:
    """Return what was measured on one database as JSON has it."""
    return {
        "database": bench.store.vendor,
        "livez_per_s": bench.livez["per_second"],
        "commit_ms": bench.commit_ms,
        "rows": [{**row.spec._asdict(), **row._asdict(), "spec": row.spec.name} for row in bench.measured],
        "queries": bench.queries,
        "weights": bench.weights and bench.weights._asdict(),
        "floors": [{**floor._asdict(), "kept": floor.kept} for floor in floors],
    }


def numbers(text: str) -> list[int]:
    """Read numbers separated by commas, least first."""
    return sorted(int(part.replace("_", "")) for part in text.split(","))


def stores(names: Sequence[str]) -> list[Store]:
    """Return the databases to measure; PostgreSQL without an address is an error only where it was named."""
    url = os.environ.get("DATABASE_URL", "")
    on_postgres = url.startswith("postgres")
    if "postgres" in names and not on_postgres:
        raise SystemExit("DATABASE_URL must be the address of a PostgreSQL whose role may create databases.")
    chosen: dict[str, Callable[[], Store]] = {"sqlite": SqliteStore, "postgres": lambda: PostgresStore(url)}
    return [chosen[name]() for name in names or (["sqlite", "postgres"] if on_postgres else ["sqlite"])]


def main() -> None:
    """Measure each database, print it, and end with 1 where a floor is missed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=numbers, default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--people", type=numbers, default=[1, 8, 32], help="32 at most")
    parser.add_argument("--database", type=lambda text: text.split(","), default=[], help="sqlite, postgres or both")
    parser.add_argument("--seconds", type=float, default=15.0, help="the timed window")
    parser.add_argument("--warm-up", type=float, default=3.0, help="seconds before it")
    parser.add_argument("--quick", action="store_true", help="10,000 pairs, most people, 4 seconds")
    parser.add_argument("--keep", action="store_true", help="leave the worlds for the next run")
    parser.add_argument("--json", action="store_true", help="end with everything as one JSON object")
    options = parser.parse_args()
    if options.quick:
        options.pairs, options.people, options.seconds, options.warm_up = [10_000], [max(options.people)], 4.0, 2.0
    # Throws the databases away also when this is told to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    results = []
    missed = 0
    for store in stores(options.database):
        folder = Path(tempfile.mkdtemp(prefix="tiebreak-bench-"))
        bench = Bench(store, options, folder)
        try:
            collect_static(bench.environment)
            bench.run()
        finally:
            bench.throw_away()
            shutil.rmtree(folder)
        floors = floors_of(bench)
        show(bench, floors)
        missed += sum(not floor.kept for floor in floors)
        results.append(result_of(bench, floors))
    print(f"\n{missed} floors missed" if missed else "\nevery floor kept")
    if options.json:
        print(json.dumps(results))
    sys.exit(1 if missed else 0)


def collect_static(environment: Mapping[str, str]) -> None:
    """Put the static files where the server finds them, compressed."""
    command = [sys.executable, str(ROOT / "manage.py"), "collectstatic", "--no-input", "--verbosity", "0"]
    subprocess.run(command, env={**os.environ, **environment}, check=True)


if __name__ == "__main__":
    main()
