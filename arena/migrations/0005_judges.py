"""Judges have owners; a verdict says whether it was held-out. SQLite rebuilds the table, so its guards are put back."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

from arena.guards import install_guards


class Migration(migrations.Migration):
    dependencies = [
        ("arena", "0004_releases"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.RunPython(migrations.RunPython.noop, install_guards),
        migrations.AddField(
            model_name="judge",
            name="owner",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="arena_judges",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="judgeverdict",
            name="is_held_out",
            field=models.BooleanField(default=False, help_text="No release had told the human verdict then."),
        ),
        migrations.AlterField(
            model_name="judgeverdict",
            name="battle",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="judged_by", to="arena.battle"
            ),
        ),
        migrations.RunPython(install_guards, migrations.RunPython.noop),
    ]
