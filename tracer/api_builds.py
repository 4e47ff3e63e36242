"""REST resources of builds of indexes: how far they are."""

from __future__ import annotations

import uuid
from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tracer import build_progress, builds, services
from tracer.api import PROBLEM
from tracer.models import IndexBuild
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


class BuildList(ListAPIView[IndexBuild]):
    """The builds of a corpus, newest first."""

    serializer_class = BuildSerializer
    queryset = IndexBuild.objects.all()

    @extend_schema(responses={200: BuildSerializer(many=True), 404: PROBLEM})
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Return a page of builds."""
        return self.list(request, *args, **kwargs)

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
