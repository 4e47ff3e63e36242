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
from django.utils import timezone

from tracer import corpus_store, publication, registration, registry
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
from webapp.errors import BadInputError, ConflictError, ForbiddenError, NotFoundError
from webapp.jobs import JobStatus
from webapp.ownership import NOBODY, Author, Visibility, check_visibility, ownership
from webapp.queueing import check_room, enqueue_on_commit
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
    slugs = traceable(corpora)
    check_room(Trace)
    with transaction.atomic():
        trace = Trace.objects.create(text=text, prompt=prompt, corpora=slugs, parameters=checked, **owned)
        from tracer import tasks

        enqueue_on_commit(tasks.run_trace, trace.id)
    return trace


def get_trace(trace_id: uuid.UUID | str, *, author: Author) -> Trace:
    """Return a trace that this author may read; raises `NotFoundError` alike for none and for another's private one."""
    trace: Trace | None = Trace.objects.readable_by(author).filter(pk=trace_id).first()
    if trace is None:
        raise NotFoundError("There is no such trace, or it is private.")
    return trace


def share_trace(trace_id: uuid.UUID | str, *, author: Author, visibility: str) -> Trace:
    """Change who may read one's own trace."""
    chosen = check_visibility(visibility)
    with transaction.atomic():
        trace = _own_trace(trace_id, author)
        trace.visibility = chosen
        trace.save(update_fields=["visibility"])
    return trace


def delete_trace(trace_id: uuid.UUID | str, *, author: Author) -> None:
    """Delete one's own trace for good. Raises `ForbiddenError` for somebody else's or nobody's."""
    with transaction.atomic():
        _own_trace(trace_id, author).delete()


def _own_trace(trace_id: uuid.UUID | str, author: Author) -> Trace:
    trace = get_trace(trace_id, author=author)
    if not trace.is_owned_by(author):
        raise ForbiddenError("This trace is not yours. Only who made it may change or delete it.")
    locked: Trace = Trace.objects.select_for_update().get(pk=trace.pk)
    return locked


def check_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return all parameters with defaults; raises `BadInputError` naming the first bad one."""
    try:
        return TraceParameters.from_mapping(parameters).to_dict()
    except ParameterError as error:
        raise BadInputError(str(error), field=f"parameters.{error.name}") from error


def traceable(wanted: Sequence[str] | None) -> list[str]:
    """Return the slugs to search: those wanted, or all that have an enabled index."""
    ready = list(Corpus.objects.traceable().order_by("slug").values_list("slug", flat=True))
    if wanted is None:
        if not ready:
            raise BadInputError("No corpus has an index yet. The operator builds one with manage.py build_index.")
        return ready
    if not wanted:
        raise BadInputError("No corpus is chosen. Choose at least one.", field="corpora")
    for slug in wanted:
        if slug not in ready:
            raise BadInputError(
                f"There is no corpus {slug!r} with an index. Choose from {', '.join(ready)}.", field="corpora"
            )
    return list(dict.fromkeys(wanted))


def run_trace(trace_id: uuid.UUID | str) -> None:
    """Compute a trace and store its result; a finished one is left alone. Errors end it as failed."""
    with transaction.atomic():
        trace = Trace.objects.select_for_update().filter(pk=trace_id).first()
        if trace is None or trace.is_finished:
            return
        if trace.n_starts >= MAX_STARTS:
            _finish(trace, JobStatus.FAILED, f"The worker ended {trace.n_starts} times during this trace.")
            return
        trace.n_starts += 1
        trace.status = JobStatus.RUNNING
        trace.started_at = trace.heartbeat_at = timezone.now()
        trace.save(update_fields=["n_starts", "status", "started_at", "heartbeat_at"])
    try:
        result = compute_trace(trace)
    except EngineError as error:
        log.warning("trace failed", trace=str(trace.id), error=str(error))
        _finish(trace, JobStatus.FAILED, str(error))
        return
    except Exception:
        log.exception("trace failed", trace=str(trace.id))
        _finish(trace, JobStatus.FAILED, f"An unexpected error; the operator finds it in the log under {trace.id}.")
        return
    trace.result = storable_json(result)
    _finish(trace, JobStatus.DONE)
    _note_if_slow(trace, result["timings_ms"])


def _note_if_slow(trace: Trace, timings_ms: dict[str, float]) -> None:
    """Log a trace that took long, stage by stage, so that the operator sees what to speed up."""
    total_ms = sum(timings_ms.values())
    if total_ms >= settings.SLOW_TRACE_MS:
        facts = {f"{stage}_ms": value for stage, value in timings_ms.items()}
        facts |= {"n_characters": len(trace.text), "n_corpora": len(trace.corpora)}
        log.warning("slow trace", trace=str(trace.id), **facts)


def _finish(trace: Trace, status: JobStatus, error: str = "") -> None:
    trace.status, trace.error, trace.finished_at = status, error, timezone.now()
    trace.save(update_fields=["status", "error", "finished_at", "result"])
    transaction.on_commit(lambda: note_end(trace.id))


def requeue_unfinished(*, older_than_s: float) -> int:
    """Queue traces without a sign of life again; those that ended their worker twice fail there."""
    from tracer import tasks

    stale = Trace.objects.get_queryset().filter(batch=None).stale(older_than_s=older_than_s)  # type: ignore[attr-defined]
    identifiers = list(stale.values_list("id", flat=True))
    Trace.objects.filter(id__in=identifiers).update(heartbeat_at=timezone.now())
    for identifier in identifiers:
        enqueue_on_commit(tasks.run_trace, identifier)
    return len(identifiers)


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
