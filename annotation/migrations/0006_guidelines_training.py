import annotation.ids
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('annotation', '0005_places_while_leased'),
    ]

    operations = [
        migrations.AddField(
            model_name='project',
            name='guidelines_number',
            field=models.PositiveIntegerField(default=0, help_text='The version that `guidelines` is the text of; 0: there were none yet.'),
        ),
        migrations.AddField(
            model_name='project',
            name='training',
            field=models.JSONField(blank=True, default=dict, help_text='Practice pairs and the questions of the gate (`annotation.training`).'),
        ),
        migrations.AddField(
            model_name='rater',
            name='gate_answers',
            field=models.JSONField(blank=True, default=dict, help_text='The last try: {key: of the questions asked, answers: [[option]]}.'),
        ),
        migrations.AddField(
            model_name='rater',
            name='gate_extra',
            field=models.PositiveSmallIntegerField(default=0, help_text="Tries that a manager allowed beyond the project's."),
        ),
        migrations.AddField(
            model_name='rater',
            name='gate_passed_at',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='rater',
            name='gate_tries',
            field=models.PositiveSmallIntegerField(default=0, help_text="Tries at the gate's questions so far."),
        ),
        migrations.AddField(
            model_name='rater',
            name='guidelines_read',
            field=models.PositiveIntegerField(default=0, help_text='The newest version of the guidelines that this person said they have read; 0: none.'),
        ),
        migrations.AddField(
            model_name='rater',
            name='practice_done',
            field=models.PositiveIntegerField(default=0, help_text='Practice pairs answered, from the first on.'),
        ),
        migrations.CreateModel(
            name='GuidelinesVersion',
            fields=[
                ('id', models.UUIDField(default=annotation.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('number', models.PositiveIntegerField()),
                ('text', models.TextField(blank=True)),
                ('note', models.TextField(blank=True, help_text='What changed, in words for annotators.')),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('created_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='guidelines_versions', to='annotation.project')),
            ],
            options={
                'ordering': ['-number'],
                'constraints': [models.UniqueConstraint(fields=('project', 'number'), name='one_guidelines_version_per_project_and_number'), models.CheckConstraint(condition=models.Q(('number__gte', 1)), name='guidelines_versions_count_from_one')],
            },
        ),
    ]
