from django.db import migrations

BATCH = 500


def book_what_was_answered(apps, schema_editor):
    """Answers given here before there was a book are in it with what they were promised, as every page has shown them."""
    Assignment = apps.get_model("annotation", "Assignment")
    LedgerEntry = apps.get_model("annotation", "LedgerEntry")
    paid = Assignment.objects.filter(state__in=["submitted", "extra"], rater__origin="live", ledger__isnull=True)
    rows = paid.order_by("pk").values_list(
        "pk", "rater_id", "repeats_id", "state", "finished_at", "leased_at", "task__project_id",
        "promised_usd",
    )
    last = None
    while True:
        batch = list((rows if last is None else rows.filter(pk__gt=last))[:BATCH])
        if not batch:
            return
        LedgerEntry.objects.bulk_create(
            LedgerEntry(
                project_id=project,
                key=f"answer:{pk}",
                kind="repeat" if repeats else "late" if state == "extra" else "answer",
                amount_usd=pay,
                rater_id=rater,
                assignment_id=pk,
                at=finished_at or leased_at,
            )
            for pk, rater, repeats, state, finished_at, leased_at, project, pay in batch
        )
        last = batch[-1][0]


class Migration(migrations.Migration):

    dependencies = [
        ("annotation", "0014_money"),
    ]

    operations = [
        migrations.RunPython(book_what_was_answered, migrations.RunPython.noop),
    ]
