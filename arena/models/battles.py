"""Battles, their turns and how they closed; prompts of the pool."""

from __future__ import annotations

import uuid
from typing import ClassVar, Self

from django.db import models
from django.db.models import F, Q
from django.urls import reverse
from django.utils import timezone

from arena.models.draws import Epoch, Season
from arena.models.roster import Contestant
from webapp.identifiers import uuid7
from webapp.playground.models import Generation
from webapp.transparency.models import Entry


class PoolPrompt(models.Model):
    """A prompt that people may take instead of writing one. `key` is its id in the imported file."""

    key = models.CharField(max_length=200, unique=True)
    text = models.TextField()
    category = models.CharField(max_length=60, blank=True, default="")
    discipline = models.CharField(max_length=60, blank=True, default="")
    language = models.CharField(max_length=20, blank=True, default="")
    reference = models.TextField(blank=True, default="", help_text="A human's answer, for readers after the vote.")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return self.key


class CloseKind(models.TextChoices):
    """How a draw ended; only `vote` is rated."""

    VOTE = "vote", "voted"
    SKIP = "skip", "skipped"
    ABANDONED = "abandoned", "left"
    ERROR = "error", "an answer failed"
    MODERATED = "moderated", "stopped by moderation"


class BattleQuerySet(models.QuerySet["Battle"]):
    """Where battles stand."""

    def unclosed(self) -> Self:
        """Return battles whose draw index is still open."""
        return self.filter(close__isnull=True)

    def of(self, voter_id: uuid.UUID) -> Self:
        """Return a voter's own battles, newest first."""
        return self.filter(voter_id=voter_id).order_by("-created_at")


class Battle(models.Model):
    """One draw: a prompt and two contestants on sides a and b, with the exact chance of the pair."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    season = models.ForeignKey(Season, on_delete=models.PROTECT, related_name="battles")
    epoch = models.ForeignKey(Epoch, on_delete=models.PROTECT, related_name="battles")
    draw_index = models.PositiveBigIntegerField()
    nonce = models.CharField(max_length=128, help_text="The client's 16 to 64 bytes in hexadecimal.")
    voter = models.ForeignKey("arena.Voter", on_delete=models.PROTECT, related_name="battles")
    contestant_a = models.ForeignKey(Contestant, on_delete=models.PROTECT, related_name="+")
    contestant_b = models.ForeignKey(Contestant, on_delete=models.PROTECT, related_name="+")
    is_swapped = models.BooleanField(help_text="The pair's smaller id is on side b.")
    p_numerator = models.CharField(max_length=20)
    p_denominator = models.CharField(max_length=20)
    is_pre_release = models.BooleanField(help_text="A private variant took part: published, never counted.")
    pool_prompt = models.ForeignKey(PoolPrompt, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    category = models.CharField(max_length=60, blank=True, default="")
    discipline = models.CharField(max_length=60, blank=True, default="")
    language = models.CharField(max_length=20, blank=True, default="")
    receipt = models.TextField(help_text="Signed note that the client got before the first token.")
    entry = models.OneToOneField(Entry, to_field="id", on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    objects: ClassVar[models.Manager[Battle]] = BattleQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]
        indexes = [models.Index(fields=["voter", "created_at"], name="battles_of_a_voter")]
        constraints = [
            models.UniqueConstraint(fields=["epoch", "draw_index"], name="one_battle_per_draw_index"),
            models.CheckConstraint(condition=~Q(contestant_a=F("contestant_b")), name="two_contestants"),
            models.CheckConstraint(
                condition=Q(p_numerator__regex=r"^[1-9][0-9]*$") & Q(p_denominator__regex=r"^[1-9][0-9]*$"),
                name="exact_probability",
            ),
        ]

    def __str__(self) -> str:
        return str(self.id)

    def get_absolute_url(self) -> str:
        """Return the permalink of the battle."""
        return reverse("arena:battle", args=[self.id])


class BattleTurn(models.Model):
    """One prompt of a battle and both answers; a simulated battle has no answers."""

    battle = models.ForeignKey(Battle, on_delete=models.PROTECT, related_name="turns")
    number = models.PositiveSmallIntegerField()
    prompt_hash = models.CharField(max_length=64)
    generation_a = models.OneToOneField(Generation, null=True, on_delete=models.PROTECT, related_name="+")
    generation_b = models.OneToOneField(Generation, null=True, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["battle", "number"]
        constraints = [models.UniqueConstraint(fields=["battle", "number"], name="turns_numbered")]

    def __str__(self) -> str:
        return f"{self.battle_id}/{self.number}"


class TurnText(models.Model):
    """A prompt's words with the salt of its hash. An erasure deletes this row; the hash stays in the log."""

    turn = models.OneToOneField(BattleTurn, on_delete=models.PROTECT, related_name="text")
    prompt = models.TextField()
    salt = models.CharField(max_length=64)

    def __str__(self) -> str:
        return str(self.turn_id)


class BattleClose(models.Model):
    """The end of a battle: from here on nothing about it changes and all of it may be shown."""

    battle = models.OneToOneField(Battle, on_delete=models.PROTECT, related_name="close")
    kind = models.CharField(max_length=10, choices=CloseKind.choices)
    reason = models.SlugField(max_length=60, blank=True, default="")
    salt = models.CharField(max_length=64, blank=True, default="", help_text="Of the answers' hashes in the log.")
    entry = models.OneToOneField(Entry, to_field="id", on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(kind__in=CloseKind.values), name="known_close")]

    def __str__(self) -> str:
        return f"{self.battle_id} {self.kind}"
