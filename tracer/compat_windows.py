"""`POST /compat/infinigram-api/{index}/windows`: a Fairground's own, beside infinigram-api's `attribution`.

Another Fairground that measures a benchmark against this index asks here which 50-character windows of its items
stand there. Nothing is kept. Disclosure is that of bulletins: a corpus of counts tells of no item, so it refuses.
"""

from __future__ import annotations

import time
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tracer import ngrams, registry
from tracer.bulletin_items import WITH_EXAMPLE
from tracer.bulletin_parts import WindowSearch, best_index
from tracer.disclosure import Policy, policy_for
from tracer.engine.contamination import level_of
from tracer.engine.windows import FoundWindows
from tracer.models import Corpus
from tracer.remote_windows import MAX_CHARACTERS, MAX_TEXTS
from webapp.errors import NotFoundError
from webapp.ownership import author_of
from webapp.text import storable

ANSWER_WITHIN_S = 4.0


class _Asked(serializers.Serializer[Any]):
    texts = serializers.ListField(
        child=serializers.CharField(trim_whitespace=False, max_length=MAX_CHARACTERS),
        min_length=1,
        max_length=MAX_TEXTS,
        help_text="Items of a benchmark.",
    )

    def validate_texts(self, texts: list[str]) -> list[str]:
        """Bound the characters of all together."""
        if sum(map(len, texts)) > MAX_CHARACTERS:
            raise serializers.ValidationError(f"At most {MAX_CHARACTERS:,} characters together.")
        return texts


class Windows(APIView):
    """Which windows of many items stand in an index."""

    @extend_schema(exclude=True, request=_Asked, responses={200: OpenApiTypes.OBJECT})
    def post(self, request: Request, index: str) -> Response:
        """Return each item's windows found and given up, with a passage of those that are not clean.

        Of items that take long, only the first are answered, at least one; ask again for the others.
        """
        asked = _Asked(data=request.data)
        asked.is_valid(raise_exception=True)
        corpus = Corpus.objects.select_related("owner_group").filter(slug=index).first()
        best = best_index(corpus.indexes.all()) if corpus is not None else None
        if corpus is None or best is None:
            raise NotFoundError(f"There is no corpus {index!r} with an index here.")
        policy = policy_for(corpus, author_of(request))
        policy.require_matches()
        items: list[dict[str, Any]] = []
        end = time.monotonic() + ANSWER_WITHIN_S
        with ngrams.as_domain_errors():
            search = WindowSearch.of(corpus, registry.open_index(best))
            for text in asked.validated_data["texts"]:
                items.append(_measured(search, policy, storable(text)))
                if time.monotonic() > end:
                    break
        return Response({"index": corpus.slug, "indexDigest": best.digest, "unit": best.unit, "items": items})


def _measured(search: WindowSearch, policy: Policy, text: str) -> dict[str, Any]:
    hits = search.measure(text)
    is_shown = level_of(hits.n_found, hits.n_windows) in WITH_EXAMPLE
    return {
        "found": hits.n_found,
        "undecided": int(hits.undecided.sum()),
        "example": _example(search, policy, text, hits) if is_shown else None,
    }


def _example(search: WindowSearch, policy: Policy, text: str, hits: FoundWindows) -> dict[str, Any] | None:
    found = search.example(text, hits)
    if found is None:
        return None
    match = policy.shown_match(
        {"snippet": found.snippet, "snippet_start": found.snippet_start, "snippet_end": found.snippet_end}
    )
    if match is None:
        return None
    return {
        "start": found.start,
        "end": found.end,
        "document": found.key,
        **{name: str(found.facts.get(name, "")) for name in ("title", "licence", "url")},
        "snippet": match["snippet"],
        "snippetStart": match["snippet_start"],
        "snippetEnd": match["snippet_end"],
    }
