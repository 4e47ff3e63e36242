"""Published leaderboards, released exports, and automatic judges."""

from __future__ import annotations

from typing import ClassVar, Self

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone

from arena.models.battles import Battle
from arena.models.draws import Season
from arena.models.votes import Verdict
from webapp.identifiers import uuid7
from webapp.jobs import Job, JobQuerySet, JobStatus
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


class ArenaExportQuerySet(JobQuerySet):
    """Which releases everybody may have."""

    def released(self) -> Self:
        """Return releases that were ever given to everyone, newest first."""
        return self.filter(released_at__isnull=False).order_by("-tree_size")


class ArenaExport(Job):
    """One release of a season's votes, made by a job and open to everyone at the same moment.

    What it covers is fixed by `tree_size` and `votes_size`: verdicts of battles closed below
    `votes_size` are told, those between the two only in the next release. Its files are made again,
    and nothing else about it changes, when a text in them is erased.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    season = models.ForeignKey(Season, on_delete=models.PROTECT, related_name="exports")
    tree_size = models.PositiveBigIntegerField(default=0)
    votes_size = models.PositiveBigIntegerField(default=0)
    n_votes = models.PositiveIntegerField(default=0)
    n_withheld = models.PositiveIntegerField(default=0)
    folder = models.CharField(max_length=500, blank=True, default="", help_text="Relative to the data folder.")
    files = models.JSONField(default=list, help_text="Name, size and SHA-256 of each file.")
    digest = models.CharField(max_length=64, blank=True, default="", help_text="SHA-256 of the names and digests.")
    entry = models.OneToOneField(
        Entry, to_field="id", null=True, blank=True, on_delete=models.PROTECT, related_name="+",
        help_text="Of the files as they are now.",
    )  # fmt: skip
    released_at = models.DateTimeField(null=True, blank=True)
    erased_at = models.DateTimeField(null=True, blank=True, help_text="When a text in its files was last erased.")

    objects: ClassVar[models.Manager[ArenaExport]] = ArenaExportQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["season"],
                condition=Q(status__in=["pending", "running"], released_at__isnull=True),
                name="one_release_in_the_making",
            ),
        ]

    def __str__(self) -> str:
        return str(self.id)

    @property
    def is_open(self) -> bool:
        """Tell whether its files may be had: not before the release, nor while they are made again."""
        return self.released_at is not None and self.status == JobStatus.DONE

    def get_absolute_url(self) -> str:
        """Return the permalink of the release."""
        return reverse("arena:release", args=[self.id])


class Judge(models.Model):
    """An automatic judge whose verdicts are compared with people's. Only its owner gives verdicts in its name."""

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="arena_judges"
    )
    slug = models.SlugField(max_length=60, unique=True)
    title = models.CharField(max_length=200)
    description = models.TextField(blank=True, default="")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["slug"]

    def __str__(self) -> str:
        return self.slug

    def get_absolute_url(self) -> str:
        """Return the address of the judge's page."""
        return reverse("arena:judge", args=[self.slug])


class JudgeVerdict(models.Model):
    """A judge's verdict on a released battle, in one order of its answers."""

    judge = models.ForeignKey(Judge, on_delete=models.PROTECT, related_name="verdicts")
    battle = models.ForeignKey(Battle, on_delete=models.PROTECT, related_name="judged_by")
    is_swapped = models.BooleanField(help_text="Side b was shown first; the verdict still names the battle's sides.")
    verdict = models.CharField(max_length=8, choices=Verdict.choices)
    is_held_out = models.BooleanField(default=False, help_text="No release had told the human verdict then.")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["judge", "battle", "is_swapped"], name="one_judge_verdict_per_order"),
            models.CheckConstraint(condition=Q(verdict__in=Verdict.values), name="known_judge_verdict"),
        ]

    def __str__(self) -> str:
        return f"{self.judge_id} {self.battle_id}"
