"""What a release covers, when it opened, and its log entry; the database refuses to change that afterwards."""

import django.db.models.deletion
from django.db import migrations, models

from arena.guards import install_release_guards, remove_release_guards


class Migration(migrations.Migration):
    dependencies = [
        ("arena", "0003_leaderboard_pairs"),
        ("transparency", "0002_append_only"),
    ]

    operations = [
        migrations.AddField(
            model_name="arenaexport",
            name="digest",
            field=models.CharField(
                blank=True, default="", help_text="SHA-256 of the names and digests.", max_length=64
            ),
        ),
        migrations.AddField(
            model_name="arenaexport",
            name="entry",
            field=models.OneToOneField(
                blank=True,
                help_text="Of the files as they are now.",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="transparency.entry",
                to_field="id",
            ),
        ),
        migrations.AddField(
            model_name="arenaexport",
            name="erased_at",
            field=models.DateTimeField(blank=True, help_text="When a text in its files was last erased.", null=True),
        ),
        migrations.AddField(
            model_name="arenaexport",
            name="n_votes",
            field=models.PositiveIntegerField(default=0),
        ),
        migrations.AddField(
            model_name="arenaexport",
            name="n_withheld",
            field=models.PositiveIntegerField(default=0),
        ),
        migrations.AddField(
            model_name="arenaexport",
            name="released_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="arenaexport",
            name="votes_size",
            field=models.PositiveBigIntegerField(default=0),
        ),
        migrations.AddConstraint(
            model_name="arenaexport",
            constraint=models.UniqueConstraint(
                condition=models.Q(("released_at__isnull", True), ("status__in", ["pending", "running"])),
                fields=("season",),
                name="one_release_in_the_making",
            ),
        ),
        migrations.RunPython(install_release_guards, remove_release_guards),
    ]
