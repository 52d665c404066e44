"""Foretell a run before it is started: a few pairs are judged for good, and what they took tells what the rest will.

The pairs of a probe are those of prompts drawn at random, whole prompts, so that neighbours share what they share in
the run. Their answers count like others: nothing is asked twice. Means are ratios over prompts, since the pairs of one
prompt are alike (Cochran 1977, "Sampling Techniques", section 6.3); intervals are for what the rest will take, so they
hold both the error of the mean and the chance of the rest.
"""

import math
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from django.db.models import Count
from django.utils import timezone
from scipy.stats import t

from annotation.models import Pair, Project, User
from judges.errors import JudgeError
from judges.models import COMBINED, RULES, Forecast, JudgeKind, JudgeRun, JudgeVersion, RunState, Verdict, VerdictState
from judges.running import start_run, unasked_pairs

PROBE_PAIRS = 200
# Below this a mean over prompts has no interval worth its name.
LEAST_PROMPTS = 10
LEVEL = 0.95
# Of a run's answers by time, the first and last tenth are its start and its end, not its pace.
TRIMMED = 0.1


class Mean(NamedTuple):
    """A mean a pair: its `value`, the variance of that, and how many pairs a prompt has on average."""

    value: float
    variance: float
    pairs_per_prompt: float
    prompts: int


class Range(NamedTuple):
    """A figure foretold: most likely, and the bounds of 95 %; None where too few prompts were measured."""

    value: float
    low: float | None = None
    high: float | None = None


class Foretold(NamedTuple):
    """What the rest of a project's pairs will take of one version. None: not known (no price, or no GPU of ours)."""

    version: JudgeVersion
    measured_pairs: int
    measured_prompts: int
    measured_at: datetime
    rest: int
    pairs_per_second: Range | None
    seconds: Range | None
    gpu_hours: Range | None
    usd: Range | None


def start_probe(
    version: JudgeVersion, *, pairs: int = PROBE_PAIRS, started_by: User | None = None, send: bool = True
) -> JudgeRun:
    """Have a version judge about so many pairs that it was not asked about, of prompts drawn at random.

    When the run has ended, `forecast_of` measures it. Raises `JudgeError` for a judge whose pace says nothing.
    """
    require_forecastable(version)
    if not 1 <= pairs <= 10_000:
        raise JudgeError(f"A probe is of 1 to 10000 pairs, not {pairs}.")
    drawn = _drawn(version, pairs)
    if not drawn:
        raise JudgeError(f"{version} has been asked about every pair: there is nothing left to foretell.")
    run = start_run(version, pairs=Pair.objects.filter(pk__in=drawn), started_by=started_by, send=send)
    Forecast.objects.create(version=version, run=run)
    return run


def require_forecastable(version: JudgeVersion) -> None:
    """Raise `JudgeError` for a judge that nothing can be foretold of by asking a few pairs."""
    kind = version.judge.kind
    if kind in RULES or kind == JudgeKind.RECORDED:
        raise JudgeError(f"{version} asks no model: it costs nothing, and takes no time worth foretelling.")
    if kind in COMBINED:
        raise JudgeError(f"{version} is made of other judges. Probe its members.")
    if kind == JudgeKind.BATCH:
        raise JudgeError(
            f"{version} answers by files within a day, whatever their number: a few pairs foretell nothing."
        )


def can_forecast(version: JudgeVersion) -> bool:
    """Say whether a few pairs tell what the rest of a version's will take."""
    try:
        require_forecastable(version)
    except JudgeError:
        return False
    return True


def measure(run: JudgeRun) -> Forecast | None:
    """Store what a probe's run took, once it has ended; None before, or where it brought no answer of its own."""
    forecast = Forecast.objects.select_related("version__judge").get(run=run)
    run.refresh_from_db(fields=["state"])
    if run.state != RunState.DONE:
        return None
    answered = Verdict.objects.filter(run=run, state=VerdictState.DONE, from_cache=False)
    rows = list(answered.values_list("pair_id", "pair__prompt_id", "seconds", "cost_usd", "finished_at"))
    if not rows:
        return None
    prompt_of = {pair_id: prompt_id for pair_id, prompt_id, *_ in rows}
    counts = _by_prompt(prompt_of.values(), (1.0 for _ in prompt_of))
    prompts = [row[1] for row in rows]
    figures = {"seconds": mean_of(counts, _by_prompt(prompts, (row[2] or 0.0 for row in rows)))}
    if all(row[3] is not None for row in rows):
        figures["usd"] = mean_of(counts, _by_prompt(prompts, (float(row[3] or 0) for row in rows)))
    forecast.pairs, forecast.prompts = len(prompt_of), len(counts)
    questions = len(rows) / len(prompt_of)
    rate = pace([row[4] for row in rows if row[4] is not None])
    forecast.pairs_per_second = None if rate is None else rate / questions
    forecast.figures = {name: one._asdict() for name, one in figures.items()}
    forecast.measured_at = timezone.now()
    forecast.save()
    return forecast


