"""Counts of each pair beside a leaderboard's ratings. SQLite rebuilds the table, so its guards are put back."""

from django.db import migrations, models

from arena.guards import install_guards


class Migration(migrations.Migration):
    dependencies = [("arena", "0002_guards")]

    operations = [
        migrations.AddField(
            model_name="leaderboard",
            name="pairs",
            field=models.JSONField(default=list, help_text="Counts of each pair: ids, won, lost, ties, both bad."),
        ),
        migrations.RunPython(install_guards, migrations.RunPython.noop),
    ]
