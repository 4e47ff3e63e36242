"""Indexes built shard by shard: each shard is a job, for any process that sees the data folder.

A shard's files appear by one rename, so a worker that is killed leaves its shard to the next one and
nothing else; the process that finishes the last shard joins them and registers the index. Knows nothing of HTTP.
"""

from __future__ import annotations

import shutil
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import structlog
from celery import group
from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from kombu.exceptions import OperationalError

from tracer import corpus_store, registration
from tracer.build_progress import UNFINISHED, state_of
from tracer.engine import (
    EngineError,
    IndexFileError,
    ShardProgress,
    assemble_index,
    build_shard,
    read_slice,
)
from tracer.engine.build import PULSE_S, SUMMARY, read_summary
from tracer.engine.layout import TOKENIZER
from tracer.engine.tokens import IndexTokenizer, load_tokenizer
from tracer.models import Corpus, Index, IndexBuild, ShardBuild
from webapp.errors import BadInputError, ConflictError, FairgroundError, NotFoundError
from webapp.jobs import FINAL, JobStatus, looks_old
from webapp.queueing import enqueue_on_commit, queue_lost, without_message
from webapp.silence import take_from_silent

log = structlog.get_logger(__name__)
MAX_STARTS = 2
_embedded = threading.Lock()


class ShardTakenError(Exception):
    """Another process has taken this shard over, or its build has ended."""


def start_build(
    *,
    slug: str,
    tokenizer: Path | None,
    n_shards: int | None = None,
    folds_case: bool = False,
) -> IndexBuild:
    """Store a build of an index of a corpus; `queue_build` or `run_build` does it.

    Without a tokenizer the index is of UTF-8 bytes. Raises `BadInputError` for bad values, `NotFoundError`.
    """
    corpus = Corpus.objects.filter(slug=slug).first()
    if corpus is None:
        raise NotFoundError(f"There is no corpus {slug!r}. Add it first: manage.py add_corpus.")
    if folds_case and tokenizer is not None:
        raise BadInputError("Only an index of bytes can fold case.", field="folds_case")
    parts = corpus_store.corpus_parts(corpus)
    if tokenizer is not None and not tokenizer.is_file():
        raise BadInputError(f"There is no tokenizer file {tokenizer}. Give a tokenizer.json.", field="tokenizer")
    try:
        load_tokenizer(tokenizer)
    except IndexFileError as error:
        raise BadInputError(str(error), field="tokenizer") from error
    wanted = n_shards or corpus_store.default_shards(parts)
    if wanted > corpus.n_documents:
        raise BadInputError(
            f"{corpus.n_documents} documents cannot fill {wanted} shards. Give more text or fewer shards.",
            field="shards",
        )
    ranges = corpus_store.split(parts, wanted)
    with transaction.atomic():
        build: IndexBuild = IndexBuild.objects.create(
            corpus=corpus, is_bytes=tokenizer is None, folds_case=folds_case, n_shards=wanted, n_bytes=ranges[-1][1]
        )
        ShardBuild.objects.bulk_create(
            ShardBuild(build=build, number=number, begin=begin, end=end) for number, (begin, end) in enumerate(ranges)
        )
        build.folder.mkdir(parents=True)
        if tokenizer is not None:
            shutil.copyfile(tokenizer, build.folder / TOKENIZER)
    return build


def get_build(build_id: uuid.UUID | str) -> IndexBuild:
    """Return a build; raises `NotFoundError`."""
    build: IndexBuild | None = IndexBuild.objects.filter(pk=build_id).select_related("corpus", "index").first()
    if build is None:
        raise NotFoundError(f"There is no build {build_id}.")
    return build


def resume_build(build_id: uuid.UUID | str) -> IndexBuild:
    """Give the unfinished shards of a failed or interrupted build another try; finished shards are kept."""
    build = get_build(build_id)
    with transaction.atomic():
        IndexBuild.objects.select_for_update().get(pk=build.pk)
        build = get_build(build.pk)
        if build.status == JobStatus.DONE:
            raise ConflictError(f"Build {build.pk} is done already.")
        if build.status == JobStatus.CANCELLED:
            raise ConflictError(f"Build {build.pk} was discarded. Start a new one.")
        running, dead = Q(status=JobStatus.RUNNING), looks_old(settings.STALE_AFTER_S)
        idle = build.shards.exclude(status=JobStatus.DONE).filter(~running | dead)
        idle.update(status=JobStatus.PENDING, error="", n_starts=0, n_bytes_done=0, n_documents=0, stage="")
        build.status, build.error = JobStatus.PENDING, ""
        build.started_at = build.finished_at = None
        build.save()
    return build


