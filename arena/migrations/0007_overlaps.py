"""What was measured of the overlap of answers with corpora, written once, and the jobs that measure."""

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

from arena.guards import install_overlap_guards, remove_overlap_guards


class Migration(migrations.Migration):
    dependencies = [
        ("arena", "0006_votes_after_answers"),
        ("transparency", "0002_append_only"),
    ]

    operations = [
        migrations.CreateModel(
            name="OverlapJob",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("pending", "Pending"),
                            ("running", "Running"),
                            ("done", "Done"),
                            ("failed", "Failed"),
                            ("cancelled", "Cancelled"),
                        ],
                        db_index=True,
                        default="pending",
                        max_length=10,
                    ),
                ),
                ("error", models.TextField(blank=True, default="")),
                ("n_starts", models.PositiveSmallIntegerField(default=0)),
                ("created_at", models.DateTimeField(db_index=True, default=django.utils.timezone.now)),
                ("started_at", models.DateTimeField(blank=True, null=True)),
                ("heartbeat_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("finished_at", models.DateTimeField(blank=True, null=True)),
                (
                    "battle",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT, related_name="overlap_job", to="arena.battle"
                    ),
                ),
            ],
            options={
                "abstract": False,
            },
        ),
        migrations.CreateModel(
            name="Overlap",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "outcome",
                    models.CharField(choices=[("measured", "Measured"), ("unmeasured", "Unmeasured")], max_length=10),
                ),
                ("reason", models.SlugField(blank=True, default="", max_length=60)),
                (
                    "settings",
                    models.CharField(help_text="SHA-256 of the settings, which the policy holds.", max_length=64),
                ),
                ("covered_a", models.PositiveIntegerField(null=True)),
                ("characters_a", models.PositiveIntegerField(null=True)),
                ("covered_b", models.PositiveIntegerField(null=True)),
                ("characters_b", models.PositiveIntegerField(null=True)),
                (
                    "indexes",
                    models.JSONField(default=list, help_text="Corpus and digest of every index that was searched."),
                ),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "battle",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT, related_name="overlap", to="arena.battle"
                    ),
                ),
                (
                    "entry",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="transparency.entry",
                        to_field="id",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("characters_a__isnull", False),
                                ("characters_b__isnull", False),
                                ("covered_a__isnull", False),
                                ("covered_a__lte", models.F("characters_a")),
                                ("covered_b__isnull", False),
                                ("covered_b__lte", models.F("characters_b")),
                                ("outcome", "measured"),
                                ("reason", ""),
                            ),
                            models.Q(
                                models.Q(("reason", ""), _negated=True),
                                ("characters_a", None),
                                ("characters_b", None),
                                ("covered_a", None),
                                ("covered_b", None),
                                ("outcome", "unmeasured"),
                            ),
                            _connector="OR",
                        ),
                        name="overlap_measured_or_not",
                    )
                ],
            },
        ),
        migrations.RunPython(install_overlap_guards, remove_overlap_guards),
    ]
