"""`POST /compat/infinigram-api/{index}/counts`: a Fairground's own, beside infinigram-api's `attribution`.

Another Fairground that traces in this index asks here how often the words of spans that it found elsewhere
stand in it. Disclosure is that of n-gram counts: in a corpus of counts what is below the threshold, also 0,
reads "<k", and documents that were taken down are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tracer import ngrams
from tracer.engine.counting import count_texts
from tracer.remote_answers import MAX_COUNTED, MAX_COUNTED_CHARACTERS
from webapp.ownership import author_of
from webapp.text import storable


class _Asked(serializers.Serializer[Any]):
    texts = serializers.ListField(
        child=serializers.CharField(trim_whitespace=False, max_length=MAX_COUNTED_CHARACTERS),
        min_length=1,
        max_length=MAX_COUNTED,
        help_text="Words to count, each as it stands in a text: with the space before its first word, if there is one.",
    )

    def validate_texts(self, texts: list[str]) -> list[str]:
        """Bound the characters of all together."""
        if sum(map(len, texts)) > MAX_COUNTED_CHARACTERS:
            raise serializers.ValidationError(f"At most {MAX_COUNTED_CHARACTERS:,} characters together.")
        return texts


def _visible_counts(opened: ngrams.Opened, texts: list[str]) -> Iterator[int]:
    """Yield how often each text stands in documents that were not taken down."""
    words = [storable(text) for text in texts]
    with ngrams.as_domain_errors():
        counts = count_texts(words, opened.reader)
    for text, count in zip(words, counts, strict=True):
        hidden = opened.hidden and count  # nothing to look for in hidden documents otherwise
        yield (
            count - ngrams.count_in_hidden(opened, opened.reader.tokenizer.encode(text).ids.tolist())
            if hidden
            else count
        )


class Counts(APIView):
    """How often each of many texts stands in an index."""

    @extend_schema(exclude=True, request=_Asked, responses={200: OpenApiTypes.OBJECT})
    def post(self, request: Request, index: str) -> Response:
        """Return the counts in the order of the texts."""
        asked = _Asked(data=request.data)
        asked.is_valid(raise_exception=True)
        opened = ngrams.open_corpus(index, author_of(request))
        shown = [opened.policy.shown_count(count) for count in _visible_counts(opened, asked.validated_data["texts"])]
        return Response({"index": opened.corpus.slug, "counts": shown, "indexDigest": opened.reader.digest})
