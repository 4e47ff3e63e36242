"""Comparisons: one question under several expert masks, asked at once so that the engine answers them as one batch."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Sequence
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet, Subquery

from tracer.models import Trace
from webapp.errors import BadInputError, ConflictError, NotFoundError
from webapp.jobs import JobStatus
from webapp.ownership import NOBODY, Author, check_own, check_visibility
from webapp.playground import services
from webapp.playground.asking import MAX_SEED
from webapp.playground.availability import available_slugs
from webapp.playground.models import Checkpoint, Comparison, Generation

MAX_SIDES = 33


def start_comparison(
    *,
    kind: str,
    masks: Sequence[Sequence[str]] | None = None,
    seed: int | None = None,
    checkpoint: str | None = None,
    author: Author = NOBODY,
    **question: Any,
) -> Comparison:
    """Store one pending generation a mask, all with one seed, and queue them together.

    `masks` are the two expert masks of kind `masks`; `leave_one_out` takes none: it asks with all
    experts, then with each one left out. `question` is as for `start_generation`. Raises
    `BadInputError` that names the field, `BusyError` when too many wait.
    """
    model = services.default_checkpoint(checkpoint)
    chosen = _masks(kind, masks, model)
    seed = secrets.randbelow(MAX_SEED) if seed is None else seed
    with transaction.atomic():
        comparison = Comparison.objects.create(kind=kind)
        for mask in chosen:
            services.start_generation(
                **question, experts=mask, seed=seed, checkpoint=model.slug, author=author, comparison=comparison
            )
    return comparison


def _masks(kind: str, masks: Sequence[Sequence[str]] | None, checkpoint: Checkpoint) -> list[list[str]]:
    if kind not in Comparison.Kind.values:
        raise BadInputError(f"kind {kind!r} is unknown. Use one of {', '.join(Comparison.Kind.values)}.", field="kind")
    known = available_slugs(checkpoint)
    if len(known) < 2:
        message = f"Checkpoint {checkpoint.slug!r} has no two experts to switch, so there is nothing to compare."
        raise BadInputError(message, field="checkpoint")
    if kind == Comparison.Kind.LEAVE_ONE_OUT:
        if masks:
            raise BadInputError("leave_one_out makes its own masks. Leave masks out.", field="masks")
        if len(known) + 1 > MAX_SIDES:
            raise BadInputError(f"{len(known)} experts are too many; at most {MAX_SIDES - 1} can be left out in turn.")
        return [known, *([slug for slug in known if slug != left_out] for left_out in known)]
    if masks is None or len(masks) != 2:
        raise BadInputError("Give two masks, each a list of experts.", field="masks")
    first, second = masks
    if set(first) == set(second):
        raise BadInputError("Both masks are the same. Switch an expert in one of them.", field="masks")
    return [list(first), list(second)]


def get_comparison(comparison_id: uuid.UUID | str, *, author: Author) -> tuple[Comparison, list[Generation]]:
    """Return a comparison with the sides that this author may read; raises `NotFoundError` where there is none."""
    comparison = Comparison.objects.filter(pk=comparison_id).first()
    sides = _sides(comparison, author) if comparison is not None else []
    if comparison is None or not sides:
        raise NotFoundError("There is no such comparison, or it is private.")
    return comparison, sides


def _sides(comparison: Comparison, author: Author) -> list[Generation]:
    rows = Generation.objects.readable_by(author).filter(comparison=comparison)
    return list(rows.select_related("checkpoint", "trace").order_by("created_at", "id"))


def own_comparisons(author: Author) -> QuerySet[Comparison]:
    """Return one's own comparisons with their `first_prompt`, newest first."""
    mine = Generation.objects.owned_by(author).filter(comparison=OuterRef("pk"))
    prompt = Subquery(mine.order_by("created_at", "id").values("prompt")[:1])
    return Comparison.objects.filter(Exists(mine)).annotate(first_prompt=prompt).order_by("-created_at")


def share_comparison(comparison_id: uuid.UUID | str, *, author: Author, visibility: str) -> None:
    """Change who may read all sides and their traces."""
    chosen = check_visibility(visibility)
    with transaction.atomic():
        for side in _own_sides(comparison_id, author):
            services.share_generation(side.id, author=author, visibility=chosen)


def delete_comparison(comparison_id: uuid.UUID | str, *, author: Author) -> None:
    """Delete one's own comparison, its finished answers and their traces for good."""
    with transaction.atomic():
        sides = _own_sides(comparison_id, author)
        if not all(side.is_finished for side in sides):
            raise ConflictError("Some answers are still being made. Stop them first.")
        for side in sides:
            services.delete_generation(side.id, author=author)
        Comparison.objects.filter(pk=comparison_id).delete()


def stop_comparison(comparison_id: uuid.UUID | str, *, author: Author) -> None:
    """Ask all sides to stop."""
    for side in get_comparison(comparison_id, author=author)[1]:
        services.cancel_generation(side.id, author=author)


def trace_comparison(comparison_id: uuid.UUID | str, *, author: Author) -> list[Trace]:
    """Trace every side that has words; raises `ConflictError` while one is still being made."""
    _, sides = get_comparison(comparison_id, author=author)
    if not all(side.is_finished for side in sides):
        raise ConflictError("Some answers are not finished. Trace them when they are.")
    return [services.trace_generation(side.id, author=author) for side in sides if side.text.strip()]


def _own_sides(comparison_id: uuid.UUID | str, author: Author) -> list[Generation]:
    _, sides = get_comparison(comparison_id, author=author)
    for side in sides:
        check_own(side, author=author, name="comparison")
    return sides


def is_finished(sides: Sequence[Generation]) -> bool:
    """Tell whether all sides have ended, their traces too where there are any."""
    running = {JobStatus.PENDING, JobStatus.RUNNING}
    return all(side.is_finished and (side.trace is None or side.trace.status not in running) for side in sides)
