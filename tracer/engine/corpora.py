"""The corpora of a trace: open indexes, what may be shown of them, and which can be searched together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from tracer.engine.reader import IndexReader

Count = int | str


class Disclosure(StrEnum):
    """How much of a corpus a reader may see."""

    FULL = "full"
    SNIPPET = "snippet"
    COUNTS = "counts"


def _is_never_hidden(key: str) -> bool:
    return False


@dataclass(frozen=True)
class SearchableCorpus:
    """A corpus in a trace: its open indexes and what may be shown of it.

    Indexes of one tokenizer are parts of the corpus, whose counts are added; those of several tokenizers
    tell the same documents in other units, of whose counts the largest stands.
    """

    slug: str
    readers: Sequence[IndexReader]
    is_hidden: Callable[[str], bool] = _is_never_hidden
    disclosure: Disclosure = Disclosure.FULL
    minimum_count: int = 10

    def shown_count(self, count: int) -> Count:
        """Return a count as it may be told: a closed corpus's below the threshold reads "<k".

        Nought is told, for a trace says where words stand (`docs/decisions.md`).
        """
        is_blurred = self.disclosure is Disclosure.COUNTS and 0 < count < self.minimum_count
        return f"<{self.minimum_count}" if is_blurred else count


Members = list[tuple[SearchableCorpus, list[IndexReader]]]


def groups_by_tokenizer(corpora: Sequence[SearchableCorpus]) -> list[Members]:
    """Group the indexes that can be searched with the same token ids; those of bytes come last.

    Raises `IndexFileError` when an index was damaged since it was opened.
    """
    groups: dict[str, Members] = defaultdict(list)
    for corpus in corpora:
        by_tokenizer: dict[str, list[IndexReader]] = defaultdict(list)
        for reader in corpus.readers:
            reader.check_files()
            by_tokenizer[reader.tokenizer.digest].append(reader)
        for digest, readers in by_tokenizer.items():
            groups[digest].append((corpus, readers))
    return sorted(groups.values(), key=lambda members: members[0][1][0].tokenizer.is_bytes)
