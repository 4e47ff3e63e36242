"""Who may battle: providers, contestants by digest, and every change of the roster as a row."""

from __future__ import annotations

from typing import ClassVar, Self

from django.conf import settings
from django.db import models
from django.db.models import Exists, OuterRef, Q, Subquery
from django.urls import reverse
from django.utils import timezone

from webapp.identifiers import uuid7
from webapp.playground.models import Checkpoint
from webapp.transparency.models import Entry


class LicenceGroup(models.TextChoices):
    """Groups within which the removal rule is applied."""

    PROPRIETARY = "proprietary", "proprietary"
    OPEN_WEIGHT = "open-weight", "open-weight"
    OPEN_SOURCE = "open-source", "open-source"


class Visibility(models.TextChoices):
    """What a contestant was registered as."""

    PUBLIC = "public", "public"
    PRIVATE = "private", "private variant"


class RosterKind(models.TextChoices):
    """What can happen to a registered contestant. The first three publish a private variant's rating."""

    LAUNCHED = "launched", "launched"
    WITHDRAWN = "withdrawn", "withdrawn"
    EXPIRED = "expired", "rating published after the term"
    RETIRED = "retired", "retired by rule"
    PAUSED = "paused", "paused: it cannot be reached"
    RESUMED = "resumed", "resumed"


PUBLISHES = (RosterKind.LAUNCHED, RosterKind.WITHDRAWN, RosterKind.EXPIRED)
ONCE = (*PUBLISHES, RosterKind.RETIRED)


