"""The full audit of a judge version: its card and all that a page, a file or a doubtful manager may ask beside it.

Everything is computed from the rows there are when it is asked for; nothing is stored. It costs a few seconds for
thousands of pairs, so lists take the cards alone.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import pandas as pd
from threadpoolctl import threadpool_limits

from annotation.aggregating import consensus
from annotation.agreeing import SIDE_OF, Figure, cohen_kappa, too_few
from annotation.models import Pair, Preference, Project, RaterKind
from annotation.sampling import Sample, in_sample, sample_of
from judges.auditing.calibration import ReliabilityBin, brier, calibration_error, reliability_curve
from judges.auditing.cards import JudgeCard, as_json, card_of, versions_of
from judges.auditing.conflicts import Conflict, comparison_sides, conflicts, score_sides
from judges.auditing.coverage import Band, CoverageCurve, bands, coverage_curve
from judges.auditing.cycles import Cycles, cycles
from judges.auditing.favour import LengthCoefficients, SelfPreference, length_coefficients, self_preference
from judges.auditing.figures import decided_by_both, mean_of, right, share_of, with_ground, with_sides
from judges.auditing.position import OrderTest, order_test
from judges.auditing.reading import Ground, Subject, read_ground, read_subjects
from judges.auditing.repeats import repeat_stability, sample_stability
from judges.auditing.replacing import AltTest, alt_test
from judges.calibrating import calibrated
from judges.errors import TooFewLabels
from judges.frames import judge_preference_frame, verdict_frame
from judges.gating import EPSILONS, gate_of
from judges.models import SECOND_PASSES, JudgeKind, JudgeVersion, Verdict
from judges.options import read_options
from judges.rules import fit_learned, learned_prob_a, prompt_text

DISTRIBUTION_COLUMNS = ("pair_id", "order", "choice", "prob_a", "score_a", "score_b", "distribution", "samples")


class Companion(NamedTuple):
    """How far a version agrees with another one, over the pairs both labelled."""

    judge: str
    version: int
    protocol: str
    three_way: Figure
    two_way: Figure
    kappa: Figure

    def as_dict(self) -> dict[str, Any]:
        """Return the companion as JSON values."""
        return {name: as_json(value) for name, value in self._asdict().items()}


class ByCriterion(NamedTuple):
    """How far a version agrees with people on one criterion."""

    criterion: str
    three_way: Figure
    two_way: Figure

    def as_dict(self) -> dict[str, Any]:
        """Return the agreement as JSON values."""
        return {name: as_json(value) for name, value in self._asdict().items()}


class Remedy(NamedTuple):
    """Transitivity under one way to bring two orders together (`judges.auditing.conflicts.comparison_sides`)."""

    comparison: str
    cycles: Cycles

    def as_dict(self) -> dict[str, Any]:
        """Return the remedy's figures as JSON values."""
        return {"comparison": self.comparison, **parts_as_json(self.cycles)}


class Calibration(NamedTuple):
    """Calibration before and after the map that was fitted to the version; `after` has no values without a map.

    Where the map was fitted to the same labels, `after` flatters it: `held_out` has the figures of its fit, measured on
    prompts that each part of it had not seen. `method` names the map, '' without one.
    """

    method: str
    error_before: Figure
    error_after: Figure
    brier_before: Figure
    brier_after: Figure
    curve: list[ReliabilityBin]
    curve_after: list[ReliabilityBin]
    held_out: dict[str, float]


