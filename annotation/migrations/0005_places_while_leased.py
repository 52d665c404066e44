from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("annotation", "0004_fill_places_and_slots"),
    ]

    operations = [
        migrations.AddConstraint(
            model_name='assignment',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('place__isnull', False), ('state', 'leased')), models.Q(models.Q(('state', 'leased'), _negated=True), ('place__isnull', True)), _connector='OR'), name='assignment_has_a_place_while_leased'),
        ),
    ]
