"""Measures one corpus of a bulletin from where it was left: in its index here, else on its owner's server.

Each corpus is measured in its best index: of bytes, else of tokens, else of bytes with case folded. What cannot be
searched, damaged or away, ends the corpus with the reason and leaves the others alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from tracer import registry
from tracer.bulletin_items import SAVE_EVERY_S, Save, begin_anew, items_from, keep_example
from tracer.bulletin_remotes import measure_there
from tracer.disclosure import policy_for
from tracer.engine import IndexFileError, IndexReader
from tracer.engine.contamination import ItemExample, hidden_texts, level_of, measure_item, read_example
from tracer.engine.tokens import FOLDED_BYTES, PLAIN_BYTES
from tracer.engine.windows import FoundWindows
from tracer.models import Bulletin, BulletinPart, Corpus, Index, RemoteIndex
from tracer.remote_client import RemoteIndexError


@dataclass(frozen=True)
class WindowSearch:
    """A corpus's index opened for windows: what was taken down is neither found nor shown."""

    reader: IndexReader
    hidden: frozenset[str]
    texts: list[str]

    @classmethod
    def of(cls, corpus: Corpus, reader: IndexReader) -> WindowSearch:
        """Open it. Raises `IndexFileError`."""
        hidden = registry.hidden_documents(corpus)
        numbers = registry.document_numbers(reader) if hidden else {}
        return cls(reader, hidden, hidden_texts(reader, [numbers[key] for key in hidden if key in numbers]))

    def measure(self, text: str) -> FoundWindows:
        """Return an item's windows."""
        return measure_item(self.reader, text, self.texts)

    def example(self, text: str, hits: FoundWindows) -> ItemExample | None:
        """Return a passage of an item."""
        return read_example(self.reader, text, hits, is_hidden=self.hidden.__contains__)


def measure_part(bulletin: Bulletin, part: BulletinPart, save: Save) -> None:
    """Measure the items of `bulletin` that `part` lacks. `save` stores it, shows life, and raises to stop."""
    corpus = Corpus.objects.filter(slug=part.corpus).prefetch_related("indexes", "remotes").first()
    index = best_index(corpus.indexes.all()) if corpus is not None else None
    remote = newest_remote(corpus) if corpus is not None and index is None else None
    try:
        if corpus is not None and index is not None:
            _measure_here(bulletin, part, corpus, index, save)
        elif corpus is not None and remote is not None:
            measure_there(bulletin, part, policy_for(corpus, bulletin.owner), remote, save)
        else:
            part.unavailable = "It has no index here any more."
    except (IndexFileError, RemoteIndexError) as error:
        part.unavailable = str(error)
    save()


def best_index(indexes: Iterable[Index]) -> Index | None:
    """Return the enabled index that is searched: of bytes, else of tokens, else with case folded; the newest."""
    order = {PLAIN_BYTES: 0, FOLDED_BYTES: 2}
    enabled = sorted((i for i in indexes if i.is_enabled), key=lambda i: i.created_at, reverse=True)
    return min(enabled, key=lambda i: order.get(i.tokenizer_digest, 1), default=None)


def newest_remote(corpus: Corpus) -> RemoteIndex | None:
    """Return the enabled remote index that is asked, as in traces."""
    return next((remote for remote in reversed(list(corpus.remotes.all())) if remote.is_enabled), None)


def _measure_here(bulletin: Bulletin, part: BulletinPart, corpus: Corpus, index: Index, save: Save) -> None:
    if part.index != index.digest:
        begin_anew(part, index.digest, index.unit)
    policy, search = policy_for(corpus, bulletin.owner), WindowSearch.of(corpus, registry.open_index(index))
    saved = time.monotonic()
    while items := items_from(bulletin, len(part.found)):
        for item in items:
            hits = search.measure(item.text)
            part.found.append(hits.n_found)
            part.n_undecided += int(hits.undecided.sum())
            level = level_of(hits.n_found, hits.n_windows)
            keep_example(part, policy, item.number, level, lambda: search.example(item.text, hits))  # noqa: B023 (now)
            if time.monotonic() - saved >= SAVE_EVERY_S:
                save()
                saved = time.monotonic()
