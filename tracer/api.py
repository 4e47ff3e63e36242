"""REST resources of corpora, traces and documents."""

from __future__ import annotations

import hashlib
import json
import uuid
from typing import Any

from django.http import HttpResponse
from django.urls import reverse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tracer import services
from tracer.api_settings import ParametersField
from tracer.exports import FORMATS
from tracer.models import Corpus, Index
from tracer.presentation import present_trace, read_document
from tracer.registry import searched_indexes
from webapp.errors import BadInputError
from webapp.fields import LongTextField
from webapp.idempotency import answer_once
from webapp.jobs import JobStatus
from webapp.ownership import Visibility, author_of
from webapp.waiting import preferred_wait_s, wait_for_end

PROBLEM = OpenApiResponse(OpenApiTypes.OBJECT, description="problem+json: what happened and what to do")
IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key", str, OpenApiParameter.HEADER, description="A repetition with the same key gets the first answer."
)

PREFER = OpenApiParameter(
    "Prefer", str, OpenApiParameter.HEADER, description="`wait=5`: answer when it ends, at most 10 seconds later."
)


class IndexSerializer(serializers.ModelSerializer[Index]):
    """An index by its digest."""

    unit = serializers.CharField(read_only=True, help_text="What n_tokens counts: tokens, or bytes.")
    is_searched = serializers.SerializerMethodField(
        help_text="Traces search it: of the enabled indexes of one tokenizer the newest."
    )

    def get_is_searched(self, index: Index) -> bool:
        """Tell whether traces use the index."""
        return index in searched_indexes(index.corpus.indexes.all())

    class Meta:
        model = Index
        fields = [
            "digest",
            "tokenizer_digest",
            "unit",
            "n_tokens",
            "n_documents",
            "n_shards",
            "is_enabled",
            "is_searched",
            "created_at",
        ]


class CorpusSerializer(serializers.ModelSerializer[Corpus]):
    """A corpus with its indexes."""

    indexes = IndexSerializer(many=True, read_only=True)
    is_remote = serializers.SerializerMethodField(help_text="Its index is on its owner's server.")

    def get_is_remote(self, corpus: Corpus) -> bool:
        """Tell whether the corpus is asked elsewhere."""
        return bool(corpus.remotes.all())

    class Meta:
        model = Corpus
        fields = [
            "slug",
            "title",
            "owner",
            "licence",
            "disclosure",
            "provenance",
            "n_documents",
            "created_at",
            "indexes",
            "is_remote",
        ]


class TraceRequestSerializer(serializers.Serializer[Any]):
    """What a client asks to trace."""

    text = LongTextField(trim_whitespace=False, help_text="The answer to trace.")
    prompt = LongTextField(
        required=False, default="", allow_blank=True, trim_whitespace=False, help_text="Its question, for relevance."
    )
    corpora = serializers.ListField(
        child=serializers.CharField(), required=False, allow_null=True, default=None, help_text="Slugs; default: all."
    )
    parameters = ParametersField(required=False, default=dict)
    visibility = serializers.ChoiceField(
        choices=Visibility.choices, required=False, default=Visibility.LINK.value, help_text="Who may read it."
    )


class SharingSerializer(serializers.Serializer[Any]):
    """Who may read one's own thing."""

    visibility = serializers.ChoiceField(choices=Visibility.choices)


class TraceSerializer(serializers.Serializer[Any]):
    """A trace; `spans`, `documents`, `coverage` and `timings_ms` are there once it is done."""

    id = serializers.UUIDField()
    status = serializers.ChoiceField(choices=JobStatus.choices)
    error = serializers.CharField(allow_blank=True)
    text = serializers.CharField()
    prompt = serializers.CharField(allow_blank=True)
    parameters = serializers.DictField()
    visibility = serializers.ChoiceField(choices=Visibility.choices)
    corpora = serializers.ListField(child=serializers.DictField())
    created_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)
    position = serializers.IntegerField(required=False, help_text="Place in the queue while it waits; 1 is next.")
    unavailable = serializers.ListField(
        child=serializers.DictField(), required=False, help_text="{corpus, reason} of each index that gave no answer."
    )
    n_tokens = serializers.IntegerField(required=False)
    coverage = serializers.FloatField(required=False)
    coverage_by_corpus = serializers.DictField(required=False)
    numbers = serializers.DictField(required=False)
    spans = serializers.ListField(child=serializers.DictField(), required=False)
    documents = serializers.ListField(child=serializers.DictField(), required=False)
    timings_ms = serializers.DictField(required=False)


