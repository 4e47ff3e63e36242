"""What may be shown of a trace and of a document now, for pages, interface and exports alike.

A stored trace never changes; a takedown or a stricter disclosure since then is applied here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

from tracer import registry
from tracer.disclosure import CLOSED_DOCUMENT, Policy, apply_policies, policies_for, policy_for
from tracer.duplicates import merge_copies
from tracer.engine import IndexFileError, StoredDocument
from tracer.models import Corpus, Takedown, Trace
from tracer.numbers import summarize_spans
from webapp.errors import FairgroundError, NotFoundError
from webapp.jobs import JobStatus
from webapp.ownership import NOBODY, Author
from webapp.prepared import prepared
from webapp.text import storable

REMOVED = "This document was taken down."


class GoneError(FairgroundError):
    """A document that was taken down; the message holds the reason."""

    status = 410
    code = "taken-down"


@dataclass(frozen=True)
class RulesNow:
    """What an author may see of some corpora at one moment; `tombstones`: reasons of takedowns by document."""

    corpora: dict[str, Corpus]
    policies: dict[str, Policy]
    tombstones: dict[str, str]


def rules_now(slugs: Sequence[str], author: Author) -> RulesNow:
    """Read what holds of these corpora: for one trace, or for a few that are shown together."""
    corpora = {corpus.slug: corpus for corpus in (Corpus.from_db(None, _SHOWN, row) for row in _corpora(slugs))}
    tombstones = {f"{slug}/{key}": reason for slug, key, reason in _takedowns(slugs)}
    return RulesNow(corpora, policies_for(corpora.values(), author), tombstones)


def present_trace(trace: Trace, *, author: Author = NOBODY, rules: RulesNow | None = None) -> dict[str, Any]:
    """Return the JSON of a trace as this author may see it now. rules: of its corpora, read a moment ago."""
    presented: dict[str, Any] = {
        "id": str(trace.id),
        "status": trace.status,
        "error": trace.error,
        "created_at": trace.created_at.isoformat(),
        "finished_at": trace.finished_at.isoformat() if trace.finished_at else None,
        "text": trace.text,
        "prompt": trace.prompt,
        "parameters": trace.parameters,
        "visibility": trace.visibility,
    }
    if trace.status == JobStatus.PENDING:
        presented["position"] = trace.position or position_of(trace)
    if trace.result is None:
        presented["corpora"] = [{"slug": slug, "indexes": []} for slug in trace.corpora]
        return presented
    rules = rules or rules_now(trace.corpora, author)
    corpora, policies = rules.corpora, rules.policies
    shown = apply_policies(trace.result, policies, rules.tombstones)
    shown.setdefault("unavailable", [])  # traces made before indexes could fail alone
    for document in shown["documents"]:
        corpus = corpora[document["corpus"]]
        document["owner"], document["licence"] = corpus.owner, document["licence"] or corpus.licence
        may_read = corpus.is_here and policies[corpus.slug].may_read_documents
        document["is_readable"] = may_read and not document["removed"]
        if document["removed"]:
            document["title"] = REMOVED
    shown["documents"] = merge_copies(shown["documents"], shown["spans"])
    licences = {slug: corpus.licence for slug, corpus in corpora.items()}
    numbers = summarize_spans(shown["spans"], len(trace.text), licences)
    numbers["creativity"] = shown.pop("creativity", None)  # traces made before it was measured have none
    return {**presented, **shown, "numbers": numbers}


def position_of(trace: Trace) -> int:
    """Return a waiting trace's place in the queue: 1 is next."""
    return int(Trace.objects.filter(status=JobStatus.PENDING, created_at__lt=trace.created_at).count()) + 1


_NEEDED = {"slug", "owner", "licence", "disclosure", "owner_group_id", "file", "digest"}
_SHOWN = tuple(field.attname for field in Corpus._meta.concrete_fields if field.attname in _NEEDED)


@prepared
def _corpora(slugs: Sequence[str]) -> QuerySet[Corpus, Any]:
    return Corpus.objects.filter(slug__in=slugs).values_list(*_SHOWN)


@prepared
def _takedowns(slugs: Sequence[str]) -> QuerySet[Takedown, Any]:
    rows = Takedown.objects.filter(corpus__slug__in=slugs)
    return rows.order_by("pk").values_list("corpus__slug", "document_key", "reason")


@dataclass(frozen=True)
class ReadableDocument:
    """A document that everyone may read, with its corpus."""

    corpus: Corpus
    document: StoredDocument

    @property
    def licence(self) -> str:
        """Return the document's own licence, else its corpus's."""
        return self.document.licence or self.corpus.licence


def read_document(corpus_slug: str, key: str, *, author: Author = NOBODY) -> ReadableDocument:
    """Return a document of a corpus that is open to this author.

    Raises `NotFoundError` alike for an unknown document and for one in a closed corpus,
    `GoneError` for one that was taken down, `FairgroundError` (503) when the index is damaged.
    """
    corpus = Corpus.objects.filter(slug=corpus_slug).first()
    if corpus is None:
        raise NotFoundError(CLOSED_DOCUMENT)
    policy_for(corpus, author).require_documents()
    takedown = corpus.takedowns.filter(document_key=storable(key)).first()
    if takedown is not None:
        raise GoneError(f"{REMOVED} Reason: {takedown.reason}")
    for index in registry.readable_first(corpus.indexes.all()):
        try:
            reader = registry.open_index(index)
            number = registry.document_numbers(reader).get(key)
        except IndexFileError as error:
            raise FairgroundError(str(error), status=503, code="index-unavailable") from error
        if number is not None:
            return ReadableDocument(corpus, reader.document(number))
    raise NotFoundError(CLOSED_DOCUMENT)
