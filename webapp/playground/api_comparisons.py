"""REST resources of comparisons: one question under several expert masks."""

from __future__ import annotations

import uuid
from typing import Any

from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tracer.api import IDEMPOTENCY_KEY, PROBLEM, SharingSerializer
from webapp.idempotency import answer_once
from webapp.jobs import JobStatus
from webapp.ownership import Author, author_of
from webapp.playground import comparing
from webapp.playground.api import GenerationRequestSerializer, GenerationSerializer
from webapp.playground.models import Comparison
from webapp.playground.text_diff import compare_texts


class ComparisonRequestSerializer(GenerationRequestSerializer):
    """A question as for a generation, with masks in place of experts; all sides get the same seed."""

    kind = serializers.ChoiceField(choices=Comparison.Kind.choices)
    masks = serializers.ListField(
        child=serializers.ListField(child=serializers.CharField()),
        required=False,
        allow_null=True,
        default=None,
        help_text="Kind masks: two lists of experts. Kind leave_one_out makes its own.",
    )
    experts = None  # type: ignore[assignment]


class ComparedSerializer(serializers.Serializer[Any]):
    """How a side differs from the first; null until both are done."""

    shared_words = serializers.FloatField(help_text="2 · longest common subsequence / words of both; 1 is equal.")
    n_same_characters = serializers.IntegerField(help_text="From the beginning to the first difference.")


class ComparisonSideSerializer(serializers.Serializer[Any]):
    """One side."""

    generation = GenerationSerializer()
    against_first = ComparedSerializer(allow_null=True)


class ComparisonSerializer(serializers.Serializer[Any]):
    """A comparison with all its sides; the first one is what the others are held against."""

    id = serializers.UUIDField()
    kind = serializers.ChoiceField(choices=Comparison.Kind.choices)
    created_at = serializers.DateTimeField()
    is_finished = serializers.BooleanField()
    sides = ComparisonSideSerializer(many=True)


def present_comparison(comparison_id: uuid.UUID, *, author: Author) -> dict[str, Any]:
    """Return the JSON of a comparison as this author may see it."""
    comparison, sides = comparing.get_comparison(comparison_id, author=author)
    shown = []
    for side in sides:
        against = None
        if side.pk != sides[0].pk and side.status == sides[0].status == JobStatus.DONE:
            difference = compare_texts(sides[0].text, side.text)
            against = {"shared_words": difference.shared, "n_same_characters": difference.n_same_characters}
        shown.append({"generation": side, "against_first": against})
    values = {
        "id": comparison.id,
        "kind": comparison.kind,
        "created_at": comparison.created_at,
        "is_finished": comparing.is_finished(sides),
        "sides": shown,
    }
    return dict(ComparisonSerializer(values).data)


class ComparisonCreate(APIView):
    """Ask one question under several masks."""

    @extend_schema(
        request=ComparisonRequestSerializer,
        parameters=[IDEMPOTENCY_KEY],
        responses={202: ComparisonSerializer, 400: PROBLEM, 404: PROBLEM, 409: PROBLEM},
    )
    def post(self, request: Request) -> Response:
        """Queue all sides at once, with one seed."""
        asked = ComparisonRequestSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        author = author_of(request)

        def create() -> Response:
            made = comparing.start_comparison(**asked.validated_data, author=author)
            location = reverse("api-comparison-detail", args=[made.id])
            return Response(present_comparison(made.id, author=author), status=202, headers={"Location": location})

        return answer_once(request, create)


class ComparisonDetail(APIView):
    """One comparison."""

    @extend_schema(responses={200: ComparisonSerializer, 404: PROBLEM})
    def get(self, request: Request, comparison_id: uuid.UUID) -> Response:
        """Return a comparison as it stands."""
        return Response(present_comparison(comparison_id, author=author_of(request)))

    @extend_schema(
        request=SharingSerializer, responses={200: ComparisonSerializer, 400: PROBLEM, 403: PROBLEM, 404: PROBLEM}
    )
    def patch(self, request: Request, comparison_id: uuid.UUID) -> Response:
        """Change who may read one's own comparison: all sides and their traces."""
        asked = SharingSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        author = author_of(request)
        comparing.share_comparison(comparison_id, author=author, **asked.validated_data)
        return Response(present_comparison(comparison_id, author=author))

    @extend_schema(responses={204: None, 403: PROBLEM, 404: PROBLEM, 409: PROBLEM})
    def delete(self, request: Request, comparison_id: uuid.UUID) -> Response:
        """Delete one's own finished comparison, its answers and their traces for good."""
        comparing.delete_comparison(comparison_id, author=author_of(request))
        return Response(status=204)


class ComparisonTrace(APIView):
    """Trace a comparison."""

    @extend_schema(request=None, responses={202: ComparisonSerializer, 404: PROBLEM, 409: PROBLEM})
    def post(self, request: Request, comparison_id: uuid.UUID) -> Response:
        """Queue the traces of all finished sides, once; each side names its trace."""
        author = author_of(request)
        comparing.trace_comparison(comparison_id, author=author)
        location = reverse("api-comparison-detail", args=[comparison_id])
        return Response(present_comparison(comparison_id, author=author), status=202, headers={"Location": location})