def discard_build(build_id: uuid.UUID | str) -> None:
    """Give a build up and remove its files; shards being built stop within a second."""
    build = get_build(build_id)
    with transaction.atomic():
        if (
            not IndexBuild.objects.filter(pk=build.pk)
            .exclude(status=JobStatus.DONE)
            .update(status=JobStatus.CANCELLED, finished_at=timezone.now())
        ):
            raise ConflictError(f"Build {build.pk} is done already.")
        build.shards.exclude(status=JobStatus.DONE).update(status=JobStatus.CANCELLED, finished_at=timezone.now())
    shutil.rmtree(build.folder, ignore_errors=True)


def queue_build(build: IndexBuild) -> None:
    """Send every unfinished shard as a task of one group. With the broker away they wait for beat."""
    from tracer import tasks

    shards = [str(pk) for pk in build.shards.exclude(status__in=FINAL).values_list("pk", flat=True)]

    def send() -> None:
        try:
            group(tasks.build_shard.s(pk) for pk in shards).apply_async(retry=False)
        except OperationalError as error:
            log.warning("the broker is away; the build waits", build=str(build.pk), error=str(error))

    transaction.on_commit(send)


def run_build(build: IndexBuild, watch: Callable[[IndexBuild], None] = lambda build: None) -> Index:
    """Build every shard in this process, one after another, beside whoever else does; return the index.

    `watch` is called once a second. Raises `FairgroundError` with the reason of a failure and how to resume.
    """

    def pulse() -> None:
        watch(get_build(build.pk))

    def help_out(current: IndexBuild) -> None:
        watch(current)
        take_from_silent(build.shards.all(), silent_for_s=settings.STALE_AFTER_S, looker=str(build.pk))
        for pk in current.shards.exclude(status__in=FINAL).values_list("pk", flat=True):
            run_shard(pk, pulse=pulse)

    return wait_for_build(build, help_out)


def wait_for_build(build: IndexBuild, watch: Callable[[IndexBuild], None] = lambda build: None) -> Index:
    """Wait until a build has ended and return its index. Raises `FairgroundError` with the reason of a failure."""
    while True:
        watch(get_build(build.pk))
        build = get_build(build.pk)
        if build.status == JobStatus.DONE and build.index is not None:
            return build.index
        if build.status in FINAL:
            raise FairgroundError(f"{build.error} Resume it: manage.py build_index --resume {build.pk}")
        time.sleep(PULSE_S / 2)


def run_shard(shard_id: int | str, *, pulse: Callable[[], None] = lambda: None) -> None:
    """Build one shard; the last one to end joins them all. May run twice: what is taken or done is left alone."""
    shard = _claim(shard_id)
    if shard is None:
        return
    build = shard.build
    folder = build.folder / f"shard-{shard.number}"
    started, seen = shard.started_at, 0.0

    def note(progress: ShardProgress) -> None:
        nonlocal seen
        if time.monotonic() - seen < PULSE_S:
            return
        seen = time.monotonic()
        own = ShardBuild.objects.filter(pk=shard.pk, status=JobStatus.RUNNING, started_at=started)
        if not own.update(
            heartbeat_at=timezone.now(),
            n_bytes_done=progress.n_bytes,
            n_documents=progress.n_documents,
            stage=progress.stage.value,
        ):
            raise ShardTakenError
        pulse()

    try:
        _remove_partials(build.folder, shard.number)
        documents = read_slice(corpus_store.corpus_parts(build.corpus), shard.begin, shard.end)
        if not folder.exists():
            build_shard(documents, folder, shard.number, tokenizer_of(build), note)
        _finish_shard(shard, JobStatus.DONE, n_documents=read_summary(folder / SUMMARY).n_documents)
    except ShardTakenError:
        log.warning("shard was taken over", build=str(build.pk), shard=shard.number)
        return
    except (EngineError, FairgroundError) as error:
        _fail(shard, str(error))
        return
    except Exception:
        log.exception("shard failed", build=str(build.pk), shard=shard.number)
        _fail(shard, f"An unexpected error; the operator finds it in the log under {build.pk}.")
        return
    except BaseException:  # this process is told to stop: the next one may begin at once
        own = ShardBuild.objects.filter(pk=shard.pk, status=JobStatus.RUNNING, started_at=started)
        own.update(status=JobStatus.PENDING, n_starts=shard.n_starts - 1)
        raise
    finish_build(build.pk)


def tokenizer_of(build: IndexBuild) -> IndexTokenizer:
    """Return the tokenizer of a build, as it was when the build was started."""
    return load_tokenizer(None if build.is_bytes else build.folder / TOKENIZER, folds_case=build.folds_case)


def _claim(shard_id: int | str) -> ShardBuild | None:
    """Take a shard that waits; None when there is nothing to do."""
    with transaction.atomic():
        shard: ShardBuild | None = (
            ShardBuild.objects.select_for_update(of=("self",))
            .select_related("build__corpus")
            .filter(pk=shard_id)
            .first()
        )
        if shard is None or shard.status != JobStatus.PENDING or shard.build.is_finished:
            return None
        now = timezone.now()
        if shard.n_starts >= MAX_STARTS:
            error = f"Shard {shard.number} ended its worker {shard.n_starts} times, perhaps for want of memory."
            _fail(shard, f"{error} Build with more shards.")
            return None
        shard.n_starts += 1
        shard.status, shard.started_at, shard.heartbeat_at = JobStatus.RUNNING, now, now
        shard.save()
        IndexBuild.objects.filter(pk=shard.build_id, started_at=None).update(
            status=JobStatus.RUNNING, started_at=now, fraction_at_start=state_of(shard.build).fraction
        )
    return shard


