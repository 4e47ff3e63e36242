"""Under which rules pairs are drawn: policies, seasons, and epochs with a committed seed."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone

from webapp.transparency.models import Entry


class Season(models.Model):
    """A set of votes that is rated together. Simulated votes live in seasons of their own."""

    slug = models.SlugField(max_length=60, unique=True)
    title = models.CharField(max_length=200)
    is_simulated = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["created_at", "pk"]

    def __str__(self) -> str:
        return self.slug

    def get_absolute_url(self) -> str:
        """Return the address of the season's leaderboard."""
        return f"{reverse('arena:leaderboard')}?season={self.slug}"


class Policy(models.Model):
    """One version of a season's published rules; the latest is in force."""

    season = models.ForeignKey(Season, on_delete=models.PROTECT, related_name="policies")
    version = models.PositiveIntegerField()
    document = models.TextField(help_text="The rules as published.")
    rules = models.JSONField()
    private_cap = models.PositiveSmallIntegerField(help_text="Copied from the rules for the database's own check.")
    edit_window_s = models.PositiveIntegerField(help_text="Copied from the rules for the database's own check.")
    entry = models.OneToOneField(Entry, to_field="id", on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["season", "version"]
        verbose_name_plural = "policies"
        constraints = [models.UniqueConstraint(fields=["season", "version"], name="policies_numbered")]

    def __str__(self) -> str:
        return f"policy {self.version}"


class Epoch(models.Model):
    """A stretch of draws from one weight table and one committed seed.

    `seed` leaves the server only through the epoch's reveal, when all its draws are closed.
    """

    season = models.ForeignKey(Season, on_delete=models.PROTECT, related_name="epochs")
    number = models.PositiveIntegerField()
    policy = models.ForeignKey(Policy, on_delete=models.PROTECT, related_name="+")
    seed = models.CharField(max_length=64)
    commitment = models.CharField(max_length=64, unique=True)
    table = models.TextField(help_text="Canonical JSON of the weight table.")
    table_digest = models.CharField(max_length=64)
    roster_hash = models.CharField(max_length=64)
    tree_size = models.PositiveBigIntegerField(help_text="Number of log entries that the tallies were taken from.")
    n_votes = models.PositiveIntegerField()
    entry = models.OneToOneField(Entry, to_field="id", on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["season", "number"]
        constraints = [models.UniqueConstraint(fields=["season", "number"], name="epochs_numbered")]

    def __str__(self) -> str:
        return f"{self.season_id}/{self.number}"


class EpochReveal(models.Model):
    """The seed of an ended epoch, published."""

    epoch = models.OneToOneField(Epoch, on_delete=models.PROTECT, related_name="reveal")
    seed = models.CharField(max_length=64)
    n_draws = models.PositiveIntegerField()
    entry = models.OneToOneField(Entry, to_field="id", on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.CheckConstraint(condition=~Q(seed=""), name="reveal_has_a_seed")]

    def __str__(self) -> str:
        return f"reveal of {self.epoch_id}"
