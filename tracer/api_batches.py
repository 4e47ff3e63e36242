"""REST resources of batches of traces."""

from __future__ import annotations

import uuid
from typing import Any

from django.http import StreamingHttpResponse
from django.urls import reverse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tracer import batches
from tracer.api import IDEMPOTENCY_KEY, PROBLEM
from tracer.api_settings import ParametersField
from tracer.models import TraceBatch
from webapp.fields import LongTextField
from webapp.idempotency import answer_once
from webapp.jobs import JobStatus
from webapp.ownership import Visibility, author_of


class BatchRequestSerializer(serializers.Serializer[Any]):
    """Texts to trace with one set of parameters."""

    texts = serializers.ListField(
        child=LongTextField(trim_whitespace=False, allow_blank=True), max_length=batches.MAX_TEXTS
    )
    corpora = serializers.ListField(child=serializers.CharField(), required=False, allow_null=True, default=None)
    parameters = ParametersField(required=False, default=dict)
    visibility = serializers.ChoiceField(
        choices=Visibility.choices, required=False, default=Visibility.LINK.value, help_text="Who may read it."
    )


class BatchSerializer(serializers.Serializer[Any]):
    """Where a batch stands; `results` is the address of its JSON lines."""

    id = serializers.UUIDField()
    status = serializers.ChoiceField(choices=JobStatus.choices)
    error = serializers.CharField(allow_blank=True)
    n_texts = serializers.IntegerField()
    n_finished = serializers.IntegerField()
    created_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)
    visibility = serializers.ChoiceField(choices=Visibility.choices)
    results = serializers.SerializerMethodField()

    def get_results(self, batch: TraceBatch) -> str:
        """Return the address of the results."""
        return reverse("api-batch-results", args=[batch.pk])


class BatchCreate(APIView):
    """Ask for many traces."""

    @extend_schema(
        request=BatchRequestSerializer,
        parameters=[IDEMPOTENCY_KEY],
        responses={202: BatchSerializer, 400: PROBLEM, 409: PROBLEM},
    )
    def post(self, request: Request) -> Response:
        """Queue up to 1,000 texts as one job."""
        asked = BatchRequestSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        author = author_of(request)

        def create() -> Response:
            batch = batches.request_batch(**asked.validated_data, author=author)
            location = reverse("api-batch-detail", args=[batch.pk])
            return Response(BatchSerializer(batch).data, status=202, headers={"Location": location})

        return answer_once(request, create)


class BatchDetail(APIView):
    """One batch."""

    @extend_schema(responses={200: BatchSerializer, 404: PROBLEM})
    def get(self, request: Request, batch_id: uuid.UUID) -> Response:
        """Return its progress."""
        return Response(BatchSerializer(batches.get_batch(batch_id, author=author_of(request))).data)

    @extend_schema(responses={204: None, 403: PROBLEM, 404: PROBLEM})
    def delete(self, request: Request, batch_id: uuid.UUID) -> Response:
        """Delete one's own batch and its traces for good."""
        batches.delete_batch(batch_id, author=author_of(request))
        return Response(status=204)


class BatchResults(APIView):
    """The traces of a batch."""

    @extend_schema(responses={(200, "application/x-ndjson"): OpenApiTypes.STR, 404: PROBLEM})
    def get(self, request: Request, batch_id: uuid.UUID) -> StreamingHttpResponse:
        """Return one trace a line, in the order of the texts; those not finished say so in `status`."""
        author = author_of(request)
        batch = batches.get_batch(batch_id, author=author)
        lines = batches.result_lines(batch, author=author)
        return StreamingHttpResponse(lines, content_type="application/x-ndjson; charset=utf-8")
