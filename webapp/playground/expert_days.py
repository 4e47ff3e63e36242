"""How much each expert was used, day by day: added up as answers end, so that reading costs no answer.

A day is one of UTC, by an answer's end. Deleting an answer takes nothing back: the figures hold no text,
no person and no time of day. Experts of an answer whose checkpoint is not routed have none.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date

from django.db.models import Case, F, FloatField, OuterRef, QuerySet, Subquery, Sum, Value, When

from webapp.playground.models import Expert, ExpertDay, Generation


def add_answer(generation: Generation) -> None:
    """Add a finished answer to the days of its experts, within the caller's transaction.

    Missing rows are written before any is locked, and both in one order, so that answers which end together
    wait for each other and never cross.
    """
    n_tokens = len(generation.token_ids)
    if not n_tokens or not generation.routing_shares or generation.finished_at is None:
        return
    day = generation.finished_at.astimezone(UTC).date()
    experts = Expert.objects.filter(checkpoint_id=generation.checkpoint_id, slug__in=generation.experts)
    slugs: dict[int, str] = dict(experts.order_by("pk").values_list("pk", "slug"))
    rows = ExpertDay.objects.filter(expert_id__in=slugs, day=day)
    if rows.count() < len(slugs):
        ExpertDay.objects.bulk_create([ExpertDay(expert_id=pk, day=day) for pk in slugs], ignore_conflicts=True)
    list(rows.select_for_update().order_by("expert_id").values_list("pk", flat=True))
    weights = [
        When(expert_id=pk, then=Value(n_tokens * float(generation.routing_shares.get(slug, 0.0))))
        for pk, slug in slugs.items()
    ]
    if weights:
        added = Case(*weights, default=Value(0.0), output_field=FloatField())
        rows.update(n_answers=F("n_answers") + 1, n_tokens=F("n_tokens") + n_tokens, weight=F("weight") + added)


@dataclass(frozen=True)
class DayFigures:
    """One expert on one day: answers with it on, their tokens, and its shares of routing weight, 0 to 1.

    `share` is of all routing weight in the checkpoint's answers, `share_when_on` of that in answers with it on.
    """

    expert_id: int
    day: date
    n_answers: int
    n_tokens: int
    share: float
    share_when_on: float

    @property
    def percent(self) -> float:
        """Return its share of all, in percent."""
        return round(100 * self.share, 1)

    @property
    def percent_when_on(self) -> float:
        """Return its share where it was on, in percent."""
        return round(100 * self.share_when_on, 1)


def with_totals(days: QuerySet[ExpertDay]) -> QuerySet[ExpertDay]:
    """Annotate `total_weight`: that of all experts of the checkpoint on the same day."""
    same = ExpertDay.objects.filter(expert__checkpoint=OuterRef("expert__checkpoint"), day=OuterRef("day"))
    total = same.order_by().values("day").annotate(total=Sum("weight")).values("total")
    return days.annotate(total_weight=Subquery(total, output_field=FloatField()))


def figures_of(row: ExpertDay) -> DayFigures:
    """Return the figures of a row of `with_totals`."""
    total: float = row.total_weight or 0.0  # type: ignore[attr-defined]
    share = row.weight / total if total else 0.0
    share_when_on = row.weight / row.n_tokens if row.n_tokens else 0.0
    return DayFigures(row.expert_id, row.day, row.n_answers, row.n_tokens, share, share_when_on)


def days_of(experts: Iterable[Expert], *, first: date, last: date) -> list[DayFigures]:
    """Return the figures of some experts from `first` to `last`, oldest day first; days without answers are absent."""
    rows = ExpertDay.objects.filter(expert__in=list(experts), day__gte=first, day__lte=last)
    return [figures_of(row) for row in with_totals(rows).order_by("day", "expert_id")]
