"""REST resources of generations, experts and checkpoints."""

from __future__ import annotations

import uuid
from typing import Any

from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.generics import ListAPIView
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tracer.api import IDEMPOTENCY_KEY, PROBLEM, SharingSerializer, TraceSerializer
from tracer.presentation import present_trace
from webapp.idempotency import answer_once
from webapp.ownership import Visibility, author_of
from webapp.playground import services
from webapp.playground.models import Checkpoint, Expert, Generation


class ExpertSerializer(serializers.ModelSerializer[Expert]):
    """An expert with its owner, corpus and licence."""

    checkpoint: serializers.SlugRelatedField[Checkpoint] = serializers.SlugRelatedField(
        slug_field="slug", read_only=True
    )
    corpus = serializers.CharField(source="corpus_slug", read_only=True)

    class Meta:
        model = Expert
        fields = ["checkpoint", "position", "slug", "title", "owner", "corpus", "licence"]


class CheckpointSerializer(serializers.ModelSerializer[Checkpoint]):
    """A checkpoint by its digest; `opt_out_exact`: switching an expert off equals never having had its data.

    `is_chat`: has a chat template; else it continues text. `thinks`: takes bounds on its thinking.
    """

    thinks = serializers.BooleanField(read_only=True)

    class Meta:
        model = Checkpoint
        fields = [
            "slug",
            "backend",
            "source",
            "digest",
            "context_length",
            "is_chat",
            "thinks",
            "opt_out_exact",
            "created_at",
        ]


class MessageSerializer(serializers.Serializer[Any]):
    """One earlier turn of a conversation."""

    role = serializers.CharField(help_text="system, user or assistant.")
    content = serializers.CharField(trim_whitespace=False, allow_blank=True)


class ThinkingSerializer(serializers.Serializer[Any]):
    """Bounds on the thinking part, in tokens (budget forcing)."""

    min_tokens = serializers.IntegerField(required=False, default=0)
    max_tokens = serializers.IntegerField()


class GenerationRequestSerializer(serializers.Serializer[Any]):
    """What a client asks to continue."""

    prompt = serializers.CharField(trim_whitespace=False, allow_blank=True)
    experts = serializers.ListField(
        child=serializers.CharField(), required=False, allow_null=True, default=None, help_text="Slugs; default: all."
    )
    max_tokens = serializers.IntegerField(required=False, default=128)
    temperature = serializers.FloatField(required=False, default=0.7, help_text="0 is greedy.")
    top_p = serializers.FloatField(required=False, default=0.95)
    seed = serializers.IntegerField(required=False, allow_null=True, default=None)
    checkpoint = serializers.CharField(required=False, allow_null=True, default=None)
    visibility = serializers.ChoiceField(
        choices=Visibility.choices, required=False, default=Visibility.LINK.value, help_text="Who may read it."
    )
    system_prompt = serializers.CharField(required=False, trim_whitespace=False, allow_blank=True, default="")
    messages = MessageSerializer(many=True, required=False, default=list, help_text="Earlier turns.")
    is_chat = serializers.BooleanField(
        required=False,
        allow_null=True,
        default=None,
        help_text="true: a conversation; false: continue the prompt; null: as the checkpoint is made for.",
    )
    stop = serializers.ListField(
        child=serializers.CharField(trim_whitespace=False), required=False, default=list, help_text="Stop strings."
    )
    top_logprobs = serializers.IntegerField(
        required=False, allow_null=True, default=None, help_text="Log probabilities with that many alternatives."
    )
    thinking = ThinkingSerializer(required=False, allow_null=True, default=None)
    is_traced_live = serializers.BooleanField(
        required=False, default=False, help_text="Search while it is made (stream `matches/`) and trace it at the end."
    )


class GenerationSerializer(serializers.ModelSerializer[Generation]):
    """A generation; the same seed, experts and checkpoint give the same text."""

    checkpoint: serializers.SlugRelatedField[Checkpoint] = serializers.SlugRelatedField(
        slug_field="slug", read_only=True
    )

    class Meta:
        model = Generation
        fields = [
            "id",
            "status",
            "error",
            "prompt",
            "system_prompt",
            "messages",
            "is_chat",
            "model_prompt",
            "stop",
            "thinking",
            "is_traced_live",
            "experts",
            "max_tokens",
            "temperature",
            "top_p",
            "seed",
            "checkpoint",
            "checkpoint_digest",
            "text",
            "token_ids",
            "logprobs",
            "finish_reason",
            "routing_shares",
            "timings_ms",
            "trace",
            "visibility",
            "created_at",
            "finished_at",
        ]


