"""`/compat/infinigram-api/`: what clients of Ai2's infinigram-api send, answered from our corpora.

An index is a corpus's slug. Disclosure is the same as everywhere: a corpus of counts gives no documents, one of
snippets gives the match with its bounded context as every text. Delimiters may be newline and full stop, together
(OLMoTrace's own) or none; spans begin and end at whole words.
"""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tracer import ngrams, registry
from tracer.disclosure import apply_policies
from tracer.engine import Boundaries, EngineError, RankBy, TraceParameters, trace_text
from tracer.engine.privacy import mask_personal_data
from tracer.models import Corpus
from webapp.errors import FairgroundError
from webapp.ownership import author_of
from webapp.problems import CONTENT_TYPE
from webapp.text import storable

RANKINGS = {"length": RankBy.LENGTH, "unigram_logprob_sum": RankBy.RARITY}
MAX_RESPONSE_CHARACTERS = 20_000


class AttributionRequest(serializers.Serializer[Any]):
    """The body of an attribution request, with infinigram-api's names."""

    response = serializers.CharField(trim_whitespace=False, max_length=MAX_RESPONSE_CHARACTERS)
    delimiters = serializers.ListField(child=serializers.CharField(trim_whitespace=False), default=list)
    allowSpansWithPartialWords = serializers.BooleanField(default=False)
    minimumSpanLength = serializers.IntegerField(default=1, min_value=1, max_value=1000)
    maximumFrequency = serializers.IntegerField(default=1_000_000, min_value=1)
    maximumSpanDensity = serializers.FloatField(default=0.05, min_value=0.001, max_value=1)
    spanRankingMethod = serializers.ChoiceField(choices=list(RANKINGS), default="length")
    maximumDocumentsPerSpan = serializers.IntegerField(default=10, min_value=1, max_value=50)
    maximumContextLength = serializers.IntegerField(default=250, min_value=0, max_value=1000)
    maximumContextLengthLong = serializers.IntegerField(default=250, min_value=0, max_value=1000)
    maximumContextLengthSnippet = serializers.IntegerField(default=40, min_value=0, max_value=200)

    boundaries = serializers.ChoiceField(
        choices=list(Boundaries), required=False, help_text="A Fairground's own name for delimiters; wins over them."
    )

    def validate_delimiters(self, value: list[str]) -> list[str]:
        """Accept none or OLMoTrace's own."""
        if value and set(value) != {"\n", "."}:
            raise serializers.ValidationError('Send ["\\n", "."], or none for spans across sentences.')
        return value

    def validate_allowSpansWithPartialWords(self, value: bool) -> bool:
        """Refuse parts of words."""
        if value:
            raise serializers.ValidationError("Spans are of whole words here.")
        return value


def _problem(status: int, kind: str, title: str, detail: str, **extra: Any) -> Response:
    body = {"type": kind, "title": title, "status": status, "detail": detail, **extra}
    headers = {"Retry-After": "5"} if status == 503 else None
    return Response(body, status=status, content_type=CONTENT_TYPE, headers=headers)


class Indexes(APIView):
    """The names that `attribution` takes."""

    @extend_schema(exclude=True, responses={200: OpenApiTypes.OBJECT})
    def get(self, request: Request) -> Response:
        """Return the slugs of the corpora that can be searched."""
        ready = Corpus.objects.indexed_here().order_by("slug")
        return Response(list(ready.values_list("slug", flat=True)))


class Attribution(APIView):
    """Spans of a response with their documents, at once."""

    @extend_schema(exclude=True, request=AttributionRequest, responses={200: OpenApiTypes.OBJECT})
    def post(self, request: Request, index: str) -> Response:
        """Trace a response in one corpus and answer in infinigram-api's shape."""
        asked = AttributionRequest(data=request.data)
        if not asked.is_valid():
            detail = "Some fields are not valid. See errors."
            kind, title = "request-validation-failed", "Request Validation Failed"
            return _problem(422, kind, title, detail, errors=asked.errors)
        author = author_of(request)
        try:
            opened = ngrams.open_corpus(index, author)
            return Response(_attribute(opened, asked.validated_data))
        except FairgroundError as error:
            kind = "server-overloaded" if error.status == 503 else error.code
            return _problem(error.status, kind, "Not answered", error.message)


