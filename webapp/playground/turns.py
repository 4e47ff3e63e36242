"""In which order waiting questions are answered: people take turns, each one's own by arrival.

So a thousand questions of one person delay another's by one answer. Questions that belong to nobody
share one turn. An answer's `turn_of` names who waits for it where that is not whose it is: the arena owns
the answers of all battles, and each voter has a turn.

Times ahead of now are of before the clock stepped back: such a question came first, and such a start counts for
nothing, or whoever was served just before the step would be last until the clock has caught up.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

from django.db.models import Case, Max, Min, When
from django.utils import timezone

from webapp.jobs import JobStatus
from webapp.playground.models import Generation

REMEMBERED = timedelta(hours=1)
LONG_AGO = datetime.min.replace(tzinfo=UTC)
PERSON = ("created_by_id", "session_digest", "turn_of")
Person = tuple[int | None, str, str]


def client_of(generation: Generation) -> str:
    """Return who takes a turn with an answer, as the engines know them."""
    if generation.turn_of:
        return f"turn:{generation.turn_of}"
    return f"user:{generation.created_by_id}" if generation.created_by_id else str(generation.session_digest)


def whose_turn() -> uuid.UUID | None:
    """Return the waiting answer that is next: the first of the person whose latest start lies furthest back."""
    now = timezone.now()
    waiting = Generation.objects.filter(status=JobStatus.PENDING)
    people: dict[Person, datetime] = {
        (user, session, turn): first if first <= now else LONG_AGO
        for user, session, turn, first in waiting.order_by().values_list(*PERSON).annotate(first=Min("created_at"))
    }
    if not people:
        return None
    served: dict[Person, float] = {}
    if len(people) > 1:
        recent = Generation.objects.filter(created_at__gte=now - REMEMBERED, started_at__lte=now)
        for user, session, turn, latest in recent.order_by().values_list(*PERSON).annotate(latest=Max("started_at")):
            served[user, session, turn] = latest.timestamp()
    user, session, turn = min(people, key=lambda person: (served.get(person, 0.0), people[person]))
    own = waiting.filter(created_by_id=user, session_digest=session, turn_of=turn)
    by_arrival = own.order_by(Case(When(created_at__gt=now, then=0), default=1), "created_at", "id")
    found: uuid.UUID | None = by_arrival.values_list("id", flat=True).first()
    return found