class Audit(NamedTuple):
    """All that is known about a judge version. Fields without data hold figures that say so, or are empty.

    Without labels: `sample_stability` (several samples of a call), `repeat_stability` (other versions asked alike),
    `order_test` (McNemar), `length` (coefficients of judge and people), `cycles` (of its preferences), `remedies` (the
    same under each way to compare), `conflicts` (scores against comparisons, each way to read both), `others`
    (agreement with other judges), `own_family`. With labels: `learned_baseline` (out of fold, on the pairs of
    `card.preference_two_way`), `calibration`, `bands` and `coverage` (accuracy where it is sure), `criteria`,
    `alt_tests` (one an epsilon).
    """

    card: JudgeCard
    sample_stability: Figure
    repeat_stability: Figure
    order_test: OrderTest
    length: LengthCoefficients
    own_family: SelfPreference
    cycles: Cycles
    remedies: list[Remedy]
    conflicts: list[Conflict]
    others: list[Companion]
    learned_baseline: Figure
    beats_learned_baseline: Figure
    calibration: Calibration
    bands: list[Band]
    coverage: CoverageCurve
    criteria: list[ByCriterion]
    alt_tests: list[AltTest]
    gate: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Return the audit as JSON values: the card's under `card`."""
        return {
            name: value.as_dict() if isinstance(value, JudgeCard) else parts_as_json(value)
            for name, value in self._asdict().items()
        }


def judge_audit(version: JudgeVersion) -> Audit:
    """Return the audit of a judge version, from what is stored now. Some twenty queries."""
    project = version.judge.project
    return judge_audits(project, [version], sample=sample_of(project))[version.pk]


def judge_audits(
    project: Project,
    versions: Iterable[JudgeVersion] | None = None,
    *,
    sample: Sample | None = None,
) -> dict[Any, Audit]:
    """Return the audits of a project's judge versions (all, or those given) by primary key.

    Votes, texts and frames are read once for all of them; each takes three queries more. A `sample` narrows them.
    """
    known = versions_of(project)
    wanted = {version.pk for version in known} if versions is None else {version.pk for version in versions}
    if not wanted:
        return {}
    world = _World(project, known, sample)
    return {version.pk: _audit(version, world) for version in known if version.pk in wanted}


class Inconsistency(NamedTuple):
    """What a judge version's audit says of its consistency with itself, without the rest."""

    sample_stability: Figure
    repeat_stability: Figure
    remedies: list[Remedy]
    conflicts: list[Conflict]


def judge_inconsistencies(project: Project, *, sample: Sample | None = None) -> dict[Any, Inconsistency]:
    """Return the consistency of each of a project's judge versions by primary key: the audit's figures, no others."""
    known = versions_of(project)
    if not known:
        return {}
    world = _World(project, known, sample)
    return {version.pk: _inconsistency(version, world) for version in known}


def parts_as_json(value: Any) -> Any:
    """Return named results inside named results as JSON values."""
    if hasattr(value, "as_dict"):
        return value.as_dict()
    if hasattr(value, "_asdict"):
        return {name: parts_as_json(part) for name, part in value._asdict().items()}
    return [parts_as_json(one) for one in value] if isinstance(value, list) else value


class _World:
    """What the audits of a project share."""

    def __init__(self, project: Project, versions: Sequence[JudgeVersion], sample: Sample | None) -> None:
        self.project = project
        self.versions = versions
        self.sample = sample
        self.ground: Ground = read_ground(project, sample=sample)
        self.subjects: dict[Any, Subject] = read_subjects(versions)
        self._verdicts = verdict_frame(project, versions, sample=sample)
        self._preferences = judge_preference_frame(project, versions, sample=sample)
        self._details: dict[Any, pd.DataFrame] = {}
        self._agreements: dict[frozenset[Any], tuple[Figure, Figure, Figure] | None] = {}
        self._learned: pd.Series[Any] | None = None

    def verdicts(self, version: JudgeVersion) -> pd.DataFrame:
        return self._verdicts[self._verdicts["version_id"] == str(version.pk)]

    def preferences(self, version: JudgeVersion) -> pd.DataFrame:
        return self._preferences[self._preferences["version_id"] == str(version.pk)]

    def detailed(self, version: JudgeVersion) -> pd.DataFrame:
        """Return a version's verdicts with their distributions, read once."""
        if version.pk not in self._details:
            self._details[version.pk] = _detailed(version, self.ground, self.sample)
        return self._details[version.pk]

    def agreement(self, one: JudgeVersion, other: JudgeVersion) -> tuple[Figure, Figure, Figure] | None:
        """Return how far two versions agree three ways, two ways and beyond chance; None without a shared pair."""
        key = frozenset([one.pk, other.pk])
        if key not in self._agreements:
            mine, seed = self.preferences(one), self.ground.seed
            theirs = mine["pair_id"].map(self.preferences(other).set_index("pair_id")["choice"].map(SIDE_OF))
            side = mine["choice"].map(SIDE_OF)
            self._agreements[key] = None
            if theirs.notna().any():
                self._agreements[key] = (
                    share_of(right(side, theirs), mine, seed),
                    share_of(right(side, theirs, two_way=True), mine, seed),
                    cohen_kappa(side, theirs, mine["group"], seed=seed),
                )
        return self._agreements[key]

    def learned_sides(self) -> "pd.Series[Any]":
        """Return the learned baseline's side by pair, out of fold; empty where there are too few labels.

        The project's own learned judge where it has one, else a fit made here.
        """
        if self._learned is None:
            own = [version for version in self.versions if version.judge.kind == JudgeKind.LEARNED]
            if own:
                choices = self.preferences(own[-1]).set_index("pair_id")["choice"]
                self._learned = choices.map(SIDE_OF)
            else:
                self._learned = _fitted_sides(self.project, self.ground, self.sample)
        return self._learned


