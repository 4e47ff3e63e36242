"""Voters, their votes, and what the published rules set aside."""

from __future__ import annotations

import hashlib
import secrets
from typing import ClassVar, Self

from django.conf import settings
from django.db import models
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from arena.models.battles import Battle
from arena.models.draws import Policy, Season
from webapp.identifiers import uuid7
from webapp.transparency.models import Entry


class Verdict(models.TextChoices):
    """What a voter can say; a skip is not a vote."""

    A = "a", "A is better"
    TIE = "tie", "Tie"
    BOTH_BAD = "both_bad", "Both are bad"
    B = "b", "B is better"


class Aspect(models.TextChoices):
    """Aspects that may be judged apart, each with a verdict."""

    HELPFUL = "helpful", "Helpful"
    TRUTHFUL = "truthful", "Truthful"
    HARMLESS = "harmless", "Harmless"


class ExclusionKind(models.TextChoices):
    """A voter's votes are set aside, or count again."""

    EXCLUDE = "exclude", "set aside"
    INCLUDE = "include", "counted again"


def new_salt() -> str:
    """Return 32 random bytes in hexadecimal."""
    return secrets.token_hex(32)


class Voter(models.Model):
    """A person's account or an anonymous signed session. Only a season's digest of it is ever published."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    salt = models.CharField(max_length=64, default=new_salt, editable=False)
    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="arena_voter"
    )
    is_simulated = models.BooleanField(default=False)
    community = models.CharField(max_length=60, blank=True, default="")
    created_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return str(self.id)

    def digest(self, season: Season) -> str:
        """Return what stands for this voter in a season's log: nobody can tell who it is, nor join seasons."""
        return hashlib.sha256(bytes.fromhex(self.salt) + season.slug.encode()).hexdigest()


class VoteQuerySet(models.QuerySet["Vote"]):
    """Which votes stand."""

    def current(self) -> Self:
        """Return votes that no later one supersedes.

        NOT EXISTS, because PostgreSQL expects one row of the join that Django makes of `superseded_by__isnull`,
        and then plans everything around it for one row.
        """
        return self.filter(~Exists(Vote.objects.filter(supersedes=OuterRef("pk"))))

    def closed(self) -> Self:
        """Return current votes of battles that ended with a vote."""
        return self.current().filter(battle__close__kind="vote")


class Vote(models.Model):
    """A verdict. A correction within the edit window is a new row that supersedes this one."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    battle = models.ForeignKey(Battle, on_delete=models.PROTECT, related_name="votes")
    voter = models.ForeignKey(Voter, on_delete=models.PROTECT, related_name="votes")
    verdict = models.CharField(max_length=8, choices=Verdict.choices)
    supersedes = models.OneToOneField(
        "self", null=True, blank=True, on_delete=models.PROTECT, related_name="superseded_by"
    )
    latency_ms = models.PositiveIntegerField(default=0, help_text="From the battle's start to this vote.")
    entry = models.OneToOneField(Entry, to_field="id", on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    objects: ClassVar[models.Manager[Vote]] = VoteQuerySet.as_manager()

    class Meta:
        ordering = ["created_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["battle", "voter"], condition=Q(supersedes__isnull=True), name="one_vote_per_battle_and_voter"
            ),
            models.CheckConstraint(condition=Q(verdict__in=Verdict.values), name="known_verdict"),
        ]

    def __str__(self) -> str:
        return str(self.id)


class VoteDetail(models.Model):
    """What a voter may add to a vote, once. `after_reveal`: the names were known by then."""

    vote = models.OneToOneField(Vote, on_delete=models.PROTECT, related_name="detail")
    strength = models.PositiveSmallIntegerField(null=True, blank=True, help_text="1 slight to 5 strong.")
    confidence = models.PositiveSmallIntegerField(null=True, blank=True, help_text="1 guess to 5 certain.")
    aspects = models.JSONField(default=dict, blank=True)
    tags = models.JSONField(default=list, blank=True)
    comment = models.TextField(blank=True, default="")
    after_reveal = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=(Q(strength__isnull=True) | Q(strength__range=(1, 5)))
                & (Q(confidence__isnull=True) | Q(confidence__range=(1, 5))),
                name="five_point_scales",
            )
        ]

    def __str__(self) -> str:
        return str(self.vote_id)


class ExclusionQuerySet(models.QuerySet["Exclusion"]):
    """Which exclusions are in force."""

    def in_force(self) -> Self:
        """Return exclusions that no inclusion ended."""
        return self.filter(kind=ExclusionKind.EXCLUDE, ended_by__isnull=True)


class Exclusion(models.Model):
    """A published rule set a voter's votes or one battle aside, or ended such an exclusion. Nothing is deleted."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    season = models.ForeignKey(Season, on_delete=models.PROTECT, related_name="exclusions")
    kind = models.CharField(max_length=8, choices=ExclusionKind.choices)
    voter = models.ForeignKey(Voter, null=True, blank=True, on_delete=models.PROTECT, related_name="exclusions")
    battle = models.ForeignKey(Battle, null=True, blank=True, on_delete=models.PROTECT, related_name="exclusions")
    ends = models.OneToOneField("self", null=True, blank=True, on_delete=models.PROTECT, related_name="ended_by")
    rule = models.SlugField(max_length=60)
    policy = models.ForeignKey(Policy, on_delete=models.PROTECT, related_name="+")
    numbers = models.JSONField(default=dict)
    entry = models.OneToOneField(Entry, to_field="id", on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    objects: ClassVar[models.Manager[Exclusion]] = ExclusionQuerySet.as_manager()

    class Meta:
        ordering = ["created_at", "pk"]
        constraints = [
            models.CheckConstraint(
                condition=Q(kind="exclude", ends__isnull=True, voter__isnull=False, battle__isnull=True)
                | Q(kind="exclude", ends__isnull=True, voter__isnull=True, battle__isnull=False)
                | Q(kind="include", ends__isnull=False, voter__isnull=True, battle__isnull=True),
                name="exclusion_has_one_subject",
            ),
            models.CheckConstraint(condition=~Q(rule=""), name="exclusion_cites_a_rule"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} by {self.rule}"


class OnboardingAnswer(models.Model):
    """One answer to one check of the introduction; the last one for a check stands."""

    voter = models.ForeignKey(Voter, on_delete=models.PROTECT, related_name="onboarding")
    check_id = models.CharField(max_length=40)
    is_right = models.BooleanField()
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["created_at", "pk"]

    def __str__(self) -> str:
        return f"{self.voter_id} {self.check_id}"