class DocumentSerializer(serializers.Serializer[Any]):
    """A readable document."""

    id = serializers.CharField()
    corpus = serializers.CharField()
    title = serializers.CharField(allow_blank=True)
    owner = serializers.CharField()
    licence = serializers.CharField()
    url = serializers.CharField(allow_blank=True)
    metadata = serializers.DictField()
    text = serializers.CharField()


class PageSerializer(serializers.Serializer[Any]):
    """Which part of a list."""

    start = serializers.IntegerField(default=0, min_value=0, max_value=10**9)
    page_size = serializers.IntegerField(default=50, min_value=1, max_value=200)


class PartSerializer(serializers.Serializer[Any]):
    """A page of a list; follow `next`."""

    count = serializers.IntegerField()
    next = serializers.CharField(allow_null=True)
    results = serializers.ListField(child=serializers.DictField())


class CorpusList(ListAPIView[Corpus]):
    """All corpora with their indexes."""

    queryset = Corpus.objects.prefetch_related("indexes", "remotes")
    serializer_class = CorpusSerializer


class CorpusDetail(APIView):
    """One corpus."""

    @extend_schema(responses={200: CorpusSerializer, 404: PROBLEM})
    def get(self, request: Request, slug: str) -> Response:
        """Return a corpus with its indexes."""
        return Response(CorpusSerializer(services.get_corpus(slug)).data)


class TraceCreate(APIView):
    """Ask for a trace."""

    @extend_schema(
        request=TraceRequestSerializer,
        parameters=[IDEMPOTENCY_KEY, PREFER],
        responses={
            201: OpenApiResponse(TraceSerializer, description="It ended within the time that `Prefer` gave it."),
            202: TraceSerializer,
            400: PROBLEM,
            409: PROBLEM,
        },
    )
    def post(self, request: Request) -> Response:
        """Queue a trace; the answer's Location is where it will be. With `Prefer: wait` it is the ended trace."""
        asked = TraceRequestSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        author = author_of(request)

        def create() -> Response:
            trace = services.request_trace(**asked.validated_data, author=author)
            location = reverse("api-trace-detail", args=[trace.id])
            return Response(present_trace(trace, author=author), status=202, headers={"Location": location})

        response = answer_once(request, create)
        if not wait_for_end(response.data["id"], preferred_wait_s(request)):
            return response
        ended = services.get_trace(response.data["id"], author=author)
        headers = {"Location": response["Location"], "Preference-Applied": "wait"}
        return Response(present_trace(ended, author=author), status=201, headers=headers)


class TraceDetail(APIView):
    """One trace."""

    @extend_schema(
        parameters=[PREFER],
        responses={200: TraceSerializer, 304: OpenApiResponse(description="Not modified"), 404: PROBLEM},
    )
    def get(self, request: Request, trace_id: uuid.UUID) -> HttpResponse:
        """Return a trace; poll until its status is done, failed or cancelled."""
        author = author_of(request)
        trace = services.get_trace(trace_id, author=author)
        if not trace.is_finished and wait_for_end(trace.id, preferred_wait_s(request)):
            trace.refresh_from_db()
        shown = present_trace(trace, author=author)
        return _unless_known(request, shown) if trace.is_finished else Response(shown)

    @extend_schema(
        request=SharingSerializer, responses={200: TraceSerializer, 400: PROBLEM, 403: PROBLEM, 404: PROBLEM}
    )
    def patch(self, request: Request, trace_id: uuid.UUID) -> Response:
        """Change who may read one's own trace."""
        asked = SharingSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        author = author_of(request)
        trace = services.share_trace(trace_id, author=author, **asked.validated_data)
        return Response(present_trace(trace, author=author))

    @extend_schema(responses={204: None, 403: PROBLEM, 404: PROBLEM})
    def delete(self, request: Request, trace_id: uuid.UUID) -> Response:
        """Delete one's own trace for good."""
        services.delete_trace(trace_id, author=author_of(request))
        return Response(status=204)


