"""Open indexes of this process, shared by its threads."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import lru_cache

from tracer.engine import Disclosure, IndexFileError, IndexReader, SearchableCorpus, trace_text
from tracer.models import Corpus, Index, Takedown

_readers: dict[str, IndexReader] = {}
_lock = threading.Lock()


def open_index(index: Index) -> IndexReader:
    """Return the reader of an index, opened once; raises `IndexFileError` when its files changed."""
    with _lock:
        reader = _readers.get(index.digest)
        if reader is None or reader.folder != index.folder:
            reader = IndexReader.open(index.folder)
            if reader.digest != index.digest:
                raise IndexFileError(index.folder / "manifest.json", "is of another build than the one registered")
            _readers[index.digest] = reader
    try:
        reader.check_files()
    except IndexFileError:
        with _lock:
            _readers.pop(index.digest, None)
        raise
    return reader


def searchable(corpora: Sequence[Corpus]) -> list[SearchableCorpus]:
    """Return the corpora with their enabled indexes open and their taken-down documents hidden."""
    result = []
    for corpus in corpora:
        hidden = frozenset(Takedown.objects.filter(corpus=corpus).values_list("document_key", flat=True))
        readers = [open_index(index) for index in corpus.indexes.filter(is_enabled=True)]
        result.append(SearchableCorpus(corpus.slug, readers, hidden.__contains__, Disclosure(corpus.disclosure)))
    return result


@lru_cache(maxsize=64)
def document_numbers(reader: IndexReader) -> dict[str, int]:
    """Return the number of each document key of an index, read once a process."""
    numbers: dict[str, int] = {}
    for position, shard in enumerate(reader.shards):
        for within in range(shard.n_documents):
            number = reader.document_number(position, within)
            numbers[str(shard.facts(within).get("id", number))] = number
    return numbers


def warm_up() -> None:
    """Open all indexes and trace two words, which loads the compiled search."""
    corpora = searchable(list(Corpus.objects.filter(indexes__is_enabled=True).distinct()))
    if corpora:
        trace_text("warm up", corpora)
