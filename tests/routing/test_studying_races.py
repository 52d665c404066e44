"""Two workers that hear of one study at the same moment: one works on it."""

import threading
from typing import Any

import pytest
from django.db import connection

from routing.models import Study, StudyKind, StudyState
from routing.studies import studying
from routing.studies.studying import StudyProgress, work_study
from tests.builders import make_project

WORKERS = 6


@pytest.mark.django_db(transaction=True)
def test_one_worker_gets_a_study(monkeypatch: pytest.MonkeyPatch) -> None:
    worked: list[str] = []

    def runner(study: Study, progress: StudyProgress) -> dict[str, Any]:
        worked.append(threading.current_thread().name)
        return {"by": worked[0]}

    monkeypatch.setitem(studying.RUNNERS, StudyKind.MIXES, runner)
    study = Study.objects.create(project=make_project(), kind=StudyKind.MIXES, judge_name="gpt")
    barrier = threading.Barrier(WORKERS)
    ended: list[object] = []

    def work() -> None:
        try:
            barrier.wait(timeout=30)
            ended.append(work_study(study.pk))
        except BaseException as error:  # noqa: BLE001 - a thread's failure must reach the test
            ended.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(worked) == 1
    assert sorted(str(one) for one in ended if one is None) == ["None"] * (WORKERS - 1)
    study.refresh_from_db()
    assert (study.state, study.result) == (StudyState.DONE, {"by": worked[0]})
