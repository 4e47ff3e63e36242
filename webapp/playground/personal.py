"""What the playground keeps of a person, for them to take along or to have deleted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib.auth.models import User

from webapp.playground.models import Generation


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
            "prompt": made.prompt,
            "text": made.text,
            "seed": made.seed,
        }


def erase_personal(user: User) -> None:
    """Delete the person's questions and answers."""
    Generation.objects.filter(created_by=user).delete()
