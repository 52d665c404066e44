"""Reasons are asked for where somebody will read them: the judge's own labels, and pairs that people dispute."""

import io
import json

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from annotation.models import Pair, Preference, RationaleTiming
from judges.defining import add_judge
from judges.models import JudgeVersion, Order, Verdict
from judges.options import Options
from judges.running import start_run, work_off
from routing.labels.explaining import ask_reasons, pairs_to_explain
from routing.models import Label, LabelSource
from tests.builders import make_pair, make_project
from tests.judge_server import Call, JudgeServer, Served, verdict

pytestmark = pytest.mark.django_db


def letter_or_reason(call: Call) -> Served:
    """Answer the letter's question with A, the question for a reason with a sentence."""
    system = call.body["messages"][0]["content"]
    if '"rationale"' in system:
        return verdict(text=json.dumps({"rationale": "It answers the question.", "choice": "first"}))
    return verdict(text=json.dumps({"choice": "A" if len(call.first) > len(call.second) else "B"}))


def label(pair: Pair, source: str, choice: str, version: JudgeVersion | None = None) -> None:
    provenance = {} if version is None else {"judge": version.judge.name, "judge_version": version.number}
    Label.objects.create(pair=pair, source=source, choice=choice, provenance=provenance, resolved_at=timezone.now())


def test_only_own_labels_and_disputed_pairs_are_explained() -> None:
    project = make_project()
    own, disputed, of_people, of_another = (
        make_pair(project, response_a=f"a long answer {number}", response_b=f"short {number}") for number in range(4)
    )
    with JudgeServer(letter_or_reason) as server:
        version = add_judge(
            project,
            "gpt",
            kind="openai",
            base_url=server.base_url,
            model="m",
            protocol="letter",
            options=Options(rationale="later"),
        )
        work_off(start_run(version, send=False))
        label(own, LabelSource.AI, "a", version)
        label(disputed, LabelSource.HUMAN, "")
        label(of_people, LabelSource.HUMAN, "b")
        label(of_another, LabelSource.AI, "a", add_judge(project, "length", kind="length"))
        assert set(pairs_to_explain(version)) == {own, disputed}
        out = io.StringIO()
        call_command("ask_reasons", project.slug, "gpt", "--wait", "--json", stdout=out)
        assert json.loads(out.getvalue().splitlines()[-1])["done"] == 2
        again = ask_reasons(version, send=False)
    assert again.verdicts.count() == 0
    asked = Verdict.objects.filter(version=version, order=Order.WHY)
    assert set(asked.values_list("pair_id", flat=True)) == {own.pk, disputed.pk}
    reasons = Preference.objects.filter(rater=version.rater, is_current=True).exclude(rationale="")
    assert {(one.pair_id, one.rationale, one.rationale_timing) for one in reasons} == {
        (pair.pk, "It answers the question.", RationaleTiming.AFTER.value) for pair in (own, disputed)
    }


def test_a_rule_has_no_reasons_to_give() -> None:
    project = make_project()
    add_judge(project, "length", kind="length")
    with pytest.raises(CommandError, match="length v1 gives no reasons: it is no model that writes"):
        call_command("ask_reasons", project.slug, "length", "--wait")
