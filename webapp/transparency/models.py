"""Entries, tree nodes and checkpoints: rows that no role can change or delete.

Triggers in the database enforce it (see migration 0002); what stands here only mirrors them.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar, Self

from django.db import models
from django.urls import reverse
from django.utils import timezone

from webapp.identifiers import uuid7


class EntryQuerySet(models.QuerySet["Entry"]):
    """Reads of the log."""

    def sequenced(self) -> Self:
        """Return entries that have a leaf index, in its order."""
        return self.filter(index__isnull=False).order_by("index")

    def pending(self) -> Self:
        """Return entries that the sequencer has not seen yet, in the order in which they get their index."""
        return self.filter(index__isnull=True).order_by("serial")

    def below(self, tree_size: int) -> Self:
        """Return the leaves of the tree of `tree_size`, in order."""
        return self.filter(index__lt=tree_size).order_by("index")


class Entry(models.Model):
    """One leaf. `index` is NULL until the sequencer assigns it; nothing else ever changes.

    serial: taken when the row is inserted. An entry committed before another was appended has
    the lower one, so leaves stand in causal order.
    """

    serial = models.BigAutoField(primary_key=True)
    id = models.UUIDField(unique=True, default=uuid7, editable=False)
    kind = models.CharField(max_length=32)
    at = models.DateTimeField(default=timezone.now)
    leaf = models.TextField(help_text="Canonical JSON (RFC 8785).")
    leaf_hash = models.BinaryField(max_length=32)
    index = models.BigIntegerField(null=True, blank=True, unique=True)

    objects: ClassVar[models.Manager[Entry]] = EntryQuerySet.as_manager()

    class Meta:
        ordering = ["serial"]
        verbose_name_plural = "entries"
        constraints = [models.CheckConstraint(condition=models.Q(index__gte=0), name="entry_index_from_0")]
        indexes = [
            models.Index(fields=["serial"], condition=models.Q(index__isnull=True), name="entry_pending"),
            models.Index(fields=["kind", "index"], name="entry_kind"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.index if self.index is not None else self.id}"

    def get_absolute_url(self) -> str:
        """Return the address of the entry's page; it works before the index is assigned."""
        return reverse("transparency:entry", args=[self.id])

    @property
    def full_hash(self) -> str:
        """The leaf hash in hexadecimal."""
        return bytes(self.leaf_hash).hex()

    @property
    def short_hash(self) -> str:
        """Its first sixteen digits, for lists."""
        return self.full_hash[:16]

    @property
    def body(self) -> dict[str, Any]:
        """The fields of the entry's kind."""
        body: dict[str, Any] = json.loads(self.leaf)["body"]
        return body


class Node(models.Model):
    """The hash of a complete subtree of 2**level leaves, level ≥ 1; the leaves' own stand in `Entry`."""

    pk = models.CompositePrimaryKey("level", "position")
    level = models.PositiveSmallIntegerField()
    position = models.BigIntegerField()
    hash = models.BinaryField(max_length=32)

    def __str__(self) -> str:
        return f"{self.level}/{self.position}"


class Checkpoint(models.Model):
    """A signed statement of tree size and root; `number` counts from 0 without gaps."""

    number = models.BigIntegerField(primary_key=True)
    tree_size = models.BigIntegerField(unique=True)
    root_hash = models.BinaryField(max_length=32)
    note = models.TextField(help_text="C2SP signed note.")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-number"]
        constraints = [
            models.CheckConstraint(condition=models.Q(number__gte=0), name="checkpoint_number_from_0"),
            models.CheckConstraint(condition=models.Q(tree_size__gt=0), name="checkpoint_of_some_leaves"),
        ]

    def __str__(self) -> str:
        return f"checkpoint {self.number} of {self.tree_size}"

    def get_absolute_url(self) -> str:
        """Return the address of the checkpoint's page."""
        return reverse("transparency:checkpoint", args=[self.tree_size])

    @property
    def root_hex(self) -> str:
        """The root hash in hexadecimal."""
        return bytes(self.root_hash).hex()
