"""What one viewer may see of one corpus: the only place that decides it, below pages, interface and exports.

full: everything. snippet: matches with a bounded context, no whole document, no next words.
counts: owner, licence and how often the viewer's own words stand there, with small counts blurred.
Members of the corpus's owner group see it in full. Knows nothing of HTTP.

Next-token distributions are text: asked again and again they read a corpus aloud. So they need `full`.
For the same reason a closed corpus's count below the threshold reads "<k" in n-gram queries also when
it is nought: telling 0 from 1 would let anyone guess a text on word by word.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib.auth.models import Group

from tracer.engine import Disclosure
from tracer.models import Corpus
from webapp.errors import ForbiddenError, NotFoundError
from webapp.ownership import NOBODY, Author

MAX_SNIPPET_CHARACTERS = 300
RELEVANCE_ORDER = {"low": 0, "medium": 1, "high": 2}
CLOSED_DOCUMENT = "There is no such document, or its corpus is not open for reading."


@dataclass(frozen=True)
class Policy:
    """What a viewer may see of a corpus."""

    corpus: str
    disclosure: Disclosure
    minimum_count: int
    is_owner: bool = False

    @property
    def may_read_documents(self) -> bool:
        """Tell whether whole documents may be read."""
        return self.disclosure is Disclosure.FULL

    @property
    def may_see_matches(self) -> bool:
        """Tell whether matches and their documents' titles may be seen."""
        return self.disclosure is not Disclosure.COUNTS

    @property
    def may_see_distributions(self) -> bool:
        """Tell whether the words that follow others may be seen."""
        return self.disclosure is Disclosure.FULL

    def require_documents(self) -> None:
        """Raise `NotFoundError`, the same as for an unknown document."""
        if not self.may_read_documents:
            raise NotFoundError(CLOSED_DOCUMENT)

    def require_matches(self) -> None:
        """Raise `ForbiddenError` that says what is open."""
        if not self.may_see_matches:
            raise ForbiddenError(
                f"Corpus {self.corpus!r} shows counts only: ask how often a phrase stands in it.",
                code="blocked-by-disclosure",
            )

    def require_distributions(self) -> None:
        """Raise `ForbiddenError` that says why."""
        if not self.may_see_distributions:
            raise ForbiddenError(
                f"Corpus {self.corpus!r} is not open for reading, and the words that follow others are its text. "
                "Ask for counts.",
                code="blocked-by-disclosure",
            )

    def shown_count(self, count: int | str) -> int | str:
        """Return a count as it may be seen: a closed corpus's below the threshold reads "<k", 0 as well."""
        if isinstance(count, str) or self.may_see_matches or count >= self.minimum_count:
            return count
        return f"<{self.minimum_count}"

    def shown_span_count(self, count: int | str) -> int | str:
        """Return a count of a trace's span as it may be seen: as `shown_count`, but that it stands nowhere is told."""
        return count if count == 0 else self.shown_count(count)

    def shown_levels(self, counts: Mapping[str, int], *, is_final: bool) -> dict[str, int | str | None]:
        """Return how many items of a benchmark have each level, as may be seen; None where nothing may be told.

        Of a closed corpus nothing is told before the end, since a number that grows with each item tells of
        that item. Small numbers of dirty and suspicious items are blurred, nought as well, and where one is,
        clean ones are left out: the difference would tell.
        """
        if self.may_see_matches:
            return dict(counts)
        if not is_final:
            return {**dict.fromkeys(counts), "short": counts["short"]}
        found = {level: self.shown_count(counts[level]) for level in ("suspicious", "dirty")}
        is_blurred = any(isinstance(count, str) for count in found.values())
        return {"clean": None if is_blurred else counts["clean"], **found, "short": counts["short"]}

    def shown_match(self, match: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return a match as it may be seen, None where matches are closed."""
        if not self.may_see_matches:
            return None
        if self.may_read_documents:
            return dict(match)
        start, end = match["snippet_start"], match["snippet_end"]
        begin = max(0, start - MAX_SNIPPET_CHARACTERS)
        piece = match["snippet"][begin : end + MAX_SNIPPET_CHARACTERS]
        return {
            **match,
            "snippet": piece,
            "snippet_start": start - begin,
            "snippet_end": end - begin,
            "token_start": None,
        }


def policy_for(corpus: Corpus, author: Author) -> Policy:
    """Return what this author may see of a corpus."""
    return policies_for([corpus], author)[corpus.slug]


def policies_for(corpora: Iterable[Corpus], author: Author = NOBODY) -> dict[str, Policy]:
    """Return each corpus's policy by slug, with at most one query for the author's groups."""
    corpora = list(corpora)
    groups = _groups_of(author) if any(corpus.owner_group_id for corpus in corpora) else frozenset()
    return {corpus.slug: _policy(corpus, corpus.owner_group_id in groups) for corpus in corpora}


def _policy(corpus: Corpus, is_owner: bool) -> Policy:
    disclosure = Disclosure.FULL if is_owner else Disclosure(corpus.disclosure)
    return Policy(corpus.slug, disclosure, settings.MINIMUM_SHOWN_COUNT, is_owner)


def _groups_of(author: Author) -> frozenset[int]:
    if author.user_id is None:
        return frozenset()
    active = Group.objects.filter(user__pk=author.user_id, user__is_active=True)
    return frozenset(active.values_list("pk", flat=True))


def apply_policies(
    result: Mapping[str, Any], policies: Mapping[str, Policy], tombstones: Mapping[str, str]
) -> dict[str, Any]:
    """Return a trace's stored result as a viewer may see it now.

    A corpus without a policy (it is gone) is shown as counts only. `tombstones` maps ids of documents
    that were taken down to the reason: their words, titles and addresses are left out.
    """
    documents = {
        document["id"]: _shown_document(document, tombstones)
        for document in result["documents"]
        if document["corpus"] in policies and policies[document["corpus"]].may_see_matches
    }
    spans = [_shown_span(span, policies, documents, tombstones) for span in result["spans"]]
    return {**result, "spans": spans, "documents": list(documents.values())}


def _shown_document(document: Mapping[str, Any], tombstones: Mapping[str, str]) -> dict[str, Any]:
    reason = tombstones.get(document["id"])
    if reason is None:
        return {**document, "removed": False}
    return {**document, "title": "", "url": "", "metadata": {}, "removed": True, "removed_because": reason}


def _shown_span(
    span: Mapping[str, Any],
    policies: Mapping[str, Policy],
    documents: Mapping[str, Mapping[str, Any]],
    tombstones: Mapping[str, str],
) -> dict[str, Any]:
    matches = []
    for match in span["matches"]:
        shown = policies[match["corpus"]].shown_match(match) if match["document"] in documents else None
        if shown is not None and match["document"] in tombstones:
            shown.update(snippet="", snippet_start=0, snippet_end=0, token_start=None)
        if shown is not None:
            matches.append({**shown, "removed": match["document"] in tombstones})
    levels = (documents[match["document"]]["relevance"] for match in matches)
    counts = {
        slug: policies[slug].shown_span_count(count) if slug in policies else "closed"
        for slug, count in span["counts"].items()
    }
    best = max(levels, key=RELEVANCE_ORDER.__getitem__, default="low")
    return {**span, "counts": counts, "matches": matches, "relevance": best}
