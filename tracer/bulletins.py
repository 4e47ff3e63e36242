"""Contamination bulletins: a benchmark's items measured against corpora by one job, item by item.

What was measured is stored every second, so a job whose worker was killed goes on where it ended.
`tracer.bulletin_parts` measures a corpus. Knows nothing of HTTP.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import structlog
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from tracer import benchmarks
from tracer.bulletin_parts import measure_part
from tracer.choosing import choose_corpora
from tracer.models import Benchmark, Bulletin, BulletinPart, Corpus
from webapp.away import AWAY
from webapp.errors import ConflictError
from webapp.jobs import JobStatus
from webapp.ownership import NOBODY, Author, Visibility, find_own, find_readable, ownership, share_own
from webapp.queueing import check_room, enqueue_on_commit, requeue_jobs

log = structlog.get_logger(__name__)
MAX_STARTS = 2  # without any item measured in between


class _StoppedError(Exception):
    """The bulletin was cancelled or deleted, or another process has taken it over."""


def measure_benchmark(
    *,
    content: bytes | None,
    field: str = "",
    title: str = "",
    slug: str = "",
    benchmark: str = "",
    corpora: Sequence[str] | None = None,
    author: Author = NOBODY,
    visibility: str = Visibility.LINK,
    is_queued: bool = True,
) -> Bulletin:
    """Queue a bulletin of a new benchmark (`content`: JSON lines) or of a known one by slug or id; all or nothing."""
    with transaction.atomic():
        if content is None:
            known = benchmarks.get_benchmark(benchmark, author=author)
        else:
            known = benchmarks.store_benchmark(
                content=content, field=field, title=title, slug=slug, author=author, visibility=visibility
            )
        bulletin = request_bulletin(benchmark=known, corpora=corpora, author=author, visibility=visibility)
        if is_queued:
            queue_bulletin(bulletin)
        return bulletin


def request_bulletin(
    *,
    benchmark: Benchmark,
    corpora: Sequence[str] | None = None,
    author: Author = NOBODY,
    visibility: str = Visibility.LINK,
) -> Bulletin:
    """Store a bulletin that waits; `queue_bulletin` or `run_bulletin` does it.

    Raises `BadInputError` naming the field, `BusyError` when too many wait.
    """
    owned, slugs = ownership(author, visibility), measurable(corpora)
    check_room(Bulletin)
    with transaction.atomic():
        bulletin: Bulletin = Bulletin.objects.create(benchmark=benchmark, **owned)
        BulletinPart.objects.bulk_create(BulletinPart(bulletin=bulletin, corpus=slug) for slug in slugs)
    return bulletin


def measurable(wanted: Sequence[str] | None) -> list[str]:
    """Return the slugs to measure: those wanted, or all with an index here.

    Items are sent to the server of a remote index only when its corpus is named.
    """
    corpora = Corpus.objects.indexed_here() if wanted is None else Corpus.objects.traceable()
    ready = list(corpora.order_by("slug").values_list("slug", flat=True))
    return choose_corpora(wanted, ready, where=" here" if wanted is None else "")


def get_bulletin(bulletin_id: uuid.UUID | str, *, author: Author) -> Bulletin:
    """Return a bulletin that this author may read; raises `NotFoundError` alike for none and for a private one."""
    return find_readable(_rows(), bulletin_id, author=author, name="bulletin")


def share_bulletin(bulletin_id: uuid.UUID | str, *, author: Author, visibility: str) -> Bulletin:
    """Change who may read one's own bulletin."""
    return share_own(_rows(), bulletin_id, author=author, name="bulletin", visibility=visibility)


def _rows() -> QuerySet[Bulletin]:
    return Bulletin.objects.select_related("benchmark")


def cancel_bulletin(bulletin_id: uuid.UUID | str, *, author: Author) -> Bulletin:
    """Stop one's own bulletin, or any as operator; what was measured is kept.

    Its job ends within a second, or after the item at hand.
    """
    with transaction.atomic():
        bulletin = _own(bulletin_id, author, or_operator=True)
        if bulletin.is_finished:
            raise ConflictError("The bulletin has ended already.")
        bulletin.status, bulletin.finished_at = JobStatus.CANCELLED, timezone.now()
        bulletin.save(update_fields=["status", "finished_at"])
    return bulletin


def delete_bulletin(bulletin_id: uuid.UUID | str, *, author: Author) -> None:
    """Delete one's own bulletin for good, and its benchmark when no other bulletin measures it and it has no name."""
    with transaction.atomic():
        bulletin = _own(bulletin_id, author)
        benchmark = bulletin.benchmark
        bulletin.delete()
        benchmarks.delete_unused(benchmark)


def _own(bulletin_id: uuid.UUID | str, author: Author, *, or_operator: bool = False) -> Bulletin:
    return find_own(_rows(), bulletin_id, author=author, name="bulletin", or_operator=or_operator)


