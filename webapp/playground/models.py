"""Checkpoints, their experts, and generations."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
from django.conf import settings
from django.contrib.auth.models import Group
from django.db import models
from django.db.models import Exists, OuterRef, Q
from django.urls import reverse
from django.utils import timezone

from tracer.models import Trace
from webapp.identifiers import slug_of_name, uuid7
from webapp.jobs import Job
from webapp.ownership import Owned, OwnedManager


class BackendChoice(models.TextChoices):
    """What answers for a checkpoint."""

    FLEX_OLMO = "flex_olmo", "own engine, experts can be switched"
    TRANSFORMERS = "transformers", "any causal language model of transformers"
    REMOTE = "remote", "an OpenAI-compatible server"


class Checkpoint(models.Model):
    """Weights on disk, or on a server. `opt_out_exact`: shared weights saw no owner's data."""

    slug = models.SlugField(max_length=60, unique=True)
    backend = models.CharField(max_length=20, choices=BackendChoice.choices, default=BackendChoice.FLEX_OLMO)
    path = models.CharField(max_length=500, blank=True, default="")
    source = models.CharField(max_length=300, blank=True, default="", help_text="Hub id and commit, or server.")
    experts_file = models.CharField(max_length=500, blank=True, default="")
    dtype = models.CharField(max_length=20, blank=True, default="", help_text="Empty: the site's setting.")
    device = models.CharField(max_length=20, blank=True, default="", help_text="Empty: the site's setting.")
    is_chat = models.BooleanField(default=False, help_text="Has a chat template; else it continues text.")
    thinking = models.JSONField(default=dict, blank=True, help_text="Texts start, end, wait of a model that thinks.")
    remote = models.JSONField(default=dict, blank=True, help_text="Address and limits of a server; never a key.")
    digest = models.CharField(max_length=64)
    context_length = models.PositiveIntegerField(help_text="0: a server that does not tell.")
    opt_out_exact = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["created_at"]

    def __str__(self) -> str:
        return self.slug

    @property
    def folder(self) -> Path:
        """Return the checkpoint's folder; a relative path lies in the data folder."""
        return Path(settings.DATA_DIR) / self.path

    @property
    def thinks(self) -> bool:
        """Tell whether it writes its thinking before its answer."""
        return bool(self.thinking)

    @property
    def experts_path(self) -> Path | None:
        """Return the file that names the experts in place of the folder's own, if one was given."""
        return Path(settings.DATA_DIR) / self.experts_file if self.experts_file else None


class OptOutQuerySet(models.QuerySet["OptOut"]):
    """Reads of opt-outs."""

    def in_force(self) -> Self:
        """Return those that nobody has ended."""
        return self.filter(ended_at=None)


class ExpertQuerySet(models.QuerySet["Expert"]):
    """Which experts may be used on this site."""

    def withdrawn(self) -> Self:
        """Return experts that their owner has withdrawn: each by itself, or all of the owner's."""
        own = Q(expert=OuterRef("pk")) | Q(expert=None, owner=OuterRef("owner"))
        return self.filter(Exists(OptOut.objects.in_force().filter(own)))

    def available(self) -> Self:
        """Return all others."""
        return self.exclude(pk__in=self.model.objects.withdrawn().values("pk"))


class Expert(models.Model):
    """One expert of a checkpoint; `position` is its index in the router."""

    checkpoint = models.ForeignKey(Checkpoint, on_delete=models.CASCADE, related_name="experts")
    position = models.PositiveSmallIntegerField()
    slug = models.SlugField(max_length=60)
    title = models.CharField(max_length=200)
    owner = models.CharField(max_length=200)
    corpus_slug = models.CharField(max_length=60, blank=True, default="")
    licence = models.CharField(max_length=200, blank=True, default="")
    owner_group = models.ForeignKey(
        Group, null=True, blank=True, on_delete=models.SET_NULL, related_name="+", help_text="May withdraw it."
    )

    contribution = models.JSONField(
        default=dict, blank=True, help_text="What its owner sent, and who merged it when; empty where none is recorded."
    )

    objects: ClassVar[models.Manager[Expert]] = ExpertQuerySet.as_manager()

    class Meta:
        ordering = ["checkpoint", "position"]
        constraints = [
            models.UniqueConstraint(fields=["checkpoint", "slug"], name="one_expert_per_slug"),
            models.UniqueConstraint(fields=["checkpoint", "position"], name="one_expert_per_position"),
        ]

    def __str__(self) -> str:
        return f"{self.checkpoint.slug}/{self.slug}"

    @property
    def owner_slug(self) -> str:
        """Return what stands for its owner in addresses."""
        return slug_of_name(self.owner)


