"""The tables are emptied after a test even where a request of its browser still holds some of them."""

import threading

import pytest
from django.core.management import call_command
from django.db import OperationalError, connection, transaction

from annotation.models import Pair, Project
from tests.builders import make_pair, make_project


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_a_deadlock_with_a_late_request_leaves_no_rows() -> None:
    """The late request holds the last table and asks for the first when the flush has locked it.

    PostgreSQL ends whoever has waited for a second first: the flush, which is begun again.
    """
    project = make_project()
    make_pair(project)
    tables = connection.introspection.django_table_names(only_existing=True, include_views=False)
    holds, ends = threading.Event(), threading.Event()
    outcomes: list[str] = []

    def late_request() -> None:
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(f"LOCK TABLE {connection.ops.quote_name(tables[-1])} IN ACCESS SHARE MODE")
                holds.set()
                ends.wait(0.5)
                cursor.execute(f"SELECT count(*) FROM {connection.ops.quote_name(tables[0])}")
            outcomes.append("read")
        except OperationalError:
            outcomes.append("broken off")
        finally:
            connection.close()

    thread = threading.Thread(target=late_request)
    thread.start()
    assert holds.wait(10)
    call_command("flush", interactive=False, verbosity=0)
    ends.set()
    thread.join()
    assert outcomes == ["read"]
    assert (Project.objects.count(), Pair.objects.count()) == (0, 0)