class TraceExport(APIView):
    """A finished trace as a file."""

    @extend_schema(
        parameters=[OpenApiParameter("kind", str, OpenApiParameter.PATH, enum=["json", "csv", "md"])],
        responses={
            (200, "application/json"): OpenApiTypes.OBJECT,
            (200, "text/csv"): OpenApiTypes.STR,
            (200, "text/markdown"): OpenApiTypes.STR,
            400: PROBLEM,
            404: PROBLEM,
        },
    )
    def get(self, request: Request, trace_id: uuid.UUID, kind: str) -> HttpResponse:
        """Return the trace as JSON, matches as CSV, or quotations with owner and licence as Markdown."""
        shown = _finished(request, trace_id)
        content_type, render = FORMATS[kind]
        response = HttpResponse(render(shown), content_type=f"{content_type}; charset=utf-8")
        response["Content-Disposition"] = f'attachment; filename="trace-{trace_id}.{kind}"'
        return response


class _Part(APIView):
    """A list of a finished trace in pages of a fixed order."""

    member = ""

    def page(self, request: Request, trace_id: uuid.UUID) -> HttpResponse:
        """Return `?page_size=` entries from `?start=` on, and the address of the next page."""
        asked = PageSerializer(data=request.query_params.dict())
        asked.is_valid(raise_exception=True)
        start, size = asked.validated_data["start"], asked.validated_data["page_size"]
        entries = _finished(request, trace_id)[self.member]
        more = start + size < len(entries)
        following = request.build_absolute_uri(f"{request.path}?start={start + size}&page_size={size}")
        body = {"count": len(entries), "next": following if more else None, "results": entries[start : start + size]}
        return _unless_known(request, body)


class TraceSpans(_Part):
    """The spans of a finished trace."""

    member = "spans"

    @extend_schema(parameters=[PageSerializer], responses={200: PartSerializer, 400: PROBLEM, 404: PROBLEM})
    def get(self, request: Request, trace_id: uuid.UUID) -> HttpResponse:
        """Return a page of spans, in order of the text."""
        return self.page(request, trace_id)


class TraceDocuments(_Part):
    """The documents of a finished trace."""

    member = "documents"

    @extend_schema(parameters=[PageSerializer], responses={200: PartSerializer, 400: PROBLEM, 404: PROBLEM})
    def get(self, request: Request, trace_id: uuid.UUID) -> HttpResponse:
        """Return a page of documents, most relevant first."""
        return self.page(request, trace_id)


def _finished(request: Request, trace_id: uuid.UUID) -> dict[str, Any]:
    author = author_of(request)
    trace = services.get_trace(trace_id, author=author)
    if trace.status != JobStatus.DONE:
        raise BadInputError("The trace is not done. Ask again when its status is done.")
    return present_trace(trace, author=author)


def _unless_known(request: Request, body: dict[str, Any]) -> HttpResponse:
    """Answer 304 when the client has this very body. What is shown may change by takedown, so it is never stale."""
    content = json.dumps(body, ensure_ascii=False, default=str).encode("utf-8", "surrogatepass")
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    known = {tag.strip().removeprefix("W/") for tag in request.headers.get("If-None-Match", "").split(",")}
    response = HttpResponse(status=304) if tag in known else HttpResponse(content, content_type="application/json")
    for name, value in {"ETag": tag, "Cache-Control": "private, no-cache", "Vary": "Cookie, Authorization"}.items():
        response[name] = value
    return response


class DocumentDetail(APIView):
    """One document of an open corpus."""

    @extend_schema(responses={200: DocumentSerializer, 404: PROBLEM, 410: PROBLEM, 503: PROBLEM})
    def get(self, request: Request, corpus: str, key: str) -> Response:
        """Return a document's text and provenance."""
        found = read_document(corpus, key, author=author_of(request))
        document = found.document
        value = {
            "id": f"{corpus}/{key}",
            "corpus": corpus,
            "title": document.title,
            "owner": found.corpus.owner,
            "licence": found.licence,
            "url": document.url,
            "metadata": document.metadata,
            "text": document.text,
        }
        return Response(DocumentSerializer(value).data)
