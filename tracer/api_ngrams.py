"""REST resources of n-gram queries and phrase search, one corpus each."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tracer import ngrams
from tracer.api import PROBLEM
from webapp.ownership import author_of

ERRORS = {400: PROBLEM, 403: PROBLEM, 404: PROBLEM, 503: PROBLEM}


class _Question(serializers.Serializer[Any]):
    text = serializers.CharField(
        trim_whitespace=False, max_length=ngrams.MAX_QUERY_CHARACTERS, help_text="A leading space begins a word."
    )
    infinite = serializers.BooleanField(default=False, help_text="Back off to the longest suffix that occurs (∞-gram).")
    max_support = serializers.IntegerField(default=ngrams.MAX_SUPPORT, min_value=1, max_value=ngrams.MAX_SUPPORT)


class _Search(serializers.Serializer[Any]):
    query = serializers.CharField(
        trim_whitespace=False, max_length=ngrams.MAX_QUERY_CHARACTERS, help_text='A phrase, or "a AND (b OR c)".'
    )
    limit = serializers.IntegerField(default=ngrams.MAX_DOCUMENTS, min_value=1, max_value=ngrams.MAX_DOCUMENTS)
    snippet_tokens = serializers.IntegerField(default=40, min_value=0, max_value=ngrams.MAX_CONTEXT_TOKENS)


def _asked(serializer: type[serializers.Serializer[Any]], request: Request) -> dict[str, Any]:
    checked = serializer(data=request.query_params.dict())
    checked.is_valid(raise_exception=True)
    return dict(checked.validated_data)


def _head(opened: ngrams.Opened, ids: list[int]) -> dict[str, Any]:
    tokens = [ngrams.token_text(opened, token) for token in ids]
    return {"corpus": opened.corpus.slug, "index": opened.reader.digest, "token_ids": ids, "tokens": tokens}


class NgramCount(APIView):
    """How often a phrase stands in a corpus, or an AND/OR query is fulfilled."""

    @extend_schema(
        parameters=[OpenApiParameter("query", str, required=True)], responses={200: OpenApiTypes.OBJECT, **ERRORS}
    )
    def get(self, request: Request, slug: str) -> Response:
        """Return the count; "<k" where the corpus shows counts only and it is small."""
        asked = _asked(_Search, request)
        opened = ngrams.open_corpus(slug, author_of(request))
        count, is_approximate = ngrams.count_query(opened, ngrams.parse_query(asked["query"]))
        head = {"corpus": slug, "index": opened.reader.digest, "query": asked["query"]}
        return Response({**head, "count": count, "is_approximate": is_approximate})


class NgramNext(APIView):
    """What follows a text."""

    @extend_schema(parameters=[_Question], responses={200: OpenApiTypes.OBJECT, **ERRORS})
    def get(self, request: Request, slug: str) -> Response:
        """Return the next tokens with counts and probabilities; the corpus must be open for reading."""
        asked = _asked(_Question, request)
        opened = ngrams.open_corpus(slug, author_of(request))
        ids = ngrams.tokenize(opened, asked["text"])
        found = ngrams.next_tokens(opened, ids, is_infinite=asked["infinite"], max_support=asked["max_support"])
        return Response({**_head(opened, ids), **asdict(found)})


class NgramProbability(APIView):
    """How probable the last token of a text is after the others."""

    @extend_schema(parameters=[_Question], responses={200: OpenApiTypes.OBJECT, **ERRORS})
    def get(self, request: Request, slug: str) -> Response:
        """Return count(text) / count(text without its last token), or the ∞-gram probability."""
        asked = _asked(_Question, request)
        opened = ngrams.open_corpus(slug, author_of(request))
        ids = ngrams.tokenize(opened, asked["text"])
        return Response(
            {**_head(opened, ids), **asdict(ngrams.probability(opened, ids, is_infinite=asked["infinite"]))}
        )


class CorpusSearch(APIView):
    """Documents of a corpus that hold a phrase."""

    @extend_schema(parameters=[_Search], responses={200: OpenApiTypes.OBJECT, **ERRORS})
    def get(self, request: Request, slug: str) -> Response:
        """Return the count and up to ten documents with the text around a match."""
        asked = _asked(_Search, request)
        opened = ngrams.open_corpus(slug, author_of(request))
        found = ngrams.find_documents(opened, asked["query"], limit=asked["limit"], context=asked["snippet_tokens"])
        body = {"corpus": slug, "owner": opened.corpus.owner, "index": opened.reader.digest, "query": asked["query"]}
        return Response({**body, **asdict(found)})
