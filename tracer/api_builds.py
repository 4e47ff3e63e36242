"""REST resources of builds of indexes: how far they are."""

from __future__ import annotations

import uuid
from typing import Any

from django.db.models import QuerySet
from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tracer import build_progress, build_requests, builds, services
from tracer.api import IDEMPOTENCY_KEY, PROBLEM
from tracer.models import IndexBuild
from webapp.accounts.models import Scope
from webapp.idempotency import answer_once
from webapp.jobs import JobStatus
from webapp.ownership import author_of


class BuildSerializer(serializers.Serializer[IndexBuild]):
    """How far a build is; `fraction` counts reading and sorting alike, `seconds_left` is null before the first sign."""

    id = serializers.UUIDField()
    corpus = serializers.CharField(source="corpus.slug")
    status = serializers.ChoiceField(choices=JobStatus.choices)
    error = serializers.CharField(allow_blank=True)
    n_shards = serializers.IntegerField()
    n_shards_done = serializers.IntegerField(source="state.n_shards_done")
    n_bytes = serializers.IntegerField()
    n_bytes_done = serializers.IntegerField(source="state.n_bytes_done")
    n_documents = serializers.IntegerField(source="state.n_documents")
    fraction = serializers.FloatField(source="state.fraction")
    seconds_left = serializers.FloatField(source="state.seconds_left", allow_null=True)
    index = serializers.CharField(source="index.digest", default=None, allow_null=True, help_text="Its digest.")
    created_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)

    def to_representation(self, instance: IndexBuild) -> dict[str, Any]:
        """Show the reason of a failure to those who may read the corpus."""
        author = author_of(self.context["request"])
        shown = build_progress.shown_build(instance, author=author)
        return super().to_representation(shown)  # type: ignore[arg-type]


class BuildRequestSerializer(serializers.Serializer[Any]):
    """What to build: of tokens by a tokenizer that the operator keeps, or of bytes."""

    tokenizer = serializers.CharField(
        max_length=500,
        required=False,
        default=build_requests.DEFAULT_TOKENIZER,
        help_text="As listed in an error for an unknown one; a file below FAIRGROUND_TOKENIZERS.",
    )
    is_bytes = serializers.BooleanField(required=False, default=False, help_text="Index UTF-8 bytes instead.")
    folds_case = serializers.BooleanField(required=False, default=False, help_text="Of bytes: regardless of case.")
    n_shards = serializers.IntegerField(
        required=False,
        allow_null=True,
        default=None,
        min_value=1,
        max_value=build_requests.MAX_SHARDS,
        help_text="Default: one for each 256 MiB of text.",
    )


class BuildList(ListAPIView[IndexBuild]):
    """The builds of a corpus, newest first."""

    scope = Scope.MANAGE

    serializer_class = BuildSerializer
    queryset = IndexBuild.objects.all()

    @extend_schema(responses={200: BuildSerializer(many=True), 404: PROBLEM})
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Return a page of builds."""
        return self.list(request, *args, **kwargs)

    @extend_schema(
        request=BuildRequestSerializer,
        parameters=[IDEMPOTENCY_KEY],
        responses={202: BuildSerializer, 400: PROBLEM, 403: PROBLEM, 404: PROBLEM, 409: PROBLEM, 503: PROBLEM},
    )
    def post(self, request: Request, slug: str) -> Response:
        """Queue the build of an index, for operators; the answer's Location is where it stands."""
        asked = BuildRequestSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        author = author_of(request)

        def create() -> Response:
            build = build_requests.request_build(slug=slug, author=author, **asked.validated_data)
            return _as_response(request, build, status=202)

        return answer_once(request, create)

    def get_queryset(self) -> QuerySet[IndexBuild]:
        """Return the corpus's builds."""
        corpus = services.get_corpus(self.kwargs["slug"])
        return IndexBuild.objects.filter(corpus=corpus).select_related("corpus", "index").prefetch_related("shards")


class BuildDetail(APIView):
    """One build."""

    @extend_schema(responses={200: BuildSerializer, 404: PROBLEM})
    def get(self, request: Request, build_id: uuid.UUID) -> Response:
        """Return shards, bytes and time left."""
        return Response(BuildSerializer(builds.get_build(build_id), context={"request": request}).data)


class BuildResume(APIView):
    """Another try of a build."""

    scope = Scope.MANAGE

    @extend_schema(request=None, responses={202: BuildSerializer, 403: PROBLEM, 404: PROBLEM, 409: PROBLEM})
    def post(self, request: Request, build_id: uuid.UUID) -> Response:
        """Queue the unfinished shards of a failed build again, for operators."""
        return _as_response(request, build_requests.request_resume(build_id, author=author_of(request)), status=202)


class BuildDiscard(APIView):
    """The end of a build."""

    scope = Scope.MANAGE

    @extend_schema(request=None, responses={200: BuildSerializer, 403: PROBLEM, 404: PROBLEM, 409: PROBLEM})
    def post(self, request: Request, build_id: uuid.UUID) -> Response:
        """Give a build up and remove its files, for operators."""
        return _as_response(request, build_requests.request_discard(build_id, author=author_of(request)), status=200)


def _as_response(request: Request, build: IndexBuild, *, status: int) -> Response:
    shown = BuildSerializer(builds.get_build(build.pk), context={"request": request}).data
    headers = {"Location": reverse("api-build-detail", args=[build.pk])} if status == 202 else None
    return Response(shown, status=status, headers=headers)
