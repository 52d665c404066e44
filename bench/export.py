"""How fast an export writes, beside a plain write of the same rows, and how much memory the whole job takes.

A made-up project (`bench/export_world.py`: a pair a prompt, texts of 60 to 240 words, an answer or two a pair) is put
into a database of its own. Then a fresh process, as a worker would be, takes a snapshot of it, whole: labels, reading,
reports, rows; at two sizes, since the memory that the larger takes over the smaller, by row, is what the job holds of a
row. The floor is the same rows, made already, written by a loop as JSON lines and Parquet. Seconds are of the
processor, so that what else the machine does falls out of the ratio.

    python bench/export.py [--rows 40000] [--profile dpo] [--database postgres://...] [--keep folder]

--rows 1000000 takes some 12 GB of disk. `--keep` leaves the filled SQLite files in a folder and takes them from there.
With `--database` the rows go there: it has to be empty, and only the larger size is measured.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
# At most so much memory a further row: keys, digests and counters where pairs are read and split (the row itself has
# some 4,000 bytes), and in the whole job the columns that reports count beside.
WANTED_BYTES_A_ROW = 1000.0
WANTED_BYTES_A_ROW_OF_JOB = 4000.0
# The slowest that reading, deciding and splitting may make it, as a share of the plain write.
WANTED_RATIO = 0.1
ROWS_PER_TABLE = 5000
# Stages that make the rows; the others are labels and reports.
MAKING = ("read", "write")


def main() -> None:
    """Measure both sizes, each in processes of its own, print a table and one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=40_000)
    parser.add_argument("--profile", default="dpo")
    parser.add_argument("--database", default="", help="an empty database's URL (default: SQLite files)")
    parser.add_argument("--keep", type=Path, help="a folder for the filled databases")
    parser.add_argument("--step", choices=["fill", "export", "plain"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        {"fill": fill, "export": export, "plain": plain}[options.step](options)
        return
    wanted = (options.rows,) if options.database else (options.rows // 2, options.rows)
    sizes = [measured(rows, options) for rows in wanted]
    for one in sizes:
        tell_size(one)
    checks = checked(sizes)
    for name, (value, kept) in checks.items():
        print(f"{'ok  ' if kept else 'MISS'} {name}: {value:.3g}")
    print(json.dumps({"sizes": sizes, "checks": {name: kept for name, (_, kept) in checks.items()}}))
    sys.exit(not all(kept for _, kept in checks.values()))


def checked(sizes: list[dict[str, Any]]) -> dict[str, tuple[float, bool]]:
    """Return what is asked of the figures, with the value and whether it holds."""
    ratio = sizes[-1]["ratio"]
    checks = {f"rows a second over a plain write's, at least {WANTED_RATIO:g}": (ratio, ratio >= WANTED_RATIO)}
    if len(sizes) == 2:
        small, large = sizes
        for what, peak, most in (
            ("reading and splitting", "reading_mb", WANTED_BYTES_A_ROW),
            ("the whole job", "peak_mb", WANTED_BYTES_A_ROW_OF_JOB),
        ):
            growth = (large[peak] - small[peak]) * 1e6 / (large["rows"] - small["rows"])
            checks[f"bytes of memory a further row in {what}, at most {most:g}"] = growth, growth <= most
    return checks


def tell_size(one: dict[str, Any]) -> None:
    """Print what one size took, stage by stage."""
    print(
        f"{one['rows']:,} rows: {one['rows_s']:,.0f} rows/s read and written, {one['plain_rows_s']:,.0f} by a plain "
        f"write (ratio {one['ratio']:.3f}); whole job {one['seconds']:,.1f} s of the processor, peak "
        f"{one['peak_mb']:,.0f} MB"
    )
    for name, stage in one["stages"].items():
        print(
            f"  {name:<16} {stage['seconds']:>9.1f} s of {stage['wall_s']:>9.1f} s, peak {stage['peak_mb']:>7,.0f} MB"
        )


def measured(rows: int, options: argparse.Namespace) -> dict[str, Any]:
    """Return the figures of one size."""
    folder = Path(tempfile.mkdtemp(prefix="tiebreak-bench-"))
    kept = folder if options.keep is None else options.keep / str(rows)
    database = options.database or f"sqlite:///{(kept / 'db.sqlite3').resolve()}"
    try:
        if options.database or not (kept / "filled").exists():
            kept.mkdir(parents=True, exist_ok=True)
            _run("fill", folder, rows, options.profile, database)
            (kept / "filled").touch()
        found, floor = (_run(step, folder, rows, options.profile, database) for step in ("export", "plain"))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    making = [stage for name, stage in found["stages"].items() if name.startswith(MAKING)]
    rows_s = found["rows"] / sum(stage["seconds"] for stage in making)
    plain_rows_s = floor["rows"] / floor["seconds"]
    return {
        **found,
        "reading_mb": found["stages"]["read"]["peak_mb"],
        "rows_s": rows_s,
        "plain_rows_s": plain_rows_s,
        "ratio": rows_s / plain_rows_s,
    }


def _run(step: str, folder: Path, rows: int, profile: str, database: str) -> dict[str, Any]:
    environment = {
        **os.environ,
        "DATABASE_URL": database,
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


def fill(options: argparse.Namespace) -> None:
    """Write the project."""
    import django

    django.setup()
    from django.core.management import call_command

    from bench.export_world import fill_project

    call_command("migrate", verbosity=0)
    started = time.process_time()
    fill_project(options.rows)
    print(json.dumps({"seconds": time.process_time() - started}))


def export(options: argparse.Namespace) -> None:
    """Take a snapshot, as a worker does, and print what each stage took."""
    import django

    django.setup()
    from annotation.models import Project
    from exports.snapshotting import take_snapshot

    stages = _Stages()
    snapshot = take_snapshot(
        Project.objects.get(), profiles=[options.profile], out=options.folder / "out", progress=stages.begin
    )
    stages.begin("")
    rows = snapshot.counts["profiles"][options.profile]["rows"]
    seconds = sum(stage["seconds"] for stage in stages.found.values())
    peak_mb = max(stage["peak_mb"] for stage in stages.found.values())
    print(json.dumps({"rows": rows, "seconds": seconds, "peak_mb": peak_mb, "stages": stages.found}))


class _Stages:
    """Seconds and the peak of memory of each stage; the peak is begun anew where the system allows it (Linux)."""

    def __init__(self) -> None:
        self.found: dict[str, dict[str, float]] = {}
        self._name = ""
        self._cpu = self._wall = 0.0

    def begin(self, name: str) -> None:
        """End the stage before and begin one."""
        if ":" in name:
            # How many rows are written so far: no stage of its own.
            return
        cpu, wall = time.process_time(), time.perf_counter()
        if self._name:
            self.found[self._name] = {
                "seconds": cpu - self._cpu,
                "wall_s": wall - self._wall,
                "peak_mb": _peak_mb(),
            }
        self._name, self._cpu, self._wall = name, cpu, wall


def _peak_mb() -> float:
    """Return the most memory since the last call."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (peak,) = (int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return peak / 1000


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
                started = time.process_time()
                file.write(json.dumps(row) + "\n")
                held.append(row)
                rows += 1
                if len(held) == ROWS_PER_TABLE:
                    table = pa.Table.from_pylist(held, schema=writer.schema if writer else None)
                    writer = writer or pq.ParquetWriter(options.folder / "plain.parquet", table.schema)
                    writer.write_table(table)
                    held = []
                seconds += time.process_time() - started
    print(json.dumps({"rows": rows, "seconds": seconds}))


if __name__ == "__main__":
    main()
