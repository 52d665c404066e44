"""Maps from a judge's stated probability to how often people agree."""

import math
from io import StringIO

import numpy as np
import pytest
from django.core.management import call_command

from annotation.models import Pair, Project
from judges.calibrating import Cases, apply_map, calibrate, calibrated, calibration_error, fit
from judges.errors import JudgeError
from judges.frames import judge_preference_frame
from judges.models import JudgeVersion
from tests.builders import make_pair, make_preference, make_project
from tests.judged import make_judge


def cases(n: int, stated: float, seed: int = 0, *, steps: bool = False) -> Cases:
    """Return a judge that states `stated` times the true log-odds; with `steps` a map no temperature can mend."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(0, 2.0, n)
    if steps:
        # Hardly better than a coin up to a point, and nearly always right beyond it.
        true = np.where(np.abs(odds) > 3.0, 0.98, 0.55)
        truth = np.where(odds > 0, true, 1 - true)
    else:
        truth = 1 / (1 + np.exp(-odds))
    is_a = (rng.random(n) < truth).astype(float)
    prob_a = 1 / (1 + np.exp(-odds * stated))
    groups = np.array([f"prompt {number // 4}" for number in range(n)], dtype=object)
    return Cases(prob_a, is_a, np.ones(n), groups, n)


@pytest.mark.parametrize("stated", [0.5, 1.0, 3.0])
def test_temperature_of_a_judge_that_overstates_is_found(stated: float) -> None:
    fitted = fit(cases(2000, stated))
    assert fitted["method"] == "temperature"
    assert fitted["parameters"]["temperature"] == pytest.approx(stated, rel=0.15)
    assert (fitted["n"], fitted["groups"], fitted["weighted"]) == (2000, 500, False)


def test_calibration_makes_the_error_smaller_and_says_by_how_much() -> None:
    fitted = fit(cases(1000, 3.0))
    assert fitted["ece_before"] > 0.1
    assert fitted["ece_after"] < 0.04
    assert fitted["brier_after"] < fitted["brier_before"]
    assert fitted["log_loss_after"] < fitted["log_loss_before"]


@pytest.mark.parametrize("steps", [False, True])
def test_map_is_symmetric_increasing_and_keeps_one_half(steps: bool) -> None:
    fitted = fit(cases(600, 4.0, steps=steps))
    probabilities = [number / 1000 for number in range(1001)]
    mapped = [apply_map(fitted, one) for one in probabilities]
    for p, q in zip(probabilities, mapped, strict=True):
        assert q + apply_map(fitted, 1 - p) == pytest.approx(1.0, abs=1e-12)
        assert 0.0 < q < 1.0
    assert mapped == sorted(mapped)
    assert mapped[500] == 0.5


def test_monotone_map_is_taken_where_it_is_better_and_the_simpler_one_where_not() -> None:
    assert fit(cases(4000, 4.0, steps=True))["method"] == "isotonic"
    assert fit(cases(4000, 4.0))["method"] == "temperature"
    assert list(fit(cases(150, 4.0, steps=True))["held_out_log_loss"]) == ["temperature"]


def test_monotone_map_gives_the_share_right_of_each_level() -> None:
    prob_a = np.repeat([0.9, 0.6, 0.1], 100)
    # Right 80 of 100 at 0.9, 70 of 100 at 0.6, 80 of 100 at 0.1: 0.9 and 0.1 are one level.
    is_a = np.concatenate([[1] * 80 + [0] * 20, [1] * 70 + [0] * 30, [0] * 80 + [1] * 20]).astype(float)
    groups = np.array([str(number % 50) for number in range(300)], dtype=object)
    from judges.calibrating import _isotonic

    parameters = _isotonic(Cases(prob_a, is_a, np.ones(300), groups, 300))
    fitted = {"method": "isotonic", "parameters": parameters}
    assert [apply_map(fitted, one) for one in (0.9, 0.6, 0.1, 0.4)] == pytest.approx([0.8, 0.7, 0.2, 0.3])
    assert apply_map(fitted, 0.75) == pytest.approx(0.75)
    assert apply_map(fitted, 0.99) == pytest.approx(0.8)


def test_judge_without_probabilities_gets_its_accuracy() -> None:
    rng = np.random.default_rng(1)
    is_a = (rng.random(2000) < 0.5).astype(float)
    prob_a = np.where(rng.random(2000) < 0.7, is_a, 1 - is_a)
    groups = np.array([str(number // 2) for number in range(2000)], dtype=object)
    fitted = fit(Cases(prob_a, is_a, np.ones(2000), groups, 2000))
    assert apply_map(fitted, 1.0) == pytest.approx((prob_a == is_a).mean(), abs=0.005)


def test_judge_that_is_wrong_more_often_than_right_says_nothing_and_is_not_turned_round() -> None:
    good = cases(400, 1.0)
    fitted = fit(good._replace(is_a=1.0 - good.is_a))
    assert fitted["parameters"] == {"slope": 0.0, "temperature": None}
    assert apply_map(fitted, 0.9) == 0.5


def test_judge_that_is_always_right_does_not_become_certain() -> None:
    fitted = fit(Cases(np.full(40, 0.7), np.ones(40), np.ones(40), np.array(list("abcdefghij") * 4, dtype=object), 40))
    assert 0.9 < apply_map(fitted, 0.7) < 1.0


def test_weights_stand_for_the_pairs_that_were_not_asked() -> None:
    """The router asks where the judge is wrong: those pairs are few, and the audit slice stands for the rest."""
    rng = np.random.default_rng(3)
    hard = np.array([True] * 400 + [False] * 100)
    right = rng.random(500) < np.where(hard, 0.5, 0.9)
    base = Cases(np.full(500, 0.9), right.astype(float), np.ones(500), np.arange(500).astype(str).astype(object), 500)
    weighted = base._replace(weights=np.where(hard, 1.0, 20.0))
    assert apply_map(fit(base), 0.9) == pytest.approx(0.58, abs=0.05)
    assert apply_map(fit(weighted), 0.9) == pytest.approx((400 * 0.5 + 2000 * 0.9) / 2400, abs=0.05)
    assert fit(weighted)["weighted"] is True


def test_error_of_calibration_is_the_mean_distance_of_bins() -> None:
    prob_a = np.array([0.9] * 50 + [0.4] * 50)
    is_a = np.array([1.0] * 40 + [0.0] * 10 + [0.0] * 25 + [1.0] * 25)
    # At 0.9 right 0.8, at 0.6 (for b) right 0.5: both 0.1 off.
    assert calibration_error(prob_a, is_a, np.ones(100)) == pytest.approx(0.1)
    assert calibration_error(prob_a, is_a, np.array([3.0] * 50 + [0.0001] * 50)) == pytest.approx(0.1, abs=1e-3)
    assert calibration_error(np.array([1.0, 1.0]), np.array([1.0, 1.0]), np.ones(2)) == 0.0


def test_too_few_labels_are_said_with_their_number() -> None:
    few = cases(29, 1.0)
    with pytest.raises(JudgeError, match=r"too few labels \(29 of 30\)"):
        fit(few)
    one_prompt = cases(40, 1.0)._replace(groups=np.array(["same"] * 40, dtype=object))
    with pytest.raises(JudgeError, match=r"needs 5 prompt groups .* \(1 of 5\)"):
        fit(one_prompt)


# --- With the database ------------------------------------------------------------------------------------------------


def labelled(n: int = 60) -> tuple[Project, JudgeVersion, list[Pair]]:
    """Return a judge that says 0.95 and is right three times of four."""
    project = make_project()
    version = make_judge(project)
    pairs = [make_pair(project) for _ in range(n)]
    for number, pair in enumerate(pairs):
        make_preference(pair, version.rater, "a", prob_a=0.95)
        make_preference(pair, "person", "b" if number % 4 == 0 else "a")
    return project, version, pairs


@pytest.mark.django_db
def test_map_is_stored_with_the_version_and_is_not_its_content() -> None:
    _, version, _ = labelled()
    before = version.content_hash
    assert calibrated(version, 0.95) == 0.95
    fitted = calibrate(version)
    stored = JudgeVersion.objects.get(pk=version.pk)
    assert stored.calibration == fitted
    assert stored.content_hash == before
    assert (fitted["n"], fitted["labels"], fitted["method"]) == (60, 60, "temperature")
    assert calibrated(stored, 0.95) == pytest.approx(0.75, abs=0.02)
    assert calibrated(stored, 0.05) == pytest.approx(0.25, abs=0.02)


@pytest.mark.django_db
def test_frame_shows_stated_and_calibrated_probabilities_side_by_side() -> None:
    project, version, pairs = labelled()
    plain = make_judge(project, "plain")
    make_preference(pairs[0], plain.rater, "b", prob_a=0.3)
    calibrate(version)
    frame = judge_preference_frame(project)
    mapped = frame[frame["judge"] == "gpt"]
    assert set(mapped["prob_a"]) == {0.95}
    assert mapped["calibrated_prob_a"].to_list() == [calibrated(version, 0.95)] * 60
    assert frame[frame["judge"] == "plain"]["calibrated_prob_a"].to_list() == [0.3]


@pytest.mark.django_db
def test_ties_examples_and_pairs_without_a_probability_are_left_out() -> None:
    _, version, pairs = labelled(64)
    make_preference(pairs[0], "second", "a")
    make_preference(pairs[1], "third", "tie"), make_preference(pairs[1], "fourth", "tie")
    version.rater.preferences.filter(pair=pairs[2]).update(prob_a=None)
    version.options = {"examples": [{"pair_id": str(pairs[3].pk)}]}
    version.save()
    assert calibrate(version)["n"] == 60


@pytest.mark.django_db
def test_command_shows_before_and_after() -> None:
    project, version, _ = labelled()
    said = StringIO()
    call_command("calibrate_judge", project.slug, "gpt", stdout=said)
    assert "gpt v1: temperature" in said.getvalue()
    assert "fitted to 60 pairs of 60 prompt groups" in said.getvalue()
    assert "calibration error: 0.200 before" in said.getvalue()
    version.refresh_from_db()
    assert math.isclose(version.calibration["ece_before"], 0.2, abs_tol=1e-9)
