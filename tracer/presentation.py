"""What may be shown of a trace and of a document now, for pages, interface and exports alike.

A stored trace never changes; a takedown or a stricter disclosure since then is applied here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tracer import registry
from tracer.engine import IndexFileError, StoredDocument
from tracer.models import Corpus, DisclosureChoice, Takedown, Trace
from webapp.errors import FairgroundError, NotFoundError

REMOVED = "This document was taken down."


class GoneError(FairgroundError):
    """A document that was taken down; the message holds the reason."""

    status = 410
    code = "taken-down"


def present_trace(trace: Trace) -> dict[str, Any]:
    """Return the JSON of a trace as everyone may see it now."""
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
    if trace.result is None:
        presented["corpora"] = [{"slug": slug, "indexes": []} for slug in trace.corpora]
        return presented
    result = dict(trace.result)
    closed, removed = _closed_corpora(trace), _removed_documents(trace)
    corpora = {corpus.slug: corpus for corpus in Corpus.objects.filter(slug__in=trace.corpora)}
    result["documents"] = [
        _present_document(document, corpora, removed)
        for document in result["documents"]
        if document["corpus"] not in closed
    ]
    result["spans"] = [
        {
            **span,
            "matches": [
                {**match, "snippet": "", "snippet_start": 0, "snippet_end": 0, "removed": True}
                if match["document"] in removed
                else {**match, "removed": False}
                for match in span["matches"]
                if match["corpus"] not in closed
            ],
        }
        for span in result["spans"]
    ]
    return {**presented, **result}


def _closed_corpora(trace: Trace) -> set[str]:
    return set(
        Corpus.objects.filter(slug__in=trace.corpora, disclosure=DisclosureChoice.COUNTS).values_list("slug", flat=True)
    )


def _removed_documents(trace: Trace) -> dict[str, str]:
    rows = Takedown.objects.filter(corpus__slug__in=trace.corpora).select_related("corpus")
    return {f"{row.corpus.slug}/{row.document_key}": row.reason for row in rows}


def _present_document(document: dict[str, Any], corpora: dict[str, Corpus], removed: dict[str, str]) -> dict[str, Any]:
    corpus = corpora[document["corpus"]]
    shown = {**document, "licence": document["licence"] or corpus.licence, "owner": corpus.owner, "removed": False}
    if document["id"] in removed:
        shown.update(title=REMOVED, url="", metadata={}, removed=True)
    return shown


@dataclass(frozen=True)
class ReadableDocument:
    """A document that everyone may read, with its corpus."""

    corpus: Corpus
    document: StoredDocument

    @property
    def licence(self) -> str:
        """Return the document's own licence, else its corpus's."""
        return self.document.licence or self.corpus.licence


def read_document(corpus_slug: str, key: str) -> ReadableDocument:
    """Return a document of an open corpus.

    Raises `NotFoundError` alike for an unknown document and for one in a closed corpus,
    `GoneError` for one that was taken down, `FairgroundError` (503) when the index is damaged.
    """
    corpus = Corpus.objects.filter(slug=corpus_slug, disclosure=DisclosureChoice.FULL).first()
    if corpus is None:
        raise NotFoundError("There is no such document, or its corpus is not open for reading.")
    takedown = corpus.takedowns.filter(document_key=key).first()
    if takedown is not None:
        raise GoneError(f"{REMOVED} Reason: {takedown.reason}")
    for index in corpus.indexes.filter(is_enabled=True):
        try:
            reader = registry.open_index(index)
            number = registry.document_numbers(reader).get(key)
        except IndexFileError as error:
            raise FairgroundError(str(error), status=503, code="index-unavailable") from error
        if number is not None:
            return ReadableDocument(corpus, reader.document(number))
    raise NotFoundError("There is no such document, or its corpus is not open for reading.")