def _audit(version: JudgeVersion, world: _World) -> Audit:
    ground, subject, seed = world.ground, world.subjects[version.pk], world.ground.seed
    gate = gate_of(version.judge)
    verdicts, preferences = world.verdicts(version), world.preferences(version)
    card = card_of(subject, verdicts, preferences, ground, gate)
    calls, labels = with_sides(verdicts, ground), with_ground(preferences, ground)
    labels = labels.assign(people=labels["people"].mask(labels["pair_id"].isin(subject.examples)))
    decided = decided_by_both(labels)
    inconsistency = _inconsistency(version, world)
    learned = _right_on(decided, world.learned_sides())
    mine = right(decided["side"], decided["people"]).reindex(learned.index)
    return Audit(
        card=card,
        sample_stability=inconsistency.sample_stability,
        repeat_stability=inconsistency.repeat_stability,
        order_test=order_test(calls),
        length=length_coefficients(labels, ground),
        own_family=self_preference(labels, subject.family, ground),
        cycles=cycles(labels, ground.pairs, seed),
        remedies=inconsistency.remedies,
        conflicts=inconsistency.conflicts,
        others=_others(version, world),
        learned_baseline=share_of(learned, decided.loc[learned.index], seed),
        beats_learned_baseline=_mean_gain(mine - learned, decided, seed),
        calibration=_calibration(version, labels, decided, ground),
        bands=bands(decided, seed),
        coverage=coverage_curve(decided, seed),
        criteria=_criteria(version, world),
        alt_tests=[alt_test(labels, ground.votes, epsilon) for epsilon in EPSILONS],
        gate=gate._asdict(),
    )


# --- Parts ----------------------------------------------------------------------------------------------------------


def _inconsistency(version: JudgeVersion, world: _World) -> Inconsistency:
    ground, detailed = world.ground, world.detailed(version)
    by_comparison = comparison_sides(detailed, read_options(version.options).tie_band)
    return Inconsistency(
        sample_stability=sample_stability(detailed, ground.seed),
        repeat_stability=_repeats(version, with_sides(world.verdicts(version), ground), world),
        remedies=[
            Remedy(name, cycles(_as_labels(sides, ground), ground.pairs, ground.seed))
            for name, sides in by_comparison.items()
        ],
        conflicts=_conflicts(version, world),
    )


