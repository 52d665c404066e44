"""Leases and answers of before say what they promise: the project's pay an answer, which is what they were shown."""

from decimal import Decimal

from django.db import migrations

BATCH = 5000


def promise(apps, schema_editor):
    Assignment = apps.get_model("annotation", "Assignment")
    Project = apps.get_model("annotation", "Project")
    for project, pay in Project.objects.filter(pay_per_answer_usd__gt=0).values_list("pk", "pay_per_answer_usd"):
        paid = Assignment.objects.filter(
            task__project=project, rater__origin="live", state__in=["leased", "submitted", "extra"], promised_usd=0
        )
        while batch := list(paid.values_list("pk", flat=True)[:BATCH]):
            Assignment.objects.filter(pk__in=batch).update(promised_usd=Decimal(pay))


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("annotation", "0008_assigning")]

    operations = [migrations.RunPython(promise, migrations.RunPython.noop)]
