"""Published leaderboards, released exports, and automatic judges."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone

from arena.models.battles import Battle
from arena.models.draws import Season
from arena.models.votes import Verdict
from webapp.identifiers import uuid7
from webapp.jobs import Job
from webapp.transparency.models import Entry


class Leaderboard(models.Model):
    """An immutable snapshot of ratings with the digest of the votes that it was computed from."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    season = models.ForeignKey(Season, on_delete=models.PROTECT, related_name="leaderboards")
    slice_key = models.CharField(max_length=64, help_text="Digest of the slice's parameters.")
    parameters = models.JSONField(help_text="Slice and method: all that is needed to compute it again.")
    input_digest = models.CharField(max_length=64)
    tree_size = models.PositiveBigIntegerField(help_text="Number of log entries that it was computed from.")
    policy = models.ForeignKey("arena.Policy", on_delete=models.PROTECT, related_name="+")
    n_votes = models.PositiveIntegerField()
    result = models.JSONField()
    pairs = models.JSONField(default=list, help_text="Counts of each pair: ids, won, lost, ties, both bad.")
    result_digest = models.CharField(max_length=64)
    entry = models.OneToOneField(Entry, to_field="id", on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        ordering = ["-created_at"]
        indexes = [models.Index(fields=["season", "slice_key", "-created_at"], name="latest_board")]

    def __str__(self) -> str:
        return str(self.id)

    def get_absolute_url(self) -> str:
        """Return the permalink of the snapshot."""
        return reverse("arena:leaderboard-permalink", args=[self.id])


class ArenaExport(Job):
    """One release of all votes, made by a job and open to everyone at the same moment."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    season = models.ForeignKey(Season, on_delete=models.PROTECT, related_name="exports")
    tree_size = models.PositiveBigIntegerField(default=0)
    folder = models.CharField(max_length=500, blank=True, default="", help_text="Relative to the data folder.")
    files = models.JSONField(default=list, help_text="Name, size and SHA-256 of each file.")

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return str(self.id)


class Judge(models.Model):
    """An automatic judge whose verdicts are compared with people's."""

    slug = models.SlugField(max_length=60, unique=True)
    title = models.CharField(max_length=200)
    description = models.TextField(blank=True, default="")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["slug"]

    def __str__(self) -> str:
        return self.slug


class JudgeVerdict(models.Model):
    """A judge's verdict on a released battle, in one order of its answers."""

    judge = models.ForeignKey(Judge, on_delete=models.PROTECT, related_name="verdicts")
    battle = models.ForeignKey(Battle, on_delete=models.PROTECT, related_name="+")
    is_swapped = models.BooleanField(help_text="Side b was shown first; the verdict still names the battle's sides.")
    verdict = models.CharField(max_length=8, choices=Verdict.choices)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["judge", "battle", "is_swapped"], name="one_judge_verdict_per_order"),
            models.CheckConstraint(condition=Q(verdict__in=Verdict.values), name="known_judge_verdict"),
        ]

    def __str__(self) -> str:
        return f"{self.judge_id} {self.battle_id}"