def _detailed(version: JudgeVersion, ground: Ground, sample: Sample | None) -> pd.DataFrame:
    """Return a version's verdicts with their distributions and `prob_from`. One query."""
    rows = (
        Verdict.objects.answered()
        .filter(in_sample(sample, "pair__prompt"), version=version)
        .exclude(order__in=SECOND_PASSES)
        .order_by("pair_id", "order")
        .values_list(*DISTRIBUTION_COLUMNS, "meta")
    )
    records = [(str(row[0]), *row[1:-1], row[-1].get("prob_from", "")) for row in rows.iterator(chunk_size=5000)]
    frame = pd.DataFrame.from_records(records, columns=[*DISTRIBUTION_COLUMNS, "prob_from"])
    frame[["prob_a", "score_a", "score_b"]] = frame[["prob_a", "score_a", "score_b"]].astype(float)
    return frame.assign(group=frame["pair_id"].map(ground.pairs["group"]))


def _repeats(version: JudgeVersion, calls: pd.DataFrame, world: _World) -> Figure:
    """Return the stability over versions that were asked alike: the same model, protocol, prompt and options."""
    if version.judge.kind == JudgeKind.RECORDED or not version.model:
        return too_few(0, 10, "verdicts that another version with the same prompt repeats")
    alike = [other for other in world.versions if other.pk != version.pk and _asked_as(other) == _asked_as(version)]
    again = [with_sides(world.verdicts(other), world.ground) for other in alike]
    return repeat_stability(calls, pd.concat(again) if again else calls.iloc[:0], world.ground.seed)


def _asked_as(version: JudgeVersion) -> tuple[Any, ...]:
    return version.model, version.protocol, version.prompt_template, version.options


def _as_labels(sides: "pd.Series[Any]", ground: Ground) -> pd.DataFrame:
    frame = pd.DataFrame({"pair_id": sides.index, "side": sides.to_numpy(), "prob_a": float("nan")})
    return frame.assign(group=frame["pair_id"].map(ground.pairs["group"]))


def _conflicts(version: JudgeVersion, world: _World) -> list[Conflict]:
    """Return the conflicts of this version's comparisons with each scoring version of the same judge or model.

    Of a version that scores, those of its scores with each comparing one.
    """
    mine = score_sides(world.detailed(version))
    found = []
    for partner in _partners(version, world):
        theirs = score_sides(world.detailed(partner))
        if bool(mine) == bool(theirs):
            continue
        comparing = partner if mine else version
        found += conflicts(
            mine or theirs,
            _comparisons(comparing, world),
            world.ground.pairs["group"],
            world.ground.seed,
            against=f"{partner.judge.name} · {partner.protocol} (version {partner.number})",
            sampled=any((world.detailed(one)["prob_from"] == "samples").any() for one in (version, partner)),
        )
    return found


def _comparisons(version: JudgeVersion, world: _World) -> "dict[str, pd.Series[Any]]":
    """Return the sides by each way to compare; the preferences as they stand where one order alone was asked."""
    found = comparison_sides(world.detailed(version), read_options(version.options).tie_band)
    if found:
        return found
    sides = world.preferences(version).set_index("pair_id")["choice"].map(SIDE_OF).dropna()
    return {"settled": sides} if len(sides) else {}


def _partners(version: JudgeVersion, world: _World) -> list[JudgeVersion]:
    others = [other for other in world.versions if other.pk != version.pk]
    return [
        other
        for other in others
        if other.judge_id == version.judge_id or (version.model and other.model == version.model)
    ]


def _others(version: JudgeVersion, world: _World) -> list[Companion]:
    return [
        Companion(other.judge.name, other.number, other.protocol, *agreed)
        for other in world.versions
        if other.pk != version.pk and (agreed := world.agreement(version, other))
    ]


def _right_on(decided: pd.DataFrame, sides: "pd.Series[Any]") -> "pd.Series[Any]":
    """Return how right other answers are on the decided pairs they cover; a tie is half right."""
    given = decided["pair_id"].map(sides) if len(sides) else pd.Series(dtype=object)
    given = given.dropna()
    return right(given, decided["people"].reindex(given.index)).mask(given == "tie", 0.5)


def _mean_gain(gain: "pd.Series[Any]", decided: pd.DataFrame, seed: int) -> Figure:
    return mean_of(gain, decided["group"].reindex(gain.index), seed)


