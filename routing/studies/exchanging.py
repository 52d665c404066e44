"""Mixes handed to whoever trains real reward models elsewhere, and their scores taken back: the published method.

`export_mixes` writes three files; `recommend_from_scores` reads the first of them again with a file of scores. Features
are those that were published, counts of tags among the pairs that people label, with percentiles over all pairs.
"""

import csv
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from annotation.models import Project
from routing.errors import RoutingError, TooFewLabels
from routing.predicting.scoring import Floats
from routing.studies.forecasting import LEAST_SPEARMAN, as_json, compare_regressions, fit_regression
from routing.studies.mixing import (
    MIXES_NEEDED,
    MOST_CANDIDATES,
    Choices,
    MixOptions,
    MixPairs,
    MixWorld,
    draw_mixes,
    leans_of,
    plain_mixes,
    points_of,
    read_mix_pairs,
    refusal_of,
    tag_counts,
    world_of,
)

ALL_PEOPLE, ALL_JUDGE = "all-people", "all-judge"
FIRST = ("mix_id", "kind", "budget", "n_people")
CHOICE_OF = {1.0: "a", 0.0: "b", 0.5: "tie"}


class ExportedMixes(NamedTuple):
    """What was written: how many mixes of how many pairs, and where."""

    mixes: int
    pairs: int
    files: list[Path]


class ScoredMixes(NamedTuple):
    """Mixes with scores from elsewhere: counts of tags (m, j), scores (m,), budgets (m,), and mixes without a score."""

    counts: Floats
    scores: Floats
    budgets: Floats
    unscored: int


def export_mixes(project: Project, *, judge: str, options: MixOptions, seed: int, path: Path) -> ExportedMixes:
    """Write candidate mixes of a judge's and people's labels, and the pairs they are made of.

    `path` gets a row a mix: `mix_id`, `kind`, `budget`, `n_people` and the counts of its tags; two more rows hold what
    all people's and all the judge's labels make. Beside it, `.pairs.jsonl` has a line a pair with both labels, and
    `.people.jsonl` a line a mix: `people`, the numbers (from 0) of the pairs in that file which take people's label;
    all others take the judge's. The same data and seed write the same bytes. Raises `RoutingError` where the folder
    cannot be written to, `TooFewLabels` as `search_mixes` does.
    """
    pairs = read_mix_pairs(project, judge, seed)
    world = world_of(pairs, seed, f"{judge} in {project}")
    n = len(pairs.human)
    z, shares, kinds = draw_mixes(world, options.shares(), seed)
    z = np.column_stack([np.ones(n, dtype=bool), np.zeros(n, dtype=bool), z])
    names = [ALL_PEOPLE, ALL_JUDGE, *(f"mix-{number:04d}" for number in range(1, len(kinds) + 1))]
    rows = zip(names, ["all", "all", *kinds], [1.0, 0.0, *shares.tolist()], z.T, tag_counts(z, world.tags), strict=True)
    pairs_path, people_path = path.with_suffix(".pairs.jsonl"), path.with_suffix(".people.jsonl")
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([*FIRST, *world.tags.columns])
            for name, kind, share, mix, counts in rows:
                writer.writerow([name, kind, share, int(mix.sum()), *(int(count) for count in counts)])
        _write_lines(pairs_path, _pair_lines(pairs))
        _write_lines(people_path, _people_lines(names, z))
    except OSError as error:
        raise RoutingError(f"The mixes could not be written to {path}: {error.strerror}. Name another file.") from error
    return ExportedMixes(len(names), n, [path, pairs_path, people_path])


def recommend_from_scores(
    project: Project,
    *,
    judge: str,
    options: MixOptions,
    seed: int,
    mixes: Path,
    scores: Path,
    out: Path | None = None,
) -> dict[str, Any]:
    """Return the forecasts and the recommended mix of each budget, from scores of reward models trained elsewhere.

    `mixes` is what `export_mixes` wrote, with the same judge and seed; `scores` has the columns `mix_id` and `score`
    (higher is better, any unit). `out` gets a line a budget as in `.people.jsonl`. Raises `RoutingError` with line and
    field for a file that does not fit, or where the project's pairs have changed since; `TooFewLabels` below 60 scores.
    """
    pairs = read_mix_pairs(project, judge, seed)
    world = world_of(pairs, seed, f"{judge} in {project}")
    found = read_scores(mixes, scores, world)
    with threadpool_limits(limits=1):
        return _recommend(judge, options, seed, pairs, world, found, out)


