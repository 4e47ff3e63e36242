"""Open indexes of this process, shared by its threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any

from django.db.models import QuerySet

from tracer.disclosure import Policy, policies_for
from tracer.engine import IndexFileError, IndexReader, SearchableCorpus, trace_text
from tracer.engine.tokens import FOLDED_BYTES
from tracer.models import Corpus, Index, Takedown
from webapp.ownership import NOBODY, Author
from webapp.prepared import prepared

KEEP_S = 30.0
_readers: dict[str, IndexReader] = {}
_numbers: dict[str, dict[str, int]] = {}
_lock = threading.Lock()
_next_look = 0.0


def open_index(index: Index) -> IndexReader:
    """Return the reader of an index, opened once; raises `IndexFileError` when its files changed."""
    if time.monotonic() >= _next_look:
        close_unregistered()
    with _lock:
        reader = _readers.get(index.digest)
        is_old = reader is not None and any(shard.has_new_samples() for shard in reader.shards)
        if reader is None or reader.folder != index.folder or is_old:
            reader = IndexReader.open(index.folder)
            if reader.digest != index.digest:
                raise IndexFileError(index.folder / "manifest.json", "is of another build than the one registered")
            _readers[index.digest] = reader
    try:
        reader.check_files()
    except IndexFileError:
        with _lock:
            _forget(index.digest)
        raise
    return reader


def close_unregistered() -> None:
    """Let go of readers whose index was switched off or removed; looked up every `KEEP_S` seconds at most.

    Their files are unmapped once the last search in them has ended.
    """
    global _next_look
    _next_look = time.monotonic() + KEEP_S
    if not _readers:
        return
    enabled = set(Index.objects.filter(is_enabled=True).values_list("digest", flat=True))
    with _lock:
        for digest in set(_readers) - enabled:
            _forget(digest)


def _forget(digest: str) -> None:
    _readers.pop(digest, None)
    _numbers.pop(digest, None)


def searchable(corpora: Sequence[Corpus], *, author: Author = NOBODY) -> list[SearchableCorpus]:
    """Return the corpora with their enabled indexes open and their taken-down documents hidden.

    What `author` may not see is not even read; what others may see of it is decided again when it is shown.
    Raises `IndexFileError` when an index is damaged.
    """
    policies = policies_for(corpora, author)
    return [_searchable(corpus, policies[corpus.slug]) for corpus in corpora]


def searchable_or_not(
    corpora: Iterable[Corpus], *, author: Author = NOBODY
) -> tuple[list[SearchableCorpus], list[dict[str, str]]]:
    """Return the corpora with an index here, as `searchable` does, and {corpus, reason} of each damaged one."""
    indexed = [corpus for corpus in corpora if any(index.is_enabled for index in corpus.indexes.all())]
    policies = policies_for(indexed, author)
    opened, unavailable = [], []
    for corpus in indexed:
        try:
            opened.append(_searchable(corpus, policies[corpus.slug]))
        except IndexFileError as error:
            unavailable.append({"corpus": corpus.slug, "reason": str(error)})
    return opened, unavailable


def _searchable(corpus: Corpus, policy: Policy) -> SearchableCorpus:
    readers = [open_index(index) for index in searched_indexes(corpus.indexes.all())]
    return searchable_with(corpus, readers, policy, hidden_documents(corpus))


def searched_indexes(indexes: Iterable[Index]) -> list[Index]:
    """Return the enabled indexes of a corpus that traces use, of each tokenizer the newest: none counts twice."""
    newest: dict[str, Index] = {}
    for index in sorted(indexes, key=lambda index: (index.created_at, index.pk)):
        if index.is_enabled:
            newest[index.tokenizer_digest] = index
    return list(newest.values())


def searchable_with(
    corpus: Corpus, readers: Sequence[IndexReader], policy: Policy, hidden: frozenset[str]
) -> SearchableCorpus:
    """Return one corpus with given readers, to be searched as its policy allows."""
    return SearchableCorpus(corpus.slug, readers, hidden.__contains__, policy.disclosure, policy.minimum_count)


def readable_first(indexes: Iterable[Index]) -> list[Index]:
    """Return the enabled ones, those that fold case last: their text is not as it was written."""
    return sorted((i for i in indexes if i.is_enabled), key=lambda i: i.tokenizer_digest == FOLDED_BYTES)


def pointer_of(reader: IndexReader, number: int, token_start: int) -> tuple[int, int]:
    """Return (shard, byte pointer) of a token of a document."""
    for position, shard in enumerate(reader.shards):
        within = number - reader.document_number(position, 0)
        if 0 <= within < shard.n_documents:
            return position, (shard.token_range(within)[0] + token_start) * shard.width
    raise IndexError(number)


def hidden_documents(corpus: Corpus) -> frozenset[str]:
    """Return the keys of the corpus's documents that were taken down."""
    return frozenset(key for (key,) in _keys_taken_down([corpus.slug]))


@prepared
def _keys_taken_down(slugs: Sequence[str]) -> QuerySet[Takedown, Any]:
    return Takedown.objects.filter(corpus__slug__in=slugs).values_list("document_key")


def document_numbers(reader: IndexReader) -> dict[str, int]:
    """Return the number of each document key of an index, read once a process."""
    known = _numbers.get(reader.digest)
    if known is not None:
        return known
    numbers: dict[str, int] = {}
    for position, shard in enumerate(reader.shards):
        for within in range(shard.n_documents):
            number = reader.document_number(position, within)
            numbers[str(shard.facts(within).get("id", number))] = number
    with _lock:
        if _readers.get(reader.digest) is reader:
            _numbers[reader.digest] = numbers
    return numbers


def warm_up() -> None:
    """Open all indexes and trace two words, which loads the compiled search."""
    corpora = searchable(list(Corpus.objects.indexed_here()))
    for corpus in corpora:
        for reader in corpus.readers:
            reader.warm_up()
    if corpora:
        trace_text("warm up", corpora)