def _fitted_sides(project: Project, ground: Ground, sample: Sample | None) -> "pd.Series[Any]":
    # Only libraries that are there already are held to one thread.
    import sklearn.linear_model  # noqa: F401

    try:
        # A fit of a dozen coefficients is ten times slower where threads share its tiny matrices.
        with threadpool_limits(limits=1):
            fitted = fit_learned(project, seed=ground.seed, sample=sample)
    except TooFewLabels:
        return pd.Series(dtype=object)
    labelled = set(ground.people.index[ground.people["choice"].isin(["a", "b"])])
    texts = Pair.objects.filter(in_sample(sample, "prompt"), project=project).values_list(
        "id", "prompt__group", "prompt__messages", "response_a__messages", "response_b__messages"
    )
    sides = {}
    for pair_id, group, prompt, a, b in texts.iterator(chunk_size=2000):
        if str(pair_id) in labelled:
            prob_a = learned_prob_a(fitted, prompt_text(prompt), prompt_text(a), prompt_text(b), group)
            sides[str(pair_id)] = "tie" if prob_a == 0.5 else "a" if prob_a > 0.5 else "b"
    return pd.Series(sides, dtype=object)


def _calibration(version: JudgeVersion, labels: pd.DataFrame, decided: pd.DataFrame, ground: Ground) -> Calibration:
    seed = ground.seed
    method = str(version.calibration.get("method", ""))
    is_a = decided["people"] == "a"
    before = calibration_error(decided["prob_a"], is_a, decided["group"], seed=seed)
    curve = reliability_curve(decided["prob_a"], is_a, decided["group"], seed=seed)
    if not method:
        missing = Figure(None, 0, too_few="no map was fitted")
        return Calibration("", before, missing, brier(labels, ground), missing, curve, [], {})
    mapped = labels.assign(prob_a=_calibrated(version, labels["prob_a"]))
    after = decided.assign(prob_a=_calibrated(version, decided["prob_a"]))["prob_a"]
    return Calibration(
        method,
        before,
        calibration_error(after, is_a, decided["group"], seed=seed),
        brier(labels, ground),
        brier(mapped, ground),
        curve,
        reliability_curve(after, is_a, decided["group"], seed=seed),
        {name: value for name, value in version.calibration.items() if name.endswith(("_before", "_after"))},
    )


def _calibrated(version: JudgeVersion, prob_a: "pd.Series[float]") -> "pd.Series[float]":
    known = {value: calibrated(version, value) for value in prob_a.dropna().unique()}
    return prob_a.map(known).astype(float)


def _criteria(version: JudgeVersion, world: _World) -> list[ByCriterion]:
    """Return the agreement with people's plurality criterion by criterion. Two queries."""
    ground = world.ground
    named = Preference.objects.current().filter(
        in_sample(world.sample, "pair__prompt"),
        pair__project=world.project,
        is_extra=False,
        criterion__isnull=False,
    )
    columns = ["criterion", "pair_id", "choice"]
    fields = ("criterion__name", "pair_id", "choice")
    judged = pd.DataFrame.from_records(list(named.filter(rater=version.rater_id).values_list(*fields)), columns=columns)
    if judged.empty:
        return []
    people = named.filter(rater__kind=RaterKind.PERSON).values_list(*fields, "strength")
    votes = pd.DataFrame.from_records(list(people), columns=[*columns, "strength"])
    votes["strength"] = votes["strength"].astype(float)
    for frame in (judged, votes):
        frame["pair_id"] = frame["pair_id"].astype(str)
    found = []
    for criterion, mine in judged.groupby("criterion", sort=True):
        answers = consensus(votes[votes["criterion"] == criterion])["choice"].map(SIDE_OF)
        rows = mine.assign(group=mine["pair_id"].map(ground.pairs["group"]))
        side, theirs = rows["choice"].map(SIDE_OF), rows["pair_id"].map(answers)
        found.append(
            ByCriterion(
                str(criterion),
                share_of(right(side, theirs), rows, ground.seed),
                share_of(right(side, theirs, two_way=True), rows, ground.seed),
            )
        )
    return found