def _finish_shard(shard: ShardBuild, status: JobStatus, *, error: str = "", n_documents: int = 0) -> bool:
    """End a shard, unless it was ended, or taken over by another process, meanwhile; tell whether it was."""
    own = ShardBuild.objects.filter(pk=shard.pk, started_at=shard.started_at).exclude(status__in=FINAL)
    n_rows: int = own.update(
        status=status,
        error=error,
        stage="",
        n_documents=n_documents,
        n_bytes_done=shard.end - shard.begin if status == JobStatus.DONE else 0,
        finished_at=timezone.now(),
    )
    return bool(n_rows)


def _fail(shard: ShardBuild, error: str) -> None:
    """End a shard and its build as failed; other shards go on, for the next try."""
    log.warning("shard failed", build=str(shard.build_id), shard=shard.number, error=error)
    with transaction.atomic():
        if not _finish_shard(shard, JobStatus.FAILED, error=error):
            return
        IndexBuild.objects.filter(pk=shard.build_id).exclude(status__in=FINAL).update(
            status=JobStatus.FAILED, error=error, finished_at=timezone.now()
        )


def finish_build(build_id: uuid.UUID | str) -> None:
    """Join the shards and register the index, once all of them are done; may run twice."""
    try:
        with transaction.atomic():
            build = IndexBuild.objects.select_for_update().filter(pk=build_id).first()
            if build is None or build.is_finished or build.shards.exclude(status=JobStatus.DONE).exists():
                return
            build.index = registration.register_folder(build.corpus, _joined(build))
            build.status, build.finished_at = JobStatus.DONE, timezone.now()
            build.save()
    except (EngineError, FairgroundError, OSError) as error:
        log.warning("build failed", build=str(build_id), error=str(error))
        IndexBuild.objects.filter(pk=build_id).update(
            status=JobStatus.FAILED, error=str(error), finished_at=timezone.now()
        )
        return
    shutil.rmtree(build.folder, ignore_errors=True)


def _joined(build: IndexBuild) -> Path:
    """Join the shards in the folder that is named by the index's digest; goes on where an earlier try ended."""
    joined, name = build.folder / "index", build.folder / "digest"
    if not name.exists():
        if not joined.exists():
            folders = [build.folder / f"shard-{number}" for number in range(build.n_shards)]
            assemble_index(build.folder, folders, tokenizer_of(build), joined)
        name.write_text(registration.digest_of(joined), encoding="ascii")
    final = build.folder.parent / name.read_text(encoding="ascii")[:16]
    if not final.exists():
        joined.rename(final)
    return final


def run_queued_shard(shard_id: int | str) -> None:
    """Build a shard for a task. The threads of an embedded worker build one at a time and leave room for traces."""
    if not settings.EMBEDDED:
        run_shard(shard_id)
        return
    if not _embedded.acquire(blocking=False):
        return  # the thread that builds takes this shard next
    try:
        run_shard(shard_id)
        while pk := _next_waiting():
            run_shard(pk)
    finally:
        _embedded.release()


def _next_waiting() -> int | None:
    waiting = ShardBuild.objects.filter(status=JobStatus.PENDING, build__status__in=UNFINISHED)
    pk: int | None = waiting.order_by("pk").values_list("pk", flat=True).first()
    return pk


def requeue_unfinished(*, older_than_s: float) -> int:
    """Queue shards again that the queue lost or whose worker shows no life, and join shards that nobody joined.

    Shards that wait are left in the queue as long as another of their build shows life.
    """
    from tracer import tasks

    n_jobs = 0
    silent = take_from_silent(ShardBuild.objects.filter(build__status__in=UNFINISHED), silent_for_s=older_than_s)
    for build in IndexBuild.objects.unfinished():
        shards = build.shards.all()
        moves = shards.filter(status=JobStatus.RUNNING).exists()
        asked = shards.filter(pk__in=silent) if moves else shards
        n_jobs += queue_lost(asked, tasks.build_shard, silent, older_than_s=older_than_s)
        if not shards.exclude(status=JobStatus.DONE).exists() and without_message(tasks.finish_build, [build.pk]):
            enqueue_on_commit(tasks.finish_build, build.pk)
            n_jobs += 1
    return n_jobs


def _remove_partials(folder: Path, number: int) -> None:
    """Remove what an earlier try of a shard left."""
    for left in folder.glob(f".shard-{number}-*"):
        shutil.rmtree(left, ignore_errors=True)
