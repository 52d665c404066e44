"""How fast an export writes, beside a plain write of the same rows, and how much memory it takes.

A made-up project (an answer and a label a pair, texts of 60 to 240 words) is put into a SQLite file of its own, which
is thrown away. Then fresh processes, as a worker would be, read, decide, split and write one profile at two sizes: the
memory that the larger takes over the smaller, by row, is what an export holds of a row. The floor is the same rows as
JSON lines and Parquet, made already, written by a loop. Labels and the report are made by other code and not measured.

    python bench/export.py [--rows 40000] [--profile dpo]

--rows 1000000 takes some 8 GB of disk while it runs.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
# At most so much memory a further row: keys, digests and counters, and never the row itself (some 4,000 bytes).
WANTED_BYTES_A_ROW = 1000.0
# The slowest that reading, deciding and splitting may make it, as a share of the plain write.
WANTED_RATIO = 0.05
PAIRS_PER_BATCH = 5000
WORDS = 5000


def main() -> None:
    """Measure both sizes, each in processes of its own, print a table and one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=40_000)
    parser.add_argument("--profile", default="dpo")
    parser.add_argument("--step", choices=["fill", "export", "plain"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        {"fill": fill, "export": export, "plain": plain}[options.step](options)
        return
    sizes = [measured(rows, options.profile) for rows in (options.rows // 2, options.rows)]
    print(f"{'rows':>10} {'fill s':>8} {'export rows/s':>14} {'plain rows/s':>13} {'ratio':>6} {'peak MB':>8}")
    for one in sizes:
        print(
            f"{one['rows']:>10,} {one['fill_s']:>8.1f} {one['rows_s']:>14,.0f} {one['plain_rows_s']:>13,.0f} "
            f"{one['ratio']:>6.3f} {one['peak_mb']:>8,.0f}"
        )
    small, large = sizes
    growth = (large["peak_mb"] - small["peak_mb"]) * 1e6 / (large["rows"] - small["rows"])
    checks = {
        f"bytes of memory a further row, at most {WANTED_BYTES_A_ROW:g}": (growth, growth <= WANTED_BYTES_A_ROW),
        f"rows a second over a plain write's, at least {WANTED_RATIO:g}": (
            large["ratio"],
            large["ratio"] >= WANTED_RATIO,
        ),
    }
    for name, (value, kept) in checks.items():
        print(f"{'ok  ' if kept else 'MISS'} {name}: {value:.3g}")
    print(
        json.dumps(
            {"sizes": sizes, "bytes_a_row": growth, "checks": {name: kept for name, (_, kept) in checks.items()}}
        )
    )
    sys.exit(not all(kept for _, kept in checks.values()))


def measured(rows: int, profile: str) -> dict[str, Any]:
    """Return the figures of one size."""
    folder = Path(tempfile.mkdtemp(prefix="tiebreak-bench-"))
    try:
        steps = {step: _run(step, folder, rows, profile) for step in ("fill", "export", "plain")}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    export_rows_s, plain_rows_s = (steps[step]["rows"] / steps[step]["seconds"] for step in ("export", "plain"))
    return {
        "rows": steps["export"]["rows"],
        "fill_s": steps["fill"]["seconds"],
        "seconds": steps["export"]["seconds"],
        "stages": steps["export"]["stages"],
        "rows_s": export_rows_s,
        "plain_rows_s": plain_rows_s,
        "ratio": export_rows_s / plain_rows_s,
        "peak_mb": steps["export"]["peak_mb"],
    }


def _run(step: str, folder: Path, rows: int, profile: str) -> dict[str, Any]:
    environment = {
        **os.environ,
        "DATABASE_URL": f"sqlite:///{folder}/db.sqlite3",
        "TIEBREAK_VAR": str(folder / "var"),
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "SECRET_KEY": "bench",
    }
    arguments = ["--step", step, "--folder", str(folder), "--rows", str(rows), "--profile", profile]
    done = subprocess.run(
        [sys.executable, __file__, *arguments], env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _tell(**figures: Any) -> None:
    print(json.dumps({**figures, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000}))


def fill(options: argparse.Namespace) -> None:
    """Write the project, some thousand pairs at a time."""
    import django

    django.setup()
    from django.core.management import call_command
    from django.utils import timezone

    from annotation.models import Origin, Pair, Preference, Project, Prompt, Rater, Response
    from annotation.models.pairs import content_hash
    from routing.models import Label

    started = time.perf_counter()
    call_command("migrate", verbosity=0)
    project = Project.objects.create(slug="bench", title="Bench")
    rater = Rater.objects.create(project=project, kind="person", name="dora", origin=Origin.RECORDED)
    rng = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnoprstuvw"))
    words = np.array(["".join(rng.choice(letters, size=n)) for n in rng.integers(2, 10, WORDS)])
    now = timezone.now()
    for start in range(0, options.rows, PAIRS_PER_BATCH):
        prompts, responses, pairs, preferences, labels = [], [], [], [], []
        for number in range(start, min(start + PAIRS_PER_BATCH, options.rows)):
            lengths = rng.integers((10, 60, 60), (40, 240, 240))
            asked, a, b = (" ".join(words[rng.integers(0, WORDS, n)]) for n in lengths)
            messages = [{"role": "user", "content": f"{asked} {number}"}]
            digest = content_hash(messages)
            prompt = Prompt(project=project, messages=messages, content_hash=digest, group=digest, language="en")
            sides = []
            for name, text in (("one", a), ("two", b)):
                told = [{"role": "assistant", "content": text}]
                sides.append(Response(prompt=prompt, messages=told, content_hash=content_hash(told), model=name))
            pair = Pair(
                project=project, prompt=prompt, response_a=sides[0], response_b=sides[1], external_id=f"p{number}"
            )
            choice = "ab"[number % 2]
            prompts.append(prompt)
            responses += sides
            pairs.append(pair)
            preferences.append(Preference(pair=pair, rater=rater, choice=choice, rationale="It says more."))
            prob_a = float(choice == "a")
            labels.append(
                Label(
                    pair=pair, source="human", choice=choice, prob_a=prob_a, n_votes=1, agreement=1.0, resolved_at=now
                )
            )
        written: tuple[list[Any], ...] = (prompts, responses, pairs, preferences, labels)
        for rows in written:
            type(rows[0]).objects.bulk_create(rows, batch_size=PAIRS_PER_BATCH)
    _tell(rows=options.rows, seconds=time.perf_counter() - started)


def export(options: argparse.Namespace) -> None:
    """Read, decide, split and write one profile, as a snapshot does."""
    import django

    django.setup()
    from annotation.models import Project
    from exports.gathering import gather
    from exports.profiles import profiles_named
    from exports.reading import consistent_read
    from exports.rowing import write_profile
    from exports.settings import SnapshotSettings
    from exports.spooling import Spool

    project, profiles = Project.objects.get(), profiles_named([options.profile])
    started = time.perf_counter()
    spool = Spool(options.folder / "records")
    with consistent_read():
        gathered = gather(project, profiles, SnapshotSettings(), spool, key=b"bench")
    read = time.perf_counter()
    _, tally = write_profile(
        options.folder / "out", profiles[0], gathered, spool, name="bench", progress=lambda stage: None
    )
    done = time.perf_counter()
    _tell(rows=tally.rows, seconds=done - started, stages={"gather_s": read - started, "write_s": done - read})


def plain(options: argparse.Namespace) -> None:
    """Write the exported rows again by a loop: JSON lines, and Parquet with pyarrow's defaults."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows, seconds = 0, 0.0
    for path in sorted((options.folder / "out" / options.profile).glob("*.jsonl")):
        with path.open(encoding="utf-8") as lines, (options.folder / "plain.jsonl").open("w", encoding="utf-8") as file:
            writer = None
            held: list[dict[str, Any]] = []
            for line in lines:
                row = json.loads(line)
                started = time.perf_counter()
                file.write(json.dumps(row) + "\n")
                held.append(row)
                rows += 1
                if len(held) == PAIRS_PER_BATCH:
                    table = pa.Table.from_pylist(held, schema=writer.schema if writer else None)
                    writer = writer or pq.ParquetWriter(options.folder / "plain.parquet", table.schema)
                    writer.write_table(table)
                    held = []
                seconds += time.perf_counter() - started
    _tell(rows=rows, seconds=seconds)


if __name__ == "__main__":
    main()