def resume_bulletin(bulletin_id: uuid.UUID | str, *, author: Author) -> Bulletin:
    """Give a bulletin that was cancelled, failed or interrupted, or of which a corpus is missing, another try.

    What was measured is kept. Raises `ConflictError` for one that is done.
    """
    with transaction.atomic():
        bulletin = _own(bulletin_id, author, or_operator=True)
        if bulletin.status == JobStatus.DONE and not bulletin.lacks_a_corpus:
            raise ConflictError("The bulletin is done already.")
        bulletin.status, bulletin.error, bulletin.n_starts = JobStatus.PENDING, "", 0
        bulletin.started_at = bulletin.finished_at = None
        bulletin.save()
        bulletin.parts.update(unavailable="")
    return bulletin


def request_resume(bulletin_id: uuid.UUID | str, *, author: Author) -> Bulletin:
    """Queue one's own bulletin, or any as operator, that ended before all was measured, to go on where it ended.

    Raises `ConflictError` for one that waits, is measured or is done, `BusyError` when too many wait.
    """
    with transaction.atomic():
        if not _own(bulletin_id, author, or_operator=True).is_finished:
            raise ConflictError("The bulletin has not ended: it waits or is measured.")
        check_room(Bulletin)
        bulletin = resume_bulletin(bulletin_id, author=author)
        queue_bulletin(bulletin)
    return bulletin


def queue_bulletin(bulletin: Bulletin) -> None:
    """Send a bulletin to the workers once its row is visible."""
    from tracer import tasks

    enqueue_on_commit(tasks.run_bulletin, bulletin.id)


def run_bulletin(bulletin_id: uuid.UUID | str, *, watch: Callable[[], None] = lambda: None) -> None:
    """Measure what is not measured yet; may run twice. `watch` is called whenever something was stored."""
    bulletin = _claim(bulletin_id)
    if bulletin is None:
        return
    try:
        for part in bulletin.parts.filter(unavailable=""):
            measure_part(bulletin, part, partial(_save, bulletin, part, watch))
    except _StoppedError:
        return
    except AWAY as error:  # its row shows no more life, so it goes on where it ended
        log.warning("the database or Redis is away; the bulletin waits", bulletin=str(bulletin.pk), error=str(error))
        return
    except Exception:
        log.exception("bulletin failed", bulletin=str(bulletin.pk))
        reason = f"An unexpected error; the operator finds it in the log under {bulletin.pk}."
        _finish(bulletin, JobStatus.FAILED, reason)
        return
    except BaseException:  # this process is told to stop: the next one may begin at once
        _mine(bulletin).update(status=JobStatus.PENDING, n_starts=0)
        raise
    reasons = list(bulletin.parts.values_list("corpus", "unavailable"))
    if all(reason for _, reason in reasons):
        _finish(bulletin, JobStatus.FAILED, " ".join(f"{corpus}: {reason}" for corpus, reason in reasons))
    else:
        _finish(bulletin, JobStatus.DONE)


def _claim(bulletin_id: uuid.UUID | str) -> Bulletin | None:
    """Take a bulletin that waits; None when there is nothing to do."""
    with transaction.atomic():
        rows = Bulletin.objects.select_for_update(of=("self",)).select_related("benchmark")
        bulletin: Bulletin | None = rows.filter(pk=bulletin_id).first()
        if bulletin is None or bulletin.status != JobStatus.PENDING:
            return None
        now = timezone.now()
        if bulletin.n_starts >= MAX_STARTS:
            bulletin.status, bulletin.finished_at = JobStatus.FAILED, now
            bulletin.error = f"The worker ended {bulletin.n_starts} times at the same item."
            bulletin.save()
            return None
        bulletin.n_starts += 1
        bulletin.status, bulletin.started_at, bulletin.heartbeat_at = JobStatus.RUNNING, now, now
        bulletin.save()
    return bulletin


def _mine(bulletin: Bulletin) -> Any:
    """Return the bulletin's row as long as this process works on it."""
    return Bulletin.objects.filter(pk=bulletin.pk, status=JobStatus.RUNNING, started_at=bulletin.started_at)


def _finish(bulletin: Bulletin, status: JobStatus, error: str = "") -> None:
    _mine(bulletin).update(status=status, error=error, finished_at=timezone.now())


def _save(bulletin: Bulletin, part: BulletinPart, watch: Callable[[], None]) -> None:
    """Store what was measured, as long as the bulletin is this process's; raise `_StoppedError` else."""
    with transaction.atomic():
        if not _mine(bulletin).update(heartbeat_at=timezone.now(), n_starts=1):
            raise _StoppedError
        part.save()
    watch()


def requeue_unfinished(*, older_than_s: float) -> int:
    """Queue bulletins again that the queue lost or whose worker shows no life."""
    from tracer import tasks

    return requeue_jobs(Bulletin.objects.all(), tasks.run_bulletin, older_than_s=older_than_s)
