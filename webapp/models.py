"""Rows that belong to the site rather than to one of its apps."""

from __future__ import annotations

from django.db import models
from django.utils import timezone


class IdempotentRequest(models.Model):
    """The first answer to a POST with an Idempotency-Key, replayed to its repetitions."""

    principal = models.CharField(max_length=120)
    key = models.CharField(max_length=255)
    request_digest = models.CharField(max_length=64)
    response_status = models.PositiveSmallIntegerField(default=0)
    response_body = models.JSONField(default=dict)
    response_location = models.CharField(max_length=500, blank=True, default="")
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["principal", "key"], name="one_answer_per_principal_and_key")]

    def __str__(self) -> str:
        return f"{self.principal} {self.key}"
