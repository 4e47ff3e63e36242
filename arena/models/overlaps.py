"""How much of a battle's answers stands word for word in corpora: what was measured, and the job that measures."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from arena.models.battles import Battle
from webapp.jobs import Job, JobQuerySet
from webapp.transparency.models import Entry


class OverlapOutcome(models.TextChoices):
    """Whether a battle's answers could be measured."""

    MEASURED = "measured"
    UNMEASURED = "unmeasured"


class Overlap(models.Model):
    """Covered and all characters of both answers, or why they were not measured; written once, as its log entry."""

    battle = models.OneToOneField(Battle, on_delete=models.PROTECT, related_name="overlap")
    outcome = models.CharField(max_length=10, choices=OverlapOutcome.choices)
    reason = models.SlugField(max_length=60, blank=True, default="")
    settings = models.CharField(max_length=64, help_text="SHA-256 of the settings, which the policy holds.")
    covered_a = models.PositiveIntegerField(null=True)
    characters_a = models.PositiveIntegerField(null=True)
    covered_b = models.PositiveIntegerField(null=True)
    characters_b = models.PositiveIntegerField(null=True)
    indexes = models.JSONField(default=list, help_text="Corpus and digest of every index that was searched.")
    entry = models.OneToOneField(Entry, to_field="id", on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(
                    outcome="measured",
                    reason="",
                    covered_a__lte=F("characters_a"),
                    covered_b__lte=F("characters_b"),
                    covered_a__isnull=False,
                    covered_b__isnull=False,
                    characters_a__isnull=False,
                    characters_b__isnull=False,
                )
                | Q(
                    ~Q(reason=""),
                    outcome="unmeasured",
                    covered_a=None,
                    covered_b=None,
                    characters_a=None,
                    characters_b=None,
                ),
                name="overlap_measured_or_not",
            )
        ]

    def __str__(self) -> str:
        return f"{self.battle_id} {self.outcome}"

    def share(self, side: str) -> float | None:
        """Return the share of a side's answer; of an answer without characters none. None where unmeasured."""
        covered, characters = getattr(self, f"covered_{side}"), getattr(self, f"characters_{side}")
        return None if covered is None else covered / characters if characters else 0.0


class OverlapJob(Job):
    """A battle whose answers are to be measured; it is written with the close."""

    battle = models.OneToOneField(Battle, on_delete=models.PROTECT, related_name="overlap_job")

    objects: ClassVar[models.Manager[OverlapJob]] = JobQuerySet.as_manager()

    def __str__(self) -> str:
        return f"overlap of {self.battle_id}"
