"""Adding a judge: its kind first, then the fields of that kind, the prompt before anything is asked, and the probe."""

from decimal import Decimal

import pytest
from django.test import Client

from annotation.models import Criterion, Pair, Project
from judges.defining import add_judge
from judges.models import Judge, JudgeKind, JudgeVersion, ServedModel
from judges.options import read_options
from tests.builders import make_person, make_preference
from tests.judge_server import JudgeServer, failure, listing
from tests.judged import make_judge

pytestmark = pytest.mark.either_database

NEW = "/projects/helpfulness/judges/new/"
FIELDS = {
    "name": "big",
    "base_url": "http://127.0.0.1:9/v1",
    "model": "m",
    "protocol": "pairwise",
    "tie": "on",
    "samples": "1",
    "scale": "10",
    "scoring": "expectation",
    "aggregation": "mean",
    "tie_band": "0.05",
}


def test_the_kind_is_chosen_first(ada: Client, project: Project) -> None:
    page = ada.get(NEW).text
    for kind in set(JudgeKind.values) - {JudgeKind.RECORDED.value}:
        assert f"?kind={kind}" in page, kind
    assert "<form class=" not in page
    assert ada.get(f"{NEW}?kind=oracle").status_code == 404


@pytest.mark.parametrize("kind", sorted(set(JudgeKind.values) - {JudgeKind.RECORDED.value}))
def test_only_the_fields_of_the_kind_are_asked(ada: Client, project: Project, kind: str) -> None:
    fields = set(ada.get(f"{NEW}?kind={kind}").context["form"].fields)
    served = {"openai", "batch", "decisions"}
    assert ("base_url" in fields) == (kind in served)
    assert ("members" in fields) == (kind == "jury")
    assert ("unsure_below" in fields) == (kind == "cascade")
    assert ("protocol" in fields) == (kind in {"openai", "batch", "gpu"})
    assert ("dtype" in fields) == (kind == "gpu")


def test_without_models_that_the_operator_named_the_form_says_what_to_set(ada: Client, project: Project) -> None:
    url = f"{NEW}?kind=gpu"
    assert "The operator sets TIEBREAK_GPU_MODELS" in ada.get(url).text
    values = {"name": "ours", "model": "/etc", "protocol": "letter", "scale": "5", "dtype": "bfloat16"}
    response = ada.post(url, values)
    assert response.status_code == 422
    assert "model" in response.context["form"].errors
    assert not Judge.objects.exists()


def test_adding_the_length_rule_leads_to_its_page(ada: Client, project: Project) -> None:
    response = ada.post(f"{NEW}?kind=length", {"name": "by length"})
    version = JudgeVersion.objects.get(judge__project=project)
    assert response["Location"] == f"/projects/helpfulness/judges/{version.pk}/"
    assert "Label pairs" in ada.get(response["Location"]).text


def test_a_known_server_fills_in_its_example(ada: Client, project: Project) -> None:
    response = ada.get(f"{NEW}?kind=openai&server=vllm")
    assert 'value="http://127.0.0.1:8000/v1"' in response.text
    assert "vllm serve" in response.text
    assert response.context["form"]["price_input"].value() == Decimal(0)
    assert response.context["form"]["price_cached"].value() is None
    assert ada.get(f"{NEW}?kind=openai&server=openai").context["form"]["price_input"].value() is None


def test_every_option_ends_in_the_version(ada: Client, project: Project) -> None:
    for name in ("overall", "correctness", "tone"):
        Criterion.objects.create(project=project, name=name, description=f"What {name} is.")
    values = {
        **FIELDS,
        "protocol": "letter",
        "criteria": ["tone"],
        "samples": "3",
        "rationale": "later",
        "aggregation": "likelihood",
        "tie_band": "0.1",
        "max_tokens": "40",
        "temperature": "0.5",
        "price_input": "0.25",
        "price_output": "2",
        "price_cached": "0.025",
    }
    del values["tie"]
    assert ada.post(f"{NEW}?kind=openai", values).status_code == 302
    version = JudgeVersion.objects.get()
    options = read_options(version.options)
    assert (options.tie, options.criteria, options.samples, options.rationale) == (False, ("tone",), 3, "later")
    assert (options.aggregation, options.tie_band) == ("likelihood", 0.1)
    assert (version.sampling["max_tokens"], version.sampling["temperature"]) == (40, 0.5)
    assert version.price_cached_usd_per_million == Decimal("0.025")


@pytest.mark.parametrize(
    ("values", "field", "sentence"),
    [
        ({"name": ""}, "name", "This field is required."),
        ({"base_url": ""}, "base_url", "This field is required."),
        ({"model": ""}, "model", "This field is required."),
        ({"base_url": "http://10.0.0.8/v1"}, "base_url", "The host 10.0.0.8 is not among those"),
        ({"base_url": "http://me:secret@127.0.0.1/v1"}, "base_url", "holds a name or password"),
        ({"price_input": "1"}, "price_output", "Give both prices"),
        ({"price_cached": "1"}, "price_input", "goes with the prices of input and output"),
        ({"protocol": "rating", "aggregation": "likelihood"}, "aggregation", "sums two orders"),
        ({"rationale": "none"}, "rationale", "rationale"),
        ({"examples": "3"}, "examples", "examples"),
        ({"samples": "26"}, "samples", "less than or equal to 25"),
    ],
)
def test_a_judge_that_cannot_be_says_why_at_the_field(
    ada: Client, project: Project, values: dict[str, str], field: str, sentence: str
) -> None:
    response = ada.post(f"{NEW}?kind=openai", {**FIELDS, **values})
    assert response.status_code == 422
    assert sentence in response.context["form"].errors[field][0]
    assert sentence in response.text.replace("&#x27;", "'")
    assert not JudgeVersion.objects.exists()