def _attribute(opened: ngrams.Opened, asked: dict[str, Any]) -> dict[str, Any]:
    text = storable(asked["response"])
    parameters = TraceParameters.from_mapping(
        {
            "boundaries": asked.get("boundaries") or _boundaries_of(asked["delimiters"]),
            "min_length_tokens": asked["minimumSpanLength"],
            "max_frequency": min(asked["maximumFrequency"], 10**12),
            "density": asked["maximumSpanDensity"],
            "rank_by": RANKINGS[asked["spanRankingMethod"]],
            "max_documents_per_span": asked["maximumDocumentsPerSpan"],
            "snippet_tokens": asked["maximumContextLengthSnippet"],
        }
    )
    searched = registry.searchable_with(opened.corpus, [opened.reader], opened.policy, opened.hidden)
    try:
        result = trace_text(text, [searched], parameters=parameters).to_dict()
    except EngineError as error:
        raise FairgroundError(str(error), status=503, code="index-unavailable") from error
    shown = apply_policies(result, {opened.corpus.slug: opened.policy}, {})
    tokens = opened.reader.tokenizer.encode(text)
    metadata = {document["id"]: document for document in shown["documents"]}
    spans = []
    for span in shown["spans"]:
        left, right = span["token_start"], span["token_start"] + span["length_tokens"]
        documents = [_document(opened, span, match, metadata[match["document"]], asked) for match in span["matches"]]
        spans.append(
            {
                "left": left,
                "right": right,
                "length": span["length_tokens"],
                "count": span["counts"].get(opened.corpus.slug, 0),
                "unigramLogprobSum": span["unigram_logprob"],
                "text": span["text"],
                "tokenIds": tokens.ids[left:right].tolist(),
                "documents": documents,
            }
        )
    pieces = [ngrams.token_text(opened, token) for token in tokens.ids.tolist()]
    return {"index": opened.corpus.slug, "spans": spans, "inputTokens": pieces, "indexDigest": opened.reader.digest}


def _boundaries_of(delimiters: list[str]) -> Boundaries:
    return Boundaries.OLMOTRACE if delimiters else Boundaries.CONTINUOUS


def _document(
    opened: ngrams.Opened, span: dict[str, Any], match: dict[str, Any], document: dict[str, Any], asked: dict[str, Any]
) -> dict[str, Any]:
    """Return one document of a span; without the right to read it every text is the snippet."""
    encode = opened.reader.tokenizer.encode
    snippet, before = match["snippet"], match["snippet"][: match["snippet_start"]].rstrip()
    n_snippet, n_before = len(encode(snippet).ids), len(encode(before).ids)
    shown = {"ids": [], "length": n_snippet, "offset": n_before, "text": snippet}
    long, number, length = shown, None, None
    token_start = match["token_start"]
    if opened.policy.may_read_documents and token_start is not None:
        key = match["document"].split("/", 1)[1]
        number = registry.document_numbers(opened.reader)[key]
        tokens = opened.reader.document(number).token_ids
        length, end = len(tokens), token_start + span["length_tokens"]
        shown = _window(opened, tokens, token_start, end, asked["maximumContextLength"])
        long = _window(opened, tokens, token_start, end, asked["maximumContextLengthLong"])
    facts = {name: document[name] for name in ("title", "url", "metadata")}
    return {
        "documentIndex": number,
        "documentLength": length,
        "displayLength": shown["length"],
        "needleOffset": shown["offset"],
        "metadata": {**facts, "licence": document["licence"] or opened.corpus.licence, "owner": opened.corpus.owner},
        "tokenIds": shown["ids"],
        "text": shown["text"],
        "blocked": False,
        "displayLengthLong": long["length"],
        "needleOffsetLong": long["offset"],
        "textLong": long["text"],
        "displayOffsetSnippet": 0,
        "needleOffsetSnippet": n_before,
        "textSnippet": snippet,
    }


def _window(opened: ngrams.Opened, tokens: Any, start: int, end: int, context: int) -> dict[str, Any]:
    """Return a span's tokens with `context` more on either side; length and offset count tokens, as clients do."""
    first = max(0, start - context)
    ids = tokens[first : end + context]
    text = mask_personal_data(opened.reader.tokenizer.to_bytes(ids).decode("utf-8", "replace"))
    return {"ids": ids.tolist(), "length": len(ids), "offset": start - first, "text": text}
