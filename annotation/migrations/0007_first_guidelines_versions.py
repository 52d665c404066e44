from django.db import migrations

BATCH = 500


def number_the_guidelines(apps, schema_editor):
    """What projects have become version 1, from the day they were made; who works there has had it beside the task."""
    Project = apps.get_model("annotation", "Project")
    Version = apps.get_model("annotation", "GuidelinesVersion")
    Rater = apps.get_model("annotation", "Rater")
    with_guidelines = Project.objects.exclude(guidelines="").filter(guidelines_number=0)
    for project in with_guidelines.only("id", "guidelines", "created_at").iterator(chunk_size=BATCH):
        version = Version.objects.create(project_id=project.pk, number=1, text=project.guidelines)
        Version.objects.filter(pk=version.pk).update(created_at=project.created_at)
        Project.objects.filter(pk=project.pk).update(guidelines_number=1)
        Rater.objects.filter(project_id=project.pk, user__isnull=False, assignments__isnull=False).update(
            guidelines_read=1
        )


class Migration(migrations.Migration):

    dependencies = [
        ("annotation", "0006_guidelines_training"),
    ]

    operations = [
        migrations.RunPython(number_the_guidelines, migrations.RunPython.noop),
    ]
