"""People who give, over HTTP and through the screen's own form, the answers that a data set recorded."""

import re

from django.test import Client
from django.urls import reverse

from annotation.models import Assignment, Choice, Membership, Origin, Preference, Project, Role, ShownOrder
from tests.builders import make_user

SUBMIT_URL = re.compile(r"/annotate/[\w-]+/([0-9a-f-]{36})/submit/")
SHOWN = {
    ShownOrder.AB: {Choice.A: "first2", Choice.B: "second2"},
    ShownOrder.BA: {Choice.A: "second2", Choice.B: "first2"},
}


def replay_answers(project: Project, recorded_names: list[str], username: str) -> int:
    """Sign a new annotator in, who answers every pair as one of `recorded_names` did; return how many.

    A pair that none of them answered is passed on.
    """
    user = make_user(username)
    Membership.objects.create(project=project, user=user, role=Role.ANNOTATOR)
    recorded = dict(
        Preference.objects.counted()
        .filter(pair__project=project, rater__name__in=recorded_names, rater__origin=Origin.RECORDED)
        .values_list("pair_id", "choice")
    )
    client = Client()
    client.force_login(user)
    answered = 0
    page = client.get(reverse("annotate", args=[project.slug]))
    while found := SUBMIT_URL.search(page.content.decode()):
        assignment = Assignment.objects.select_related("task").get(pk=found[1])
        choice = recorded.get(assignment.task.pair_id)
        if choice is None:
            verb, data = "skip_pair", {"reason": "too_hard"}
        else:
            shown = SHOWN[ShownOrder(assignment.shown_order)].get(Choice(choice), choice)
            verb, data = "submit_answer", {"answer": shown, "rationale": "", "seconds": "3"}
            answered += 1
        page = client.post(reverse(verb, args=[project.slug, assignment.pk]), data, headers={"HX-Request": "true"})
        assert page.status_code == 200
    return answered
