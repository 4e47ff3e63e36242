"""In which order waiting questions are answered: people take turns, each one's own by arrival.

So a thousand questions of one person delay another's by one answer. Questions that belong to nobody
share one turn.
"""

from __future__ import annotations

import uuid
from datetime import timedelta

from django.db.models import Max, Min
from django.utils import timezone

from webapp.jobs import JobStatus
from webapp.playground.models import Generation

REMEMBERED = timedelta(hours=1)
PERSON = ("created_by_id", "session_digest")


def whose_turn() -> uuid.UUID | None:
    """Return the waiting answer that is next: the first of the person whose latest start lies furthest back."""
    waiting = Generation.objects.filter(status=JobStatus.PENDING)
    people = {
        (user, session): first
        for user, session, first in waiting.order_by().values_list(*PERSON).annotate(first=Min("created_at"))
    }
    if not people:
        return None
    served: dict[tuple[int | None, str], float] = {}
    if len(people) > 1:
        recent = Generation.objects.filter(created_at__gte=timezone.now() - REMEMBERED, started_at__isnull=False)
        for user, session, latest in recent.order_by().values_list(*PERSON).annotate(latest=Max("started_at")):
            served[user, session] = latest.timestamp()
    user, session = min(people, key=lambda person: (served.get(person, 0.0), people[person]))
    own = waiting.filter(created_by_id=user, session_digest=session)
    found: uuid.UUID | None = own.order_by("created_at", "id").values_list("id", flat=True).first()
    return found