class ExpertDay(models.Model):
    """What an expert did on one day (UTC): `weight` is its routing weight, summed over the tokens of all answers."""

    expert = models.ForeignKey(Expert, on_delete=models.CASCADE, related_name="days")
    day = models.DateField()
    n_answers = models.PositiveIntegerField(default=0, help_text="Answers in which it was switched on.")
    n_tokens = models.PositiveBigIntegerField(default=0, help_text="Their tokens.")
    weight = models.FloatField(default=0.0)

    class Meta:
        ordering = ["-day", "expert"]
        constraints = [models.UniqueConstraint(fields=["expert", "day"], name="one_row_per_expert_and_day")]

    def __str__(self) -> str:
        return f"{self.expert_id} {self.day}"


class OptOut(models.Model):
    """An owner's withdrawal of one expert, or of all they own here, now and in checkpoints added later."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    owner = models.CharField(max_length=200)
    expert = models.ForeignKey(Expert, null=True, blank=True, on_delete=models.CASCADE, related_name="opt_outs")
    reason = models.TextField()
    reason_salt = models.BinaryField(max_length=32)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now, db_index=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    ended_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )

    objects: ClassVar[models.Manager[OptOut]] = OptOutQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(fields=["expert"], condition=Q(ended_at=None), name="one_opt_out_of_an_expert"),
            models.UniqueConstraint(
                fields=["owner"], condition=Q(ended_at=None, expert=None), name="one_opt_out_of_an_owner"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.expert or self.owner}"

    @property
    def owner_slug(self) -> str:
        """Return what stands for its owner in addresses."""
        return slug_of_name(self.owner)


class Comparison(models.Model):
    """Answers to one prompt that are read side by side."""

    class Kind(models.TextChoices):
        MASKS = "masks", "two expert masks"
        LEAVE_ONE_OUT = "leave_one_out", "all experts, and each one left out"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    kind = models.CharField(max_length=20, choices=Kind.choices)
    created_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return str(self.id)

    def get_absolute_url(self) -> str:
        """Return the permalink of the comparison."""
        return reverse("playground:comparison", args=[self.id])


class Generation(Owned, Job):
    """One answer: what was asked, of whom, with which seed, and what came of it.

    `prompt` is what was written; `model_prompt` is all that the model read: template, system
    prompt and earlier turns included. It is stored because a template may change, or name the day.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    checkpoint = models.ForeignKey(Checkpoint, on_delete=models.PROTECT, related_name="+")
    checkpoint_digest = models.CharField(max_length=64)
    prompt = models.TextField()
    system_prompt = models.TextField(blank=True, default="")
    messages = models.JSONField(default=list, blank=True, help_text="Earlier turns: role and content.")
    model_prompt = models.TextField(blank=True, default="")
    is_chat = models.BooleanField(default=False)
    has_own_special_tokens = models.BooleanField(default=False, help_text="A chat template wrote them.")
    parent = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    comparison = models.ForeignKey(Comparison, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    stop = models.JSONField(default=list, blank=True)
    top_logprobs = models.PositiveSmallIntegerField(null=True, blank=True)
    thinking = models.JSONField(null=True, blank=True, help_text="Bounds min_tokens and max_tokens.")
    is_traced_live = models.BooleanField(default=False)
    turn_of = models.CharField(
        max_length=64, blank=True, default="", help_text="Who waits for it, where that is not its owner."
    )
    experts = models.JSONField(help_text="Slugs of the enabled experts, in router order.")
    max_tokens = models.PositiveIntegerField()
    temperature = models.FloatField()
    top_p = models.FloatField()
    seed = models.PositiveBigIntegerField()
    text = models.TextField(blank=True, default="")
    token_ids = models.JSONField(default=list)
    pieces = models.JSONField(default=list, help_text="The text that each token added.")
    logprobs = models.JSONField(default=list, blank=True, help_text="A token's, and its alternatives'.")
    finish_reason = models.CharField(max_length=12, blank=True, default="")
    routing_shares = models.JSONField(default=dict)
    layer_routing = models.JSONField(default=dict, blank=True, help_text="By expert: its share in each layer.")
    token_routing = models.BinaryField(default=b"", help_text="zlib of float16 (tokens, experts).")
    timings_ms = models.JSONField(default=dict)
    trace = models.ForeignKey(Trace, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")

    objects = OwnedManager()

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return str(self.id)

    def get_absolute_url(self) -> str:
        """Return the permalink of the answer."""
        return reverse("playground:generation", args=[self.id])

    def set_token_routing(self, shares: list[dict[str, float]]) -> None:
        """Store each token's share of routing weight per enabled expert."""
        table = np.array([[row.get(e, 0.0) for e in self.experts] for row in shares], dtype=np.float16)
        self.token_routing = zlib.compress(table.tobytes())

    def get_token_routing(self) -> npt.NDArray[np.float16]:
        """Return the shares (tokens, experts)."""
        if not self.token_routing or not self.experts:
            return np.zeros((len(self.pieces) if not self.experts else 0, len(self.experts)), np.float16)
        return np.frombuffer(zlib.decompress(self.token_routing), np.float16).reshape(-1, len(self.experts))
