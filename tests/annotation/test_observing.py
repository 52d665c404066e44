"""What the signals see of the stored answers."""

import pytest

from annotation.noticing import Signal
from annotation.observing import observed_answers, signs_of
from tests.builders import make_answer, make_gold, make_pair, make_person, make_project, make_prompt

pytestmark = pytest.mark.django_db


def test_answers_are_seen_with_their_length_their_time_and_what_is_known() -> None:
    project = make_project()
    ben = make_person(project)
    long = make_pair(project, prompt="Question?", response_a="x" * 300, response_b="y" * 200)
    make_answer(long, ben, "a", seconds=12.0, shown_order="ba")
    make_answer(make_gold(project, ["a"]).pair, ben, "b")
    make_answer(make_pair(project), ben, "a", is_extra=True)
    first, gold, extra = observed_answers(project).to_dict("records")
    assert (first["rater"], first["seconds"], first["shown_order"], first["counts"]) == ("ben", 12.0, "ba", True)
    assert first["characters"] > 509
    assert first["characters"] - gold["characters"] > 450
    assert (gold["is_right"], extra["counts"]) == (0.0, False)
    assert first["is_right"] != first["is_right"]


def test_a_project_without_answers_has_no_signs() -> None:
    assert signs_of(make_project()) == {}


def test_somebody_who_keeps_to_one_side_is_flagged() -> None:
    project = make_project()
    prompt = make_prompt(project, "Which?")
    for number in range(30):
        order = "ab" if number % 2 else "ba"
        make_answer(make_pair(project, prompt=prompt), "ben", order[0], shown_order=order)
    signs = {sign.signal: sign for sign in signs_of(project)["ben"]}
    assert signs[Signal.SIDE].is_flagged
    assert signs[Signal.STRAIGHT].value == 30.0
