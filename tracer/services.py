"""What changes corpora, indexes, traces and takedowns. Each service owns its transaction."""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog
from django.conf import settings
from django.contrib.auth.models import Group
from django.db import IntegrityError, transaction
from django.db.models import Count, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.utils import timezone

from tracer import corpus_store, publication, registration, registry
from tracer.choosing import choose_corpora
from tracer.computing import compute_trace
from tracer.engine import (
    EngineError,
    IndexReader,
    ParameterError,
    TraceParameters,
    assemble_index,
    build_shard,
    read_slice,
)
from tracer.engine.tokens import load_tokenizer
from tracer.models import Corpus, DisclosureChoice, Index, Takedown, Trace
from webapp.away import AWAY
from webapp.errors import BadInputError, ConflictError, NotFoundError
from webapp.jobs import JobStatus
from webapp.late_commits import without_waiting
from webapp.ownership import NOBODY, Author, Visibility, find_own, find_readable, ownership, share_own
from webapp.prepared import prepared
from webapp.queueing import check_waiting, enqueue_on_commit, requeue_jobs
from webapp.signs_of_life import signs_of_life
from webapp.text import storable, storable_json
from webapp.waiting import note_end

log = structlog.get_logger(__name__)
SLUG = re.compile(r"[a-z0-9][a-z0-9_-]{0,59}")
MAX_STARTS = 2


def add_corpus(
    *,
    slug: str,
    file: Path,
    owner: str,
    licence: str,
    title: str,
    disclosure: str = "full",
    provenance: str = "",
    group: str = "",
    in_place: bool = False,
) -> Corpus:
    """Check every line of a file, a folder or a glob, copy the files into the data folder and register the corpus.

    With `in_place` the files stay where they lie, for all workers at the same path. Members of `group`,
    which is made when it is new, see the corpus in full whatever its disclosure.

    Raises `BadInputError` (with the line number of a broken line), `ConflictError` for a known slug.
    """
    _check_about(slug, {"owner": owner, "licence": licence, "title": title, "disclosure": disclosure})
    if Corpus.objects.filter(slug=slug).exists():
        raise ConflictError(f"There is a corpus {slug!r} already. Choose another slug.")
    with corpus_store.stored_files(slug, file, in_place=in_place) as stored, transaction.atomic():
        corpus = Corpus.objects.create(
            slug=slug,
            title=title,
            owner=owner,
            licence=licence,
            disclosure=disclosure,
            owner_group=Group.objects.get_or_create(name=group)[0] if group else None,
            provenance=provenance,
            file=stored.file,
            files=stored.files,
            digest=stored.digest,
            n_documents=stored.n_documents,
        )
        publication.log_corpus(corpus)
    return corpus


def change_disclosure(*, slug: str, disclosure: str, group: str | None = None) -> Corpus:
    """Change how much of a corpus is shown, at once and for earlier traces too.

    `group` names the owners who see it in full ("" for none); None leaves them as they are.
    """
    _check_disclosure(disclosure)
    with transaction.atomic():
        corpus = get_corpus(slug)
        corpus.disclosure = disclosure
        if group is not None:
            corpus.owner_group = Group.objects.get_or_create(name=group)[0] if group else None
        corpus.save(update_fields=["disclosure", "owner_group"])
        publication.log_corpus(corpus)
    return corpus


def _check_disclosure(disclosure: str) -> None:
    if disclosure not in DisclosureChoice.values:
        raise BadInputError(
            f"disclosure {disclosure!r}: use one of {', '.join(DisclosureChoice.values)}.", field="disclosure"
        )


def build_corpus_index(
    *,
    slug: str,
    tokenizer: Path | None,
    n_shards: int = 1,
    folds_case: bool = False,
) -> Index:
    """Build an index over a corpus in this thread and register it; an interrupted build leaves nothing.

    `tracer.builds` does the same shard by shard, on any number of workers.
    """
    corpus = get_corpus(slug)
    if tokenizer is not None and not tokenizer.is_file():
        raise BadInputError(f"There is no tokenizer file {tokenizer}. Give a tokenizer.json.", field="tokenizer")
    root = Path(settings.DATA_DIR) / "indexes" / slug
    building = root / f"new-{uuid.uuid4().hex}"
    parts = corpus_store.corpus_parts(corpus)
    try:
        loaded = load_tokenizer(tokenizer, folds_case=folds_case)
        folders = [building / f"shard-{shard}" for shard in range(n_shards)]
        for shard, (begin, end) in enumerate(corpus_store.split(parts, n_shards)):
            build_shard(read_slice(parts, begin, end), folders[shard], shard, loaded)
        manifest = assemble_index(building, folders, loaded, building / "index")
        final = root / manifest.digest[:16]
        if not final.exists():
            (building / "index").rename(final)
    except EngineError as error:
        raise BadInputError(str(error)) from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return registration.register_folder(corpus, final)


