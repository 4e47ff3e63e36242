"""How far a build of an index is, in numbers and in words, and who sees why one failed."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone

from tracer.disclosure import policy_for
from tracer.models import Corpus, Index, IndexBuild
from webapp.jobs import JobStatus
from webapp.ownership import Author

UNFINISHED = (JobStatus.PENDING, JobStatus.RUNNING)


@dataclass(frozen=True)
class BuildState:
    """How far a build is. `fraction` counts reading and sorting alike; `seconds_left` is None before the first sign."""

    n_shards_done: int
    n_bytes_done: int
    n_documents: int
    fraction: float
    seconds_left: float | None


def state_of(build: IndexBuild) -> BuildState:
    """Return how far a build is: a shard's text counts once when read and once more when its shard is done."""
    shards = list(build.shards.all())
    done = [shard for shard in shards if shard.status == JobStatus.DONE]
    n_bytes_done = sum(shard.n_bytes_done for shard in shards)
    sorted_bytes = sum(shard.end - shard.begin for shard in done)
    fraction = (n_bytes_done + sorted_bytes) / (2 * build.n_bytes) if build.n_bytes else 0.0
    left = None
    gained = fraction - build.fraction_at_start
    if build.status == JobStatus.RUNNING and build.started_at is not None and gained > 0:
        left = (timezone.now() - build.started_at).total_seconds() * (1 - fraction) / gained
    n_documents = sum(shard.n_documents for shard in shards)
    return BuildState(len(done), n_bytes_done, n_documents, fraction, left)


@dataclass(frozen=True)
class ShownBuild:
    """A build as one viewer may see it."""

    id: uuid.UUID
    corpus: Corpus
    index: Index | None
    status: str
    error: str
    n_shards: int
    n_bytes: int
    created_at: datetime
    finished_at: datetime | None
    state: BuildState
    kind: str

    @property
    def left(self) -> str:
        """Return the time left in words, "" while it is not known."""
        return "" if self.state.seconds_left is None else _duration(self.state.seconds_left)


def shown_build(build: IndexBuild, *, author: Author) -> ShownBuild:
    """Return a build for a viewer. A failure's reason may name files and lines: only readers and operators see it."""
    may_see = author.is_operator or policy_for(build.corpus, author).may_read_documents
    reason = build.error if may_see or not build.error else f"The operator finds the reason under {build.pk}."
    kind = "tokens" if not build.is_bytes else "bytes with case folded" if build.folds_case else "bytes"
    return ShownBuild(
        build.pk,
        build.corpus,
        build.index,
        build.status,
        reason,
        build.n_shards,
        build.n_bytes,
        build.created_at,
        build.finished_at,
        state_of(build),
        kind,
    )


def current_builds(corpus: Corpus, *, author: Author) -> list[ShownBuild]:
    """Return the builds of a corpus that go on, and the newest one if it failed."""
    rows = list(
        IndexBuild.objects.filter(corpus=corpus).select_related("corpus", "index").prefetch_related("shards")[:20]
    )
    shown = [b for n, b in enumerate(rows) if b.status in UNFINISHED or (n == 0 and b.status == JobStatus.FAILED)]
    return [shown_build(build, author=author) for build in shown]


def progress_line(build: IndexBuild) -> str:
    """Say where a build stands in one line."""
    state = state_of(build)
    left = "" if state.seconds_left is None else f", about {_duration(state.seconds_left)} left"
    return (
        f"{state.n_shards_done} of {build.n_shards} shards, {state.n_bytes_done / 1e6:,.1f} of "
        f"{build.n_bytes / 1e6:,.1f} MB read, {state.n_documents:,} documents{left}"
    )


def _duration(seconds: float) -> str:
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