class Provider(models.Model):
    """Who enters contestants; `members` may do so through the page and the interface."""

    slug = models.SlugField(max_length=60, unique=True)
    name = models.CharField(max_length=200)
    url = models.URLField(max_length=300, blank=True, default="")
    members = models.ManyToManyField(settings.AUTH_USER_MODEL, related_name="arena_providers", blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["slug"]

    def __str__(self) -> str:
        return self.slug

    def get_absolute_url(self) -> str:
        """Return the address of the provider's page."""
        return reverse("arena:provider", args=[self.slug])


class ContestantQuerySet(models.QuerySet["Contestant"]):
    """Where contestants stand, told from their roster changes."""

    def _changed(self, *kinds: str) -> Exists:
        return Exists(RosterChange.objects.filter(contestant=OuterRef("pk"), kind__in=kinds))

    def disclosed(self) -> Self:
        """Return contestants whose name and rating everyone may see."""
        return self.filter(Q(visibility=Visibility.PUBLIC) | Q(self._changed(*PUBLISHES)))

    def secret(self) -> Self:
        """Return private variants that nothing has disclosed yet."""
        return self.filter(visibility=Visibility.PRIVATE).exclude(self._changed(*PUBLISHES))

    def released(self) -> Self:
        """Return contestants whose votes count: entered as public, or launched since."""
        return self.filter(Q(visibility=Visibility.PUBLIC) | Q(self._changed(RosterKind.LAUNCHED)))

    def active(self) -> Self:
        """Return contestants that are neither retired nor withdrawn."""
        return self.exclude(self._changed(RosterKind.RETIRED, RosterKind.WITHDRAWN))

    def drawable(self) -> Self:
        """Return contestants that new battles may draw: active, private variants among them, and not paused."""
        latest = RosterChange.objects.filter(
            contestant=OuterRef("pk"), kind__in=[RosterKind.PAUSED, RosterKind.RESUMED]
        ).order_by("-pk")
        pausing = Subquery(latest.values("kind")[:1])
        return self.active().annotate(_pausing=pausing).filter(~Q(_pausing=RosterKind.PAUSED) | Q(_pausing=None))

    def in_tests(self) -> Self:
        """Return private variants that count against their provider's cap."""
        over = self._changed(RosterKind.LAUNCHED, RosterKind.WITHDRAWN, RosterKind.RETIRED)
        return self.filter(visibility=Visibility.PRIVATE).exclude(over)


class Contestant(models.Model):
    """Checkpoint, expert mask, decoding parameters and system prompt; `digest` names all of them."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    season = models.ForeignKey("arena.Season", on_delete=models.PROTECT, related_name="contestants")
    slug = models.SlugField(max_length=80)
    title = models.CharField(max_length=200)
    provider = models.ForeignKey(Provider, on_delete=models.PROTECT, related_name="contestants")
    checkpoint = models.ForeignKey(Checkpoint, on_delete=models.PROTECT, related_name="+")
    checkpoint_digest = models.CharField(max_length=64)
    experts = models.JSONField(help_text="Slugs of the enabled experts, in router order.")
    decoding = models.JSONField(help_text="max_tokens, temperature and top_p.")
    system_prompt = models.TextField(blank=True, default="")
    artifact = models.JSONField(help_text="Digests of weights, mask, template, decoding and system prompt.")
    digest = models.CharField(max_length=64)
    licence_group = models.CharField(max_length=12, choices=LicenceGroup.choices)
    licence = models.CharField(max_length=200, blank=True, default="")
    visibility = models.CharField(max_length=8, choices=Visibility.choices)
    entry = models.OneToOneField(Entry, to_field="id", on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    objects: ClassVar[models.Manager[Contestant]] = ContestantQuerySet.as_manager()

    class Meta:
        ordering = ["created_at"]
        constraints = [
            models.UniqueConstraint(fields=["season", "slug"], name="one_contestant_per_slug"),
            models.UniqueConstraint(fields=["season", "digest"], name="one_contestant_per_digest"),
            models.CheckConstraint(condition=Q(licence_group__in=LicenceGroup.values), name="known_licence_group"),
            models.CheckConstraint(condition=Q(visibility__in=Visibility.values), name="known_visibility"),
        ]

    def __str__(self) -> str:
        return self.slug

    def get_absolute_url(self) -> str:
        """Return the address of the contestant's page."""
        return reverse("arena:contestant", args=[self.id])

    @property
    def is_secret(self) -> bool:
        """Tell whether this is a private variant whose rating was not published yet."""
        return self.visibility == Visibility.PRIVATE and not self.changes.filter(kind__in=PUBLISHES).exists()

    @property
    def shown_title(self) -> str:
        """Return the title, or what may be said of a private variant."""
        return f"a private variant of {self.provider.name}" if self.is_secret else self.title


class RetirementRun(models.Model):
    """One run of the published removal rule: its input, its parameters and what they said."""

    policy = models.ForeignKey("arena.Policy", on_delete=models.PROTECT, related_name="+")
    leaderboard = models.ForeignKey("arena.Leaderboard", on_delete=models.PROTECT, related_name="+")
    outcome = models.JSONField(help_text="By licence group: the threshold, and who fell below it or why none did.")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"retirement run {self.pk}"


class RosterChange(models.Model):
    """Something that happened to a contestant, with the rule and the numbers that caused it."""

    contestant = models.ForeignKey(Contestant, on_delete=models.PROTECT, related_name="changes")
    kind = models.CharField(max_length=10, choices=RosterKind.choices)
    rule = models.CharField(max_length=60)
    numbers = models.JSONField(default=dict)
    board = models.ForeignKey(
        "arena.Leaderboard",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        help_text="Where the private variant's rating was published.",
    )
    retirement_run = models.ForeignKey(RetirementRun, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    entry = models.OneToOneField(Entry, to_field="id", on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        ordering = ["created_at", "pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["contestant", "kind"], condition=Q(kind__in=ONCE), name="each_roster_change_once"
            ),
            models.CheckConstraint(condition=Q(kind__in=RosterKind.values), name="known_roster_change"),
            models.CheckConstraint(
                condition=Q(kind=RosterKind.RETIRED, retirement_run__isnull=False)
                | (~Q(kind=RosterKind.RETIRED) & Q(retirement_run__isnull=True)),
                name="retired_by_the_rule_alone",
            ),
            models.CheckConstraint(
                condition=Q(kind__in=PUBLISHES, board__isnull=False) | ~Q(kind__in=PUBLISHES),
                name="secrecy_ends_with_a_rating",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.contestant_id} {self.kind}"
