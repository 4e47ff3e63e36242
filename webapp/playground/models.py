"""Checkpoints, their experts, and generations."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
from django.conf import settings
from django.db import models
from django.urls import reverse
from django.utils import timezone

from tracer.models import Trace
from webapp.identifiers import uuid7
from webapp.jobs import Job
from webapp.ownership import Owned, OwnedQuerySet


class Checkpoint(models.Model):
    """Weights on disk. `opt_out_exact`: shared weights saw no owner's data."""

    slug = models.SlugField(max_length=60, unique=True)
    path = models.CharField(max_length=500)
    digest = models.CharField(max_length=64)
    context_length = models.PositiveIntegerField()
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


class Expert(models.Model):
    """One expert of a checkpoint; `position` is its index in the router."""

    checkpoint = models.ForeignKey(Checkpoint, on_delete=models.CASCADE, related_name="experts")
    position = models.PositiveSmallIntegerField()
    slug = models.SlugField(max_length=60)
    title = models.CharField(max_length=200)
    owner = models.CharField(max_length=200)
    corpus_slug = models.CharField(max_length=60, blank=True, default="")
    licence = models.CharField(max_length=200, blank=True, default="")

    class Meta:
        ordering = ["checkpoint", "position"]
        constraints = [
            models.UniqueConstraint(fields=["checkpoint", "slug"], name="one_expert_per_slug"),
            models.UniqueConstraint(fields=["checkpoint", "position"], name="one_expert_per_position"),
        ]

    def __str__(self) -> str:
        return f"{self.checkpoint.slug}/{self.slug}"


class Generation(Owned, Job):
    """One answer: what was asked, of whom, with which seed, and what came of it."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    checkpoint = models.ForeignKey(Checkpoint, on_delete=models.PROTECT, related_name="+")
    checkpoint_digest = models.CharField(max_length=64)
    prompt = models.TextField()
    experts = models.JSONField(help_text="Slugs of the enabled experts, in router order.")
    max_tokens = models.PositiveIntegerField()
    temperature = models.FloatField()
    top_p = models.FloatField()
    seed = models.PositiveBigIntegerField()
    text = models.TextField(blank=True, default="")
    token_ids = models.JSONField(default=list)
    pieces = models.JSONField(default=list, help_text="The text that each token added.")
    finish_reason = models.CharField(max_length=12, blank=True, default="")
    routing_shares = models.JSONField(default=dict)
    token_routing = models.BinaryField(default=b"", help_text="zlib of float16 (tokens, experts).")
    timings_ms = models.JSONField(default=dict)
    trace = models.ForeignKey(Trace, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")

    objects = OwnedQuerySet.as_manager()

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
        if not self.token_routing:
            return np.zeros((0, len(self.experts)), np.float16)
        return np.frombuffer(zlib.decompress(self.token_routing), np.float16).reshape(-1, len(self.experts))
