from django.db import migrations
from django.db.models import F


def fill(apps, schema_editor):
    """Until now a person held one pair of a project at a time, and a task's slots were below the votes it wants."""
    apps.get_model("annotation", "Assignment").objects.filter(state="leased").update(place=0)
    apps.get_model("annotation", "Task").objects.update(next_slot=F("votes_wanted"))


class Migration(migrations.Migration):

    dependencies = [
        ("annotation", "0003_screens"),
    ]

    operations = [
        migrations.RunPython(fill, migrations.RunPython.noop),
    ]
