"""Which experts of a checkpoint a question may use: not withdrawn by their owner, and loaded on this site."""

from __future__ import annotations

from django.conf import settings

from webapp.playground.models import Checkpoint, Expert
from webapp.text import storable


def available_experts(checkpoint: Checkpoint) -> list[Expert]:
    """Return the experts that may be switched on, in router order."""
    resident = resident_slugs(checkpoint)
    return [expert for expert in checkpoint.experts.available() if resident is None or expert.slug in resident]


def available_slugs(checkpoint: Checkpoint) -> list[str]:
    """Return their slugs, in router order."""
    return [expert.slug for expert in available_experts(checkpoint)]


def withdrawn_slugs(checkpoint: Checkpoint) -> frozenset[str]:
    """Return the slugs of the experts whose owners have opted out."""
    withdrawn = checkpoint.experts.withdrawn()
    return frozenset(withdrawn.values_list("slug", flat=True))


def resident_slugs(checkpoint: Checkpoint) -> frozenset[str] | None:
    """Return the experts that this site keeps in memory, as the operator set it; None for all."""
    wanted = frozenset(settings.RESIDENT_EXPERTS)
    if not wanted:
        return None
    return frozenset(checkpoint.experts.filter(slug__in=wanted).values_list("slug", flat=True))


def why_unavailable(checkpoint: Checkpoint, slug: str) -> str:
    """Return a sentence that says why an expert cannot be used, and which can."""
    known = available_slugs(checkpoint)
    choice = f"Choose from {', '.join(known)}." if known else "This checkpoint has none to switch."
    if slug in withdrawn_slugs(checkpoint):
        return f"The owner of expert {slug!r} has opted out. {choice}"
    if checkpoint.experts.filter(slug=storable(slug)).exists():
        return f"Expert {slug!r} is not loaded on this site. {choice}"
    return f"There is no expert {slug!r}. {choice}"