def register_index(
    *,
    slug: str,
    folder: Path,
    tokenizer: Path | None = None,
    is_bytes: bool = False,
    about: Mapping[str, str] | None = None,
) -> Index:
    """Check an index that was built elsewhere, every file of it, and register it where it lies.

    `about` (owner, licence, title, disclosure, provenance, group) makes the corpus, when there is none yet.
    Raises `BadInputError` that names the damaged file, the reason and what to do.
    """
    known = Corpus.objects.filter(slug=slug).first() if about else get_corpus(slug)
    if known is None:
        _check_about(slug, about or {})
    elif about:
        raise ConflictError(f"There is a corpus {slug!r} already. Leave --owner, --licence and --title out.")
    checked = registration.checked_folder(slug, folder, tokenizer, is_bytes=is_bytes)
    with transaction.atomic():
        corpus = known or _corpus_of_index(slug, IndexReader.open(checked), about or {})
        return registration.register_folder(corpus, checked)


def _check_about(slug: str, about: Mapping[str, str]) -> None:
    if not SLUG.fullmatch(slug):
        raise BadInputError(f"{slug!r} is no slug: use a–z, 0–9, - and _, at most 60.", field="slug")
    _check_disclosure(about["disclosure"])
    for name in ("owner", "licence", "title"):
        if not about[name].strip():
            raise BadInputError(f"{name} is empty: say whose text it is and under which licence.", field=name)


def _corpus_of_index(slug: str, reader: IndexReader, about: Mapping[str, str]) -> Corpus:
    """Make the corpus of an index whose text is not here; it is known by the index's digest."""
    values = {name: about[name] for name in ("owner", "licence", "title", "disclosure", "provenance")}
    group = about["group"]
    owner_group = Group.objects.get_or_create(name=group)[0] if group else None
    corpus = Corpus.objects.create(
        slug=slug, owner_group=owner_group, digest=reader.digest, n_documents=reader.n_documents, **values
    )
    publication.log_corpus(corpus)
    return corpus


def get_corpus(slug: str) -> Corpus:
    """Return a corpus; raises `NotFoundError` that lists what there is."""
    corpus = Corpus.objects.filter(slug=slug).first()
    if corpus is None:
        known = ", ".join(Corpus.objects.values_list("slug", flat=True)) or "none yet: see manage.py add_corpus"
        raise NotFoundError(f"There is no corpus {slug!r}. Known: {known}.")
    return corpus


def request_trace(
    *,
    text: str,
    prompt: str = "",
    corpora: Sequence[str] | None = None,
    parameters: Mapping[str, Any] | None = None,
    author: Author = NOBODY,
    visibility: str = Visibility.LINK,
) -> Trace:
    """Store a pending trace and queue it. Raises `BadInputError` naming the field, `BusyError` when too many wait."""
    owned = ownership(author, visibility)
    text, prompt = storable(text), storable(prompt)
    limit = settings.MAX_TRACE_CHARACTERS
    if not text.strip():
        raise BadInputError("There is no text to trace. Give some.", field="text")
    for name, value in (("text", text), ("prompt", prompt)):
        if len(value) > limit:
            raise BadInputError(f"{name} has {len(value)} characters; at most {limit} are traced at once.", field=name)
    checked = check_parameters(parameters or {})
    ready = _traceable_beside_waiting(())
    slugs = choose_corpora(corpora, [slug for slug, _ in ready], where="")
    n_waiting = ready[0][1]
    check_waiting(n_waiting)
    trace = Trace.objects.create(text=text, prompt=prompt, corpora=slugs, parameters=checked, **owned)
    trace.position = n_waiting + 1
    from tracer import tasks

    enqueue_on_commit(tasks.run_trace, trace.id)
    return trace


@prepared
def _traceable_beside_waiting(_: Sequence[str]) -> QuerySet[Corpus, tuple[str, int]]:
    """Return each corpus with an enabled index, and beside it how many traces wait: one question instead of two."""
    waiting = Trace.objects.filter(status=JobStatus.PENDING).order_by().values("status").annotate(n=Count("pk"))
    n_waiting = Coalesce(Subquery(waiting.values("n")), 0)
    return Corpus.objects.traceable().order_by("slug").annotate(n_waiting=n_waiting).values_list("slug", "n_waiting")


def get_trace(trace_id: uuid.UUID | str, *, author: Author) -> Trace:
    """Return a trace that this author may read; raises `NotFoundError` alike for none and for another's private one."""
    return find_readable(_traces(), trace_id, author=author, name="trace")


def _traces() -> QuerySet[Trace]:
    rows: QuerySet[Trace] = Trace.objects.all()
    return rows


def share_trace(trace_id: uuid.UUID | str, *, author: Author, visibility: str) -> Trace:
    """Change who may read one's own trace."""
    return share_own(_traces(), trace_id, author=author, name="trace", visibility=visibility)