class PositionCursorPagination(CursorPagination):
    """Experts in router order."""

    ordering = ("checkpoint_id", "position")
    page_size = 100


class ExpertList(ListAPIView[Expert]):
    """All experts of all checkpoints, without those whose owners have opted out."""

    queryset = Expert.objects.available().select_related("checkpoint")
    serializer_class = ExpertSerializer
    pagination_class = PositionCursorPagination


class CheckpointList(ListAPIView[Checkpoint]):
    """All checkpoints."""

    queryset = Checkpoint.objects.all()
    serializer_class = CheckpointSerializer


class GenerationCreate(APIView):
    """Ask for an answer."""

    @extend_schema(
        request=GenerationRequestSerializer,
        parameters=[IDEMPOTENCY_KEY],
        responses={202: GenerationSerializer, 400: PROBLEM, 404: PROBLEM, 409: PROBLEM},
    )
    def post(self, request: Request) -> Response:
        """Queue a generation; the answer's Location is where it will be, its stream below that."""
        asked = GenerationRequestSerializer(data=request.data)
        asked.is_valid(raise_exception=True)

        def create() -> Response:
            generation = services.start_generation(**asked.validated_data, author=author_of(request))
            location = reverse("api-generation-detail", args=[generation.id])
            return Response(GenerationSerializer(generation).data, status=202, headers={"Location": location})

        return answer_once(request, create)


class GenerationDetail(APIView):
    """One generation."""

    @extend_schema(responses={200: GenerationSerializer, 404: PROBLEM})
    def get(self, request: Request, generation_id: uuid.UUID) -> Response:
        """Return a generation as it stands."""
        return Response(GenerationSerializer(services.get_generation(generation_id, author=author_of(request))).data)

    @extend_schema(
        request=SharingSerializer, responses={200: GenerationSerializer, 400: PROBLEM, 403: PROBLEM, 404: PROBLEM}
    )
    def patch(self, request: Request, generation_id: uuid.UUID) -> Response:
        """Change who may read one's own answer and its trace."""
        asked = SharingSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        made = services.share_generation(generation_id, author=author_of(request), **asked.validated_data)
        return Response(GenerationSerializer(made).data)

    @extend_schema(responses={204: None, 403: PROBLEM, 404: PROBLEM, 409: PROBLEM})
    def delete(self, request: Request, generation_id: uuid.UUID) -> Response:
        """Delete one's own finished answer and its trace for good."""
        services.delete_generation(generation_id, author=author_of(request))
        return Response(status=204)


class GenerationCancel(APIView):
    """Stop a generation."""

    @extend_schema(request=None, responses={202: GenerationSerializer, 403: PROBLEM, 404: PROBLEM})
    def post(self, request: Request, generation_id: uuid.UUID) -> Response:
        """Ask a generation to stop within a step; a finished one stays as it is."""
        stopped = services.cancel_generation(generation_id, author=author_of(request))
        return Response(GenerationSerializer(stopped).data, status=202)


class RoutingSerializer(serializers.Serializer[Any]):
    """How an answer was routed; the shares of a token add up to 1."""

    experts = serializers.ListField(child=serializers.CharField(), help_text="Slugs, the order of the shares.")
    pieces = serializers.ListField(child=serializers.CharField(), help_text="The text that each token added.")
    token_shares = serializers.ListField(
        child=serializers.ListField(child=serializers.FloatField()), help_text="By token: each expert's share."
    )
    layer_shares = serializers.DictField(
        child=serializers.ListField(child=serializers.FloatField()),
        help_text="By expert: its mean in each layer.",
    )


class GenerationRouting(APIView):
    """The routing of one generation."""

    @extend_schema(responses={200: RoutingSerializer, 404: PROBLEM})
    def get(self, request: Request, generation_id: uuid.UUID) -> Response:
        """Return each enabled expert's share of the routing weight, by token and by layer."""
        generation = services.get_generation(generation_id, author=author_of(request))
        shares = generation.get_token_routing().astype(float).round(4).tolist()
        return Response(
            {
                "experts": generation.experts,
                "pieces": generation.pieces,
                "token_shares": shares,
                "layer_shares": generation.layer_routing,
            }
        )


class GenerationTrace(APIView):
    """Trace a generation."""

    @extend_schema(request=None, responses={202: TraceSerializer, 404: PROBLEM, 409: PROBLEM})
    def post(self, request: Request, generation_id: uuid.UUID) -> Response:
        """Queue the trace of a finished answer, once; later calls give the same trace."""
        trace = services.trace_generation(generation_id, author=author_of(request))
        location = reverse("api-trace-detail", args=[trace.id])
        return Response(present_trace(trace, author=author_of(request)), status=202, headers={"Location": location})