def test_a_name_that_is_taken_by_another_kind_is_refused_at_the_name(ada: Client, length: JudgeVersion) -> None:
    response = ada.post(f"{NEW}?kind=openai", {**FIELDS, "name": "length"})
    assert "There is a judge 'length' of kind length" in response.context["form"].errors["name"][0]


def test_worked_examples_are_pairs_people_agree_on(ada: Client, project: Project, pairs: list[Pair]) -> None:
    for pair in pairs:
        for name in ("ben", "cyd"):
            make_preference(pair, make_person(project, name), "a")
    assert ada.post(f"{NEW}?kind=openai", {**FIELDS, "examples": "2"}).status_code == 302
    version = JudgeVersion.objects.get()
    assert len(version.options["examples"]) == 2
    assert "Worked examples" in ada.get(f"/projects/helpfulness/judges/{version.pk}/prompt/").text


def test_a_jury_is_made_of_judges_of_this_project(ada: Client, project: Project, length: JudgeVersion) -> None:
    other = make_judge(project, "other")
    chosen = [str(length.pk), str(other.pk)]
    assert ada.post(f"{NEW}?kind=jury", {"name": "all", "members": chosen, "rule": "majority"}).status_code == 302
    version = JudgeVersion.objects.get(judge__name="all")
    assert (version.options["members"], version.options["rule"]) == (chosen, "majority")
    page = ada.get(f"/projects/helpfulness/judges/{version.pk}/prompt/").text
    assert "length v1, other v1" in page
    assert "answers from what its members said" in page


def test_a_jury_of_one_is_refused_at_its_members(ada: Client, project: Project, length: JudgeVersion) -> None:
    response = ada.post(f"{NEW}?kind=jury", {"name": "one", "members": [str(length.pk)], "rule": "mean"})
    assert response.status_code == 422
    assert "members" in response.context["form"].errors


def test_a_cascade_takes_two_different_judges(ada: Client, project: Project, length: JudgeVersion) -> None:
    values = {"name": "both", "first": str(length.pk), "second": str(length.pk), "unsure_below": "0.8"}
    response = ada.post(f"{NEW}?kind=cascade", values)
    assert response.context["form"].errors["second"] == ["Choose another judge than the first."]
    values["second"] = str(make_judge(project, "strong").pk)
    assert ada.post(f"{NEW}?kind=cascade", values).status_code == 302
    assert JudgeVersion.objects.get(judge__name="both").options["members"] == [values["first"], values["second"]]


# --- The prompt, before anything is asked ---------------------------------------------------------------------------


def test_the_prompt_is_shown_and_nothing_is_made(ada: Client, project: Project) -> None:
    Project.objects.filter(pk=project.pk).update(guidelines="Prefer the kinder answer.")
    response = ada.post(f"{NEW}?kind=openai", {**FIELDS, "preview": "1"})
    messages = response.context["preview"].sent.messages
    assert [one["role"] for one in messages] == ["system", "user"]
    assert "Prefer the kinder answer." in messages[0]["content"]
    assert "Question number 0?" in messages[1]["content"]
    assert "Prefer the kinder answer." in response.text
    assert not Judge.objects.exists()


def test_a_decision_model_is_shown_its_questions(ada: Client, project: Project) -> None:
    values = {name: FIELDS[name] for name in ("name", "base_url", "model", "tie", "aggregation", "tie_band")}
    response = ada.post(f"{NEW}?kind=decisions", {**values, "preview": "1"})
    assert [one["role"] for one in response.context["preview"].sent.messages] == ["input", "questions"]


def test_a_prompt_that_cannot_be_made_says_why(ada: Client, project: Project) -> None:
    response = ada.post(f"{NEW}?kind=openai", {**FIELDS, "base_url": "http://10.0.0.8/v1", "preview": "1"})
    assert "The host 10.0.0.8 is not among those" in response.context["preview"].error


# --- The probe ------------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_probing_shows_what_the_server_can_do(ada: Client, project: Project) -> None:
    with JudgeServer() as server:
        server.routes["GET /v1/models"] = listing("m")
        version = add_judge(project, "small", kind="openai", base_url=server.base_url, model="m")
        here = f"/projects/helpfulness/judges/{version.pk}/"
        assert "Not probed yet" in ada.get(here).text
        page = ada.post(f"{here}probe/", follow=True)
    assert ServedModel.objects.get().error == ""
    assert "The server answered" in page.text
    assert page.context["findings"]
    assert all(what in page.text for what, _ in page.context["findings"])
    assert "Probe again" in page.text


@pytest.mark.django_db(transaction=True)
def test_a_probe_that_fails_says_why_and_can_be_repeated(ada: Client, project: Project) -> None:
    with JudgeServer(lambda _call: failure(401, "bad key")) as server:
        version = add_judge(project, "small", kind="openai", base_url=server.base_url, model="m")
        page = ada.post(f"/projects/helpfulness/judges/{version.pk}/probe/", follow=True).text
    error = ServedModel.objects.get().error
    assert error
    assert error.split(".")[0].replace("'", "&#x27;") in page
    assert "Probe again" in page


def test_a_rule_has_no_server_to_probe(ada: Client, length: JudgeVersion) -> None:
    here = f"/projects/helpfulness/judges/{length.pk}/"
    assert "Probe the server" not in ada.get(here).text
    assert "asks no server" in ada.post(f"{here}probe/", follow=True).text
