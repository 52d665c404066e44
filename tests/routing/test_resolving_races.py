"""Two answers to one pair at the same moment: the label counts both."""

import threading

import pytest
from django.db import connection

from annotation.models import Pair
from routing.labels.resolving import resolve_labels
from routing.models import Label
from tests.builders import make_pair, make_preference, make_project


@pytest.mark.django_db(transaction=True)
def test_label_counts_every_answer_however_the_resolving_interleaves() -> None:
    pair = make_pair(make_project())
    people = 6
    barrier = threading.Barrier(people)
    failures: list[BaseException] = []

    def answer_and_resolve(number: int) -> None:
        try:
            barrier.wait(timeout=30)
            mine = Pair.objects.get(pk=pair.pk)
            make_preference(mine, f"rater {number}", "a")
            resolve_labels(mine.project, [mine.pk])
        except BaseException as error:  # noqa: BLE001 - a thread's failure must reach the test
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=answer_and_resolve, args=(number,)) for number in range(people)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert failures == []
    label = Label.objects.get(pair=pair)
    assert (label.n_votes, label.choice) == (people, "a")