def delete_trace(trace_id: uuid.UUID | str, *, author: Author) -> None:
    """Delete one's own trace for good. Raises `ForbiddenError` for somebody else's or nobody's."""
    with transaction.atomic():
        find_own(_traces(), trace_id, author=author, name="trace").delete()


def check_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return all parameters with defaults; raises `BadInputError` naming the first bad one."""
    try:
        return TraceParameters.from_mapping(parameters).to_dict()
    except ParameterError as error:
        raise BadInputError(str(error), field=f"parameters.{error.name}") from error


def traceable(wanted: Sequence[str] | None) -> list[str]:
    """Return the slugs to search: those wanted, or all that have an enabled index."""
    ready = list(Corpus.objects.traceable().order_by("slug").values_list("slug", flat=True))
    return choose_corpora(wanted, ready, where="")


def run_trace(trace_id: uuid.UUID | str, *, is_part: bool = False) -> None:
    """Compute a trace and store its result; a finished one is left alone. Errors end it as failed.

    is_part: what the trace belongs to waits for the disk at its own end, so that this need not.
    """
    trace = next(iter(_traces().filter(pk=trace_id).order_by()), None)  # `first` would have its one row put in order
    if trace is None or trace.is_finished:
        return
    if trace.n_starts >= MAX_STARTS:
        _finish(trace, JobStatus.FAILED, f"The worker ended {trace.n_starts} times during this trace.")
        return
    if not _start(trace):
        return
    try:
        with signs_of_life(trace):
            result = compute_trace(trace)
    except EngineError as error:
        log.warning("trace failed", trace=str(trace.id), error=str(error))
        _finish(trace, JobStatus.FAILED, str(error))
        return
    except AWAY as error:  # its row shows no more life, so it is begun anew, or fails there after too many starts
        log.warning("the database or Redis is away; the trace waits", trace=str(trace.id), error=str(error))
        return
    except Exception:
        log.exception("trace failed", trace=str(trace.id))
        _finish(trace, JobStatus.FAILED, f"An unexpected error; the operator finds it in the log under {trace.id}.")
        return
    trace.result = storable_json(result)
    _finish(trace, JobStatus.DONE, is_part=is_part)
    _note_if_slow(trace, result["timings_ms"])


def _start(trace: Trace) -> bool:
    """Note that this worker computes the trace now; tell whether nobody else began or ended it since it was read."""
    now = timezone.now()
    n_read, trace.n_starts = trace.n_starts, trace.n_starts + 1
    rows = Trace.objects.get_queryset().unfinished()  # type: ignore[attr-defined]
    values = {"n_starts": trace.n_starts, "status": JobStatus.RUNNING, "started_at": now, "heartbeat_at": now}
    return bool(without_waiting(rows.filter(pk=trace.pk, n_starts=n_read)).update(**values))


def _note_if_slow(trace: Trace, timings_ms: dict[str, float]) -> None:
    """Log a trace that took long, stage by stage, so that the operator sees what to speed up."""
    total_ms = sum(timings_ms.values())
    if total_ms >= settings.SLOW_TRACE_MS:
        facts = {f"{stage}_ms": value for stage, value in timings_ms.items()}
        facts |= {"n_characters": len(trace.text), "n_corpora": len(trace.corpora)}
        log.warning("slow trace", trace=str(trace.id), **facts)


def _finish(trace: Trace, status: JobStatus, error: str = "", *, is_part: bool = False) -> None:
    """Store how a trace ended. A worker that was taken for dead, and whose trace another began anew, stores nothing."""
    values = {"status": status, "error": error, "finished_at": timezone.now(), "result": trace.result}
    unfinished = Trace.objects.get_queryset().unfinished()  # type: ignore[attr-defined]
    rows = unfinished.filter(pk=trace.pk, n_starts=trace.n_starts)
    if (without_waiting(rows) if is_part else rows).update(**values):
        transaction.on_commit(lambda: note_end(trace.id))


def requeue_unfinished(*, older_than_s: float) -> int:
    """Queue traces again that the queue lost or whose worker shows no life; those that ended it twice fail there."""
    from tracer import tasks

    return requeue_jobs(Trace.objects.filter(batch=None), tasks.run_trace, older_than_s=older_than_s)


def take_down(*, corpus: str, document: str, reason: str) -> Takedown:
    """Hide a document everywhere at once; raises `NotFoundError` for an unknown one."""
    if not reason.strip():
        raise BadInputError("Give the reason: it stands on the tombstone.", field="reason")
    owner = get_corpus(corpus)
    known = any(
        document in registry.document_numbers(registry.open_index(i)) for i in owner.indexes.filter(is_enabled=True)
    )
    if not known:
        raise NotFoundError(f"Corpus {corpus!r} has no document {document!r}.")
    try:
        with transaction.atomic():
            takedown = Takedown(corpus=owner, document_key=document, reason=reason)
            publication.log_takedown(takedown)
            takedown.save()
            return takedown
    except IntegrityError:
        raise ConflictError(f"{corpus}/{document} was taken down before.") from None
