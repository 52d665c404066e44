"""What a screen asks: chosen with the project, changed later, never half."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from annotation.assigning import Opening, open_tasks
from annotation.configuring import configure, questionnaire_of, read_screen, settings_of
from annotation.creating import create_project
from annotation.criteria import CriterionRow
from annotation.errors import AnnotationError, QuestionnaireInvalid
from annotation.models import Criterion, Project, Rater, Rating, Template
from annotation.questionnaires import Questionnaire, parse_setting
from tests.builders import make_pair, make_person, make_preference

pytestmark = pytest.mark.django_db


def run(*arguments: str) -> tuple[dict[str, Any], str]:
    """Run a command with `--json`; return the object and what a person reads."""
    out = StringIO()
    call_command(*arguments, "--json", stdout=out)
    *lines, last = out.getvalue().splitlines()
    return json.loads(last), "\n".join(lines)


@pytest.mark.parametrize("template", Template.values)
def test_every_template_is_one_command(template: str) -> None:
    printed, _ = run("create_project", "study", "--template", template)
    assert printed["template"] == template
    assert questionnaire_of(Project.objects.get()) == Questionnaire(template=template)


def test_a_project_is_made_with_the_settings_of_its_screen() -> None:
    project = create_project(
        slug="study",
        template="pairwise",
        criteria={"tone": "Is it friendly?"},
        screen={"points": 5, "by_criterion": True, "reasons": ["clear"]},
    )
    asked = questionnaire_of(project)
    assert (asked.points, asked.by_criterion, asked.reasons) == (5, True, ("clear",))
    # What is as the template has it is not stored: a default that is mended reaches this project too.
    assert set(project.questionnaire) == {"points", "by_criterion", "reasons"}


def test_a_rating_scale_reaches_the_criteria_of_a_new_project() -> None:
    project = create_project(slug="study", screen={"template": "ratings", "rating_points": 7}, criteria={"tone": ""})
    assert set(project.criteria.values_list("scale_min", "scale_max")) == {(1.0, 7.0)}


@pytest.mark.parametrize(
    ("screen", "setting"),
    [
        ({"points": 4}, "points"),
        ({"colour": "red"}, "colour"),
        ({"by_criterion": True}, "by_criterion"),
        ({"suggestion": "gpt"}, "suggestion"),
        ({"keys": {"tie": "t"}}, "keys"),
        ({"rationale": False, "rationale_required": True}, "rationale"),
        ({"rationale_required": "yes"}, "rationale_required"),
        ({"criteria": ["tone"]}, "criteria"),
        ({"template": 3}, "template"),
    ],
)
def test_a_setting_that_cannot_be_is_named_and_no_project_is_made(screen: dict[str, Any], setting: str) -> None:
    with pytest.raises(AnnotationError, match=f"The setting {setting} "):
        create_project(slug="study", screen=screen)
    assert not Project.objects.exists()
    assert not Criterion.objects.exists()


def test_the_command_takes_single_settings_and_a_file_and_the_option_goes_first(tmp_path: Path) -> None:
    file = tmp_path / "screen.json"
    file.write_text(
        json.dumps({"template": "pairwise_ratings", "rating_points": 10, "criteria": {"tone": "Friendly?"}})
    )
    printed, _ = run("create_project", "study", "--screen", str(file), "--set", "points=3", "--set", "reasons=a; b")
    assert printed["template"] == "pairwise_ratings"
    assert printed["criteria"] == ["overall", "tone"]
    assert printed["screen"] == {"points": 3, "rating_points": 10, "reasons": ["a", "b"]}
    other, _ = run(
        "create_project", "other", "--screen", str(file), "--template", "ratings", "--criterion", "truth=True?"
    )
    assert (other["template"], other["criteria"]) == ("ratings", ["overall", "truth"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("points", "--set takes name=value"),
        ("points=four", "The setting points is 'four'; it takes a whole number"),
        ("colour=red", "The setting colour is not a setting"),
        ("template=ratings", "--set template cannot be"),
        ("words.colour=red", "name 'colour'; what can be worded is"),
    ],
)
def test_a_change_that_cannot_be_says_so_and_changes_nothing(change: str, message: str) -> None:
    create_project(slug="study", screen={"points": 5})
    with pytest.raises(CommandError, match=message):
        run("configure_screen", "study", "--set", change)
    assert Project.objects.get().questionnaire == {"points": 5}


def test_without_a_change_the_command_shows_what_is_asked() -> None:
    create_project(slug="study", screen={"points": 5}, rationale_required=True)
    printed, text = run("configure_screen", "study")
    assert (printed["points"], printed["rating_points"], printed["rationale_required"]) == (5, 5, True)
    assert "  points             5  (changed)" in text
    assert "  both_bad           yes" in text.splitlines()


def test_a_change_keeps_what_it_does_not_name_and_a_file_replaces_all(tmp_path: Path) -> None:
    create_project(slug="study", screen={"points": 5, "confidence": True}, criteria={"tone": ""})
    run("configure_screen", "study", "--set", "words.tie=Same", "--set", "both_bad=off", "--rationale-required")
    project = Project.objects.get()
    assert project.questionnaire == {
        "points": 5,
        "confidence": True,
        "both_bad": False,
        "words": {"tie": "Same"},
    }
    assert project.rationale_required
    file = tmp_path / "screen.json"
    file.write_text('{"points": 2}')
    run("configure_screen", "study", str(file), "--rationale-optional")
    project = Project.objects.get()
    assert (project.questionnaire, project.rationale_required) == ({"points": 2}, False)
    # The file says nothing of criteria, so they stay.
    assert list(project.criteria.values_list("name", flat=True)) == ["overall", "tone"]


def test_what_is_printed_makes_the_same_screen_elsewhere() -> None:
    first = create_project(
        slug="first",
        criteria={"tone": "Is it friendly?"},
        screen={"by_criterion": True, "words": {"tie": "Same"}, "content_flags": ["spam"], "rationale_required": True},
    )
    second = create_project(slug="second", screen=json.loads(json.dumps(settings_of(first))))
    assert settings_of(second) == settings_of(first)


@pytest.mark.parametrize("content", ["[1]", "{", None])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: str | None) -> None:
    create_project(slug="study")
    file = tmp_path / "screen.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(CommandError, match=r"screen\.json"):
        run("configure_screen", "study", str(file))


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("both_bad", "No", False),
        ("points", "5", 5),
        ("repeat_percent", "2.5", 2.5),
        ("suggestion", "5", "5"),
        ("reasons", '["a; b"]', ["a; b"]),
        ("reasons", "", []),
        ("keys", '{"tie": "t"}', {"tie": "t"}),
    ],
)
def test_a_setting_is_read_as_its_kind_writes_it(name: str, text: str, value: object) -> None:
    assert parse_setting(name, text) == value


def test_the_template_stays_once_tasks_are_open() -> None:
    project = create_project(slug="study")
    configure(project, template="ratings", settings={})
    open_tasks(project, [Opening(make_pair(project).pk)], votes_wanted=1)
    with pytest.raises(QuestionnaireInvalid, match="The setting template stays 'ratings'"):
        configure(project, template="ranking", settings={})
    assert Project.objects.get().template == "ratings"


def test_criteria_are_renamed_ordered_and_added_without_losing_their_answers() -> None:
    project = create_project(slug="study", criteria={"tone": "Friendly?", "truth": "True?"})
    tone, truth = project.criteria.exclude(position=0)
    make_preference(make_pair(project), make_person(project), criterion=tone)
    # The two take each other's names, and a third comes between them.
    rows = [CriterionRow("tone", "", truth.pk), CriterionRow("depth"), CriterionRow("truth", "Is it?", tone.pk)]
    configure(project, settings={"by_criterion": True}, criteria=rows)
    assert list(project.criteria.values_list("name", "description", "position")) == [
        ("overall", "Which response is better, all in all.", 0),
        ("tone", "", 1),
        ("depth", "", 2),
        ("truth", "Is it?", 3),
    ]
    assert Criterion.objects.get(preference__isnull=False).name == "truth"


@pytest.mark.parametrize("answer", ["choice", "rating"])
def test_a_criterion_with_answers_is_not_removed(answer: str) -> None:
    project = create_project(slug="study", criteria={"tone": "", "truth": ""})
    tone = project.criteria.get(name="tone")
    pair, ben = make_pair(project), Rater.objects.create(project=project, kind="person", name="ben")
    if answer == "choice":
        make_preference(pair, ben, criterion=tone)
    else:
        Rating.objects.create(rater=ben, response=pair.response_a, criterion=tone, pair=pair, value=3)
    with pytest.raises(QuestionnaireInvalid, match="criteria lack 'tone', which has answers") as refused:
        configure(project, settings={"points": 3}, criteria=[CriterionRow("truth")])
    assert refused.value.setting == "criteria"
    project.refresh_from_db()
    assert project.questionnaire == {}
    configure(project, settings={}, criteria=[CriterionRow("tone")])
    assert list(project.criteria.values_list("name", flat=True)) == ["overall", "tone"]


def test_the_last_criterion_stays_while_the_screen_asks_by_criterion() -> None:
    project = create_project(slug="study", criteria={"tone": ""}, screen={"by_criterion": True})
    with pytest.raises(QuestionnaireInvalid, match="by_criterion is on, but"):
        configure(project, settings={"by_criterion": True}, criteria=[])
    assert project.criteria.count() == 2


@pytest.mark.parametrize("names", [["tone", "tone"], ["overall"], [""], ["x" * 121]])
def test_criteria_that_cannot_be_are_refused_as_a_whole(names: list[str]) -> None:
    project = create_project(slug="study")
    with pytest.raises(QuestionnaireInvalid, match="criteria hold"):
        configure(project, settings={}, criteria=[CriterionRow("depth"), *map(CriterionRow, names)])
    assert project.criteria.count() == 1


def test_a_file_says_nothing_of_what_it_does_not_name() -> None:
    assert read_screen({"points": 3}) == ({"points": 3}, None, None, None)
    assert read_screen({"criteria": {}}).criteria == []


@pytest.mark.parametrize(
    "settings",
    [
        {"reasons": ["a\x00b"]},
        {"reasons": ["a\ud800"]},
        {"words": {"question": "a\x00"}},
        {"keys": {"step1": "\ud800"}},
        {"suggestion": "a\x00"},
        {"repeat_percent": 10**400},
    ],
)
def test_what_cannot_be_stored_is_no_setting(settings: dict[str, Any]) -> None:
    with pytest.raises(QuestionnaireInvalid, match=next(iter(settings))):
        configure(create_project(slug="study"), settings=settings)


@pytest.mark.parametrize("row", [CriterionRow("a\x00"), CriterionRow("a", "b\x00"), CriterionRow("a\ud800")])
def test_what_cannot_be_stored_is_no_criterion(row: CriterionRow) -> None:
    with pytest.raises(QuestionnaireInvalid, match="criteria"):
        configure(create_project(slug="study"), settings={}, criteria=[row])


@pytest.mark.parametrize("text", ["[" * 100_000, "1" * 5000])
def test_a_setting_without_end_is_refused_in_a_line(text: str) -> None:
    with pytest.raises(QuestionnaireInvalid) as refused:
        parse_setting("points", text)
    assert len(str(refused.value)) < 200