def forecast_of(version: JudgeVersion) -> Forecast | None:
    """Return the newest probe of a version that was measured, after measuring one that has ended since."""
    newest = version.forecasts.select_related("run").order_by("-run__created_at").first()
    if newest is not None and newest.measured_at is None:
        measure(newest.run)
    return version.forecasts.filter(measured_at__isnull=False).order_by("-measured_at").first()


def foretell(version: JudgeVersion, *, rest: int | None = None) -> Foretold | None:
    """Return what so many pairs (all that were not asked) will take, None before a probe."""
    forecast = forecast_of(version)
    if forecast is None or forecast.measured_at is None:
        return None
    rest = unasked_pairs(version).count() if rest is None else rest
    means = {name: Mean(**one) for name, one in forecast.figures.items()}
    taken = total_of(means["seconds"], rest)
    seconds = rate = None
    if forecast.pairs_per_second:
        # How far the mean may be off is how far the pace may.
        value = rest / forecast.pairs_per_second
        seconds = _scaled(taken, value / taken.value) if taken.value else Range(value)
        rate = _inverse(seconds, rest, forecast.pairs_per_second)
    on_gpu = version.judge.kind == JudgeKind.GPU
    return Foretold(
        version=version,
        measured_pairs=forecast.pairs,
        measured_prompts=forecast.prompts,
        measured_at=forecast.measured_at,
        rest=rest,
        pairs_per_second=rate,
        seconds=seconds,
        gpu_hours=_scaled(seconds or taken, 1 / 3600) if on_gpu else None,
        usd=total_of(means["usd"], rest) if "usd" in means else None,
    )


def beside_each_other(project: Project) -> list[Foretold]:
    """Return what is foretold of the newest version of each judge that was probed, by name."""
    found = []
    for judge in project.judges.filter(versions__forecasts__isnull=False).distinct().order_by("name"):
        told = foretell(judge.latest())
        if told is not None:
            found.append(told)
    return found


# --- Arithmetic -------------------------------------------------------------------------------------------------------


def mean_of(pairs: Sequence[float], totals: Sequence[float]) -> Mean:
    """Return the mean a pair of what each prompt took in all, `totals`, with so many `pairs` a prompt. Pure."""
    prompts, n = len(pairs), sum(pairs)
    value, per_prompt = sum(totals) / n, n / prompts
    residuals = sum((total - value * count) ** 2 for count, total in zip(pairs, totals, strict=True))
    variance = residuals / max(1, prompts - 1) / prompts / per_prompt**2
    return Mean(value, variance, per_prompt, prompts)


def total_of(mean: Mean, pairs: int) -> Range:
    """Return what so many other pairs will take in all. Pure."""
    value = mean.value * pairs
    if mean.prompts < LEAST_PROMPTS:
        return Range(value)
    others = max(1.0, pairs / mean.pairs_per_prompt)
    quantile = float(t.ppf(0.5 + LEVEL / 2, mean.prompts - 1))
    half = quantile * pairs * math.sqrt(mean.variance * (1.0 + mean.prompts / others))
    return Range(value, max(0.0, value - half), value + half)


def pace(times: Sequence[datetime]) -> float | None:
    """Return how many came a second, the first and last tenth of them left out; None where all came at once. Pure."""
    ordered = sorted(times)
    skipped = int(len(ordered) * TRIMMED)
    middle = ordered[skipped : len(ordered) - skipped]
    span = (middle[-1] - middle[0]) / timedelta(seconds=1) if middle else 0.0
    return (len(middle) - 1) / span if span > 0 else None


def _scaled(one: Range, factor: float) -> Range:
    low, high = (None if bound is None else bound * factor for bound in (one.low, one.high))
    return Range(one.value * factor, low, high)


def _inverse(seconds: Range, rest: int, value: float) -> Range:
    low, high = seconds.low, seconds.high
    return Range(value, rest / high if high else None, rest / low if low else None)


def _by_prompt(prompts: Iterable[UUID], values: Iterable[float]) -> list[float]:
    sums: defaultdict[UUID, float] = defaultdict(float)
    for prompt, value in zip(prompts, values, strict=True):
        sums[prompt] += value
    return [sums[prompt] for prompt in sorted(sums)]


def _drawn(version: JudgeVersion, pairs: int) -> list[UUID]:
    """Return the pairs of prompts drawn at random until there are enough; the draw follows the project's seed.

    Two queries.
    """
    counts = unasked_pairs(version).order_by("prompt_id").values_list("prompt_id").annotate(n=Count("pk"))
    sizes = list(counts)
    random.Random(version.judge.project.seed).shuffle(sizes)
    drawn: dict[UUID, list[UUID]] = {}
    left = pairs
    for prompt_id, n in sizes:
        if left <= 0:
            break
        drawn[prompt_id] = []
        left -= n
    of_drawn = unasked_pairs(version).filter(prompt_id__in=list(drawn)).order_by("pk")
    for prompt_id, pair_id in of_drawn.values_list("prompt_id", "pk"):
        drawn[prompt_id].append(pair_id)
    return [pair_id for some in drawn.values() for pair_id in some][:pairs]