def _recommend(
    judge: str,
    options: MixOptions,
    seed: int,
    pairs: MixPairs,
    world: MixWorld,
    found: ScoredMixes,
    out: Path | None,
) -> dict[str, Any]:
    forecasts = compare_regressions(found.counts, found.scores, found.budgets, seed=seed)
    chosen = next(forecast for forecast in forecasts if forecast.chosen)
    predict = fit_regression(chosen.name, found.counts, found.scores, found.budgets, seed=seed)
    refusal = refusal_of(chosen)
    rows, names, recommended = [], [], []
    for place, budget in enumerate(options.budgets):
        shares = [budget] * options.candidates
        z, asked, kinds = draw_mixes(world, shares, seed, start=(place + 1) * MOST_CANDIDATES)
        guessed = predict(tag_counts(z, world.tags), asked)
        best = int(np.argmax(guessed))
        predicted = {
            way: float(predict(tag_counts(mix, world.tags), np.full(mix.shape[1], budget)).mean())
            for way, mix in plain_mixes(world, budget, seed).items()
        }
        row = {"budget": budget, "people": int(z[:, 0].sum()), "predicted": predicted}
        if not refusal:
            predicted["recommended"] = float(guessed[best])
            row |= {"kind": kinds[best], "leans": leans_of(z[:, best], world.tags)}
            names.append(f"recommended-{budget:.0%}")
            recommended.append(z[:, best])
        rows.append(row)
    if out is not None and recommended:
        try:
            _write_lines(out, _people_lines(names, np.column_stack(recommended)))
        except OSError as error:
            raise RoutingError(f"The recommended mixes could not be written to {out}: {error.strerror}.") from error
    return {
        "judge": judge,
        "seed": seed,
        "options": options.to_json(),
        "pairs": len(pairs.human),
        "scored": len(found.scores),
        "unscored": found.unscored,
        "forecasts": [as_json(forecast) for forecast in forecasts],
        "least_spearman": LEAST_SPEARMAN,
        "refusal": refusal,
        "points": points_of(chosen, found.scores, found.budgets),
        "budgets": rows,
    }


def read_scores(mixes: Path, scores: Path, world: MixWorld) -> ScoredMixes:
    """Return the scored mixes of two files. Raises `RoutingError` that names file, line and field of what is wrong."""
    tags = [str(name) for name in world.tags.columns]
    lines = _rows(mixes)
    _, header = next(lines, (1, []))
    if header != [*FIRST, *tags]:
        raise RoutingError(
            f"{mixes}, line 1: its columns are not the {len(tags):,} tags that this project's pairs have with this"
            " judge and seed. Give the judge and seed of the export, or export again where pairs or answers were added."
        )
    counts, budgets = {}, {}
    for line, row in lines:
        if len(row) != len(header):
            raise RoutingError(f"{mixes}, line {line}: {len(row)} fields where the first line has {len(header)}.")
        if row[0] in counts:
            raise RoutingError(f"{mixes}, line {line}, field mix_id: {row[0]!r} stands in an earlier line too.")
        budgets[row[0]] = _number(mixes, line, "budget", row[2])
        counts[row[0]] = [_number(mixes, line, name, text) for name, text in zip(tags, row[len(FIRST) :], strict=True)]
    totals = world.tags.to_numpy().sum(axis=0)
    if ALL_PEOPLE not in counts or not np.array_equal(counts[ALL_PEOPLE], totals):
        raise RoutingError(
            f"{mixes}: its row {ALL_PEOPLE!r} does not count this project's pairs as they are now. Export again and"
            " score the new mixes, or give the judge and seed of the export."
        )
    values = _read_values(scores, set(counts))
    if len(values) < MIXES_NEEDED:
        raise TooFewLabels(f"{scores}: too few scores ({len(values)} of {MIXES_NEEDED} mixes). Score more mixes.")
    names = [name for name in counts if name in values]
    found = np.array([values[name] for name in names])
    if found.std() == 0:
        raise RoutingError(f"{scores}, field score: all {len(found)} scores are {found[0]:g}; nothing can be learned.")
    return ScoredMixes(
        np.array([counts[name] for name in names]),
        found,
        np.array([budgets[name] for name in names]),
        len(counts) - len(names),
    )


def _read_values(path: Path, known: set[str]) -> dict[str, float]:
    lines = _rows(path)
    _, header = next(lines, (1, []))
    if not {"mix_id", "score"} <= set(header):
        raise RoutingError(
            f"{path}, line 1: it needs the columns mix_id and score, and has: {', '.join(header) or 'none'}."
        )
    at, value_at = header.index("mix_id"), header.index("score")
    values: dict[str, float] = {}
    for line, row in lines:
        if len(row) != len(header):
            raise RoutingError(f"{path}, line {line}: {len(row)} fields where the first line has {len(header)}.")
        if row[at] not in known:
            raise RoutingError(f"{path}, line {line}, field mix_id: there is no mix {row[at]!r} in the file of mixes.")
        if row[at] in values:
            raise RoutingError(f"{path}, line {line}, field mix_id: {row[at]!r} has a score in an earlier line too.")
        values[row[at]] = _number(path, line, "score", row[value_at])
    return values


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a CSV file that are not empty, with their line numbers."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            for row in reader:
                if row:
                    yield reader.line_num, row
    except OSError as error:
        raise RoutingError(f"{path} cannot be read: {error.strerror}.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise RoutingError(f"{path} is not a CSV file in UTF-8: {error}.") from error


def _number(path: Path, line: int, field: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise RoutingError(f"{path}, line {line}, field {field}: {text!r} is not a number.")
    return value


def _pair_lines(pairs: MixPairs) -> Iterator[dict[str, Any]]:
    for at, (prompt, a, b) in enumerate(pairs.texts):
        yield {
            "pair": at,
            "pair_id": pairs.pair_ids[at],
            "group": str(pairs.groups[at]),
            "prompt": prompt,
            "response_a": a,
            "response_b": b,
            "people": CHOICE_OF[float(pairs.human[at])],
            "judge": CHOICE_OF[float(pairs.judge[at])],
        }


def _people_lines(names: list[str], z: Choices) -> Iterator[dict[str, Any]]:
    for name, mix in zip(names, z.T, strict=True):
        yield {"mix_id": name, "people": np.flatnonzero(mix).tolist()}


def _write_lines(path: Path, lines: Iterator[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for line in lines:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
