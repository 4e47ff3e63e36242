"""What the tracer writes to the transparency log, inside the caller's transaction. See docs/log-format.md."""

from __future__ import annotations

from tracer.models import Corpus, Index, Takedown
from webapp.transparency.services import append_entry, salted_text_hash


def log_corpus(corpus: Corpus) -> None:
    """Log a corpus as it is now: new, or with another disclosure."""
    if not corpus.digest:
        return  # registered before the log began
    body = {
        "corpus": corpus.slug,
        "owner": corpus.owner,
        "licence": corpus.licence,
        "disclosure": corpus.disclosure,
        "n_documents": corpus.n_documents,
        "digest": corpus.digest,
        "title": corpus.title,
    }
    append_entry(kind="corpus", body=body)


def log_index(index: Index, change: str) -> None:
    """Log that an index was registered, enabled or disabled."""
    body = {
        "corpus": index.corpus.slug,
        "index": index.digest,
        "change": change,
        "tokenizer_digest": index.tokenizer_digest,
        "n_documents": index.n_documents,
        "n_tokens": index.n_tokens,
        "n_shards": index.n_shards,
    }
    append_entry(kind="index", body=body)


def log_takedown(takedown: Takedown) -> None:
    """Log a takedown by salted hashes, and set the salts on the unsaved row."""
    takedown.document_salt, document = salted_text_hash(takedown.document_key)
    takedown.reason_salt, reason = salted_text_hash(takedown.reason)
    body = {
        "corpus": takedown.corpus.slug,
        "takedown": str(takedown.log_id),
        "document": document,
        "reason": reason,
    }
    append_entry(kind="takedown", body=body)
