"""What the playground keeps of a person, for them to take along or to have deleted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib.auth.models import User

from webapp.playground.models import Comparison, Generation


def export_personal(user: User) -> Iterator[dict[str, Any]]:
    """Yield the person's questions and answers."""
    for made in Generation.objects.filter(created_by=user).select_related("checkpoint").iterator(chunk_size=100):
        yield {
            "kind": "generation",
            "id": str(made.id),
            "created_at": made.created_at.isoformat(),
            "checkpoint": made.checkpoint.slug,
            "checkpoint_digest": made.checkpoint_digest,
            "experts": made.experts,
            "system_prompt": made.system_prompt,
            "messages": made.messages,
            "prompt": made.prompt,
            "text": made.text,
            "seed": made.seed,
            "comparison": str(made.comparison_id) if made.comparison_id else None,
        }


def erase_personal(user: User) -> None:
    """Delete the person's questions and answers, and the comparisons that these were sides of."""
    own = Generation.objects.filter(created_by=user)
    comparisons = list(own.exclude(comparison=None).values_list("comparison_id", flat=True).distinct())
    own.delete()
    Comparison.objects.filter(pk__in=comparisons).delete()
