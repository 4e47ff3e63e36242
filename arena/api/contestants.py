"""REST resources of providers and contestants: read, enter, launch, withdraw."""

from __future__ import annotations

import uuid
from typing import Any

from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from arena.api.fields import IDEMPOTENCY_KEY, PROBLEM, SEASON
from arena.models import Contestant, LicenceGroup, Provider, RosterChange, Visibility
from arena.services import roster, variants
from arena.services.seasons import get_season
from arena.views.boards import state_of
from webapp.idempotency import answer_once
from webapp.ownership import author_of


class RosterChangeSerializer(serializers.ModelSerializer[RosterChange]):
    """What happened to a contestant, by which rule, with the rule's numbers."""

    board = serializers.UUIDField(source="board_id", allow_null=True)
    entry = serializers.UUIDField(source="entry_id")

    class Meta:
        model = RosterChange
        fields = ["kind", "rule", "numbers", "board", "entry", "created_at"]


class ContestantSerializer(serializers.ModelSerializer[Contestant]):
    """A contestant; `digest` names weights, experts, template, decoding parameters and system prompt together."""

    season: serializers.SlugRelatedField[Any] = serializers.SlugRelatedField(slug_field="slug", read_only=True)
    provider: serializers.SlugRelatedField[Any] = serializers.SlugRelatedField(slug_field="slug", read_only=True)
    checkpoint: serializers.SlugRelatedField[Any] = serializers.SlugRelatedField(slug_field="slug", read_only=True)
    state = serializers.SerializerMethodField()
    changes = RosterChangeSerializer(many=True, read_only=True)
    entry = serializers.UUIDField(source="entry_id")

    class Meta:
        model = Contestant
        fields = [
            "id", "season", "slug", "title", "provider", "checkpoint", "checkpoint_digest", "experts", "decoding",
            "system_prompt", "artifact", "digest", "licence_group", "licence", "visibility", "state", "changes",
            "entry", "created_at",
        ]  # fmt: skip

    def get_state(self, contestant: Contestant) -> str:
        """Return active, private variant, paused, withdrawn or retired."""
        return state_of(contestant)


class ContestantRequestSerializer(serializers.Serializer[Any]):
    """What is entered. Its digest is computed here; nobody can give one."""

    provider = serializers.CharField(help_text="Slug of a provider that the asker is a member of.")
    season = serializers.CharField(required=False, default="", allow_blank=True)
    slug = serializers.CharField()
    title = serializers.CharField(max_length=200)
    licence_group = serializers.ChoiceField(choices=LicenceGroup.choices)
    licence = serializers.CharField(required=False, default="", allow_blank=True, max_length=200)
    visibility = serializers.ChoiceField(choices=Visibility.choices, required=False, default=Visibility.PUBLIC.value)
    checkpoint = serializers.CharField(required=False, allow_null=True, default=None)
    experts = serializers.ListField(
        child=serializers.CharField(), required=False, allow_null=True, default=None, help_text="Slugs; default: all."
    )
    max_tokens = serializers.IntegerField(required=False, allow_null=True, default=None)
    temperature = serializers.FloatField(required=False, allow_null=True, default=None)
    top_p = serializers.FloatField(required=False, allow_null=True, default=None)
    system_prompt = serializers.CharField(
        required=False, default="", allow_blank=True, trim_whitespace=False, max_length=20_000
    )


class ProviderSerializer(serializers.ModelSerializer[Provider]):
    """A provider with the public counter of its private variants."""

    n_contestants = serializers.SerializerMethodField(help_text="Ever entered, private variants among them.")
    n_private_now = serializers.SerializerMethodField(help_text="Private variants under test now.")
    n_private_ever = serializers.SerializerMethodField()

    class Meta:
        model = Provider
        fields = ["slug", "name", "url", "n_contestants", "n_private_now", "n_private_ever", "created_at"]

    def get_n_contestants(self, provider: Provider) -> int:
        """Return how many were ever entered."""
        return provider.contestants.count()

    def get_n_private_now(self, provider: Provider) -> int:
        """Return how many count against the cap."""
        return Contestant.objects.in_tests().filter(provider=provider).count()

    def get_n_private_ever(self, provider: Provider) -> int:
        """Return how many were ever entered as private."""
        return provider.contestants.filter(visibility=Visibility.PRIVATE).count()


class ProviderRequestSerializer(serializers.Serializer[Any]):
    """Who enters contestants; the asker becomes a member."""

    slug = serializers.CharField()
    name = serializers.CharField(max_length=200)
    url = serializers.CharField(required=False, default="", allow_blank=True, max_length=300)


class ProviderCollection(ListAPIView[Provider]):
    """All providers."""

    queryset = Provider.objects.all()
    serializer_class = ProviderSerializer

    @extend_schema(
        request=ProviderRequestSerializer,
        parameters=[IDEMPOTENCY_KEY],
        responses={201: ProviderSerializer, 400: PROBLEM, 403: PROBLEM, 409: PROBLEM},
    )
    def post(self, request: Request) -> Response:
        """Register a provider. For people with the role provider, and operators."""
        asked = ProviderRequestSerializer(data=request.data)
        asked.is_valid(raise_exception=True)

        def create() -> Response:
            made = roster.register_provider(user=request.user, **asked.validated_data)
            return Response(ProviderSerializer(made).data, status=201)

        return answer_once(request, create)


class ContestantCollection(ListAPIView[Contestant]):
    """Contestants whose names everyone may know."""

    serializer_class = ContestantSerializer
    queryset = Contestant.objects.none()

    def get_queryset(self) -> Any:
        """Return disclosed contestants, of one season if one is named."""
        rows = Contestant.objects.disclosed().select_related("season", "provider", "checkpoint")
        rows = rows.prefetch_related("changes")
        slug = self.request.query_params.get("season")
        return rows.filter(season=get_season(slug)) if slug else rows

    @extend_schema(parameters=[SEASON])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Return contestants, newest first; private variants once something has published their rating."""
        return super().get(request, *args, **kwargs)

    @extend_schema(
        request=ContestantRequestSerializer,
        parameters=[IDEMPOTENCY_KEY],
        responses={201: ContestantSerializer, 400: PROBLEM, 403: PROBLEM, 404: PROBLEM, 409: PROBLEM},
    )
    def post(self, request: Request) -> Response:
        """Enter a contestant for a provider of one's own; a private variant counts against the provider's cap."""
        asked = ContestantRequestSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        author = author_of(request)

        def create() -> Response:
            values = dict(asked.validated_data)
            provider = roster.get_provider(values.pop("provider"))
            variants.check_may_act(provider, author)
            made = roster.add_contestant(season=get_season(values.pop("season")), provider=provider, **values)
            location = reverse("api-arena-contestant", args=[made.pk])
            return Response(ContestantSerializer(made).data, status=201, headers={"Location": location})

        return answer_once(request, create)


class ContestantDetail(APIView):
    """One contestant."""

    @extend_schema(responses={200: ContestantSerializer, 404: PROBLEM})
    def get(self, request: Request, contestant_id: uuid.UUID) -> Response:
        """Return a contestant; a private variant under test only to its provider's members and to operators."""
        return Response(ContestantSerializer(variants.find_contestant(contestant_id, author=author_of(request))).data)


class ContestantLaunch(APIView):
    """A private variant becomes public."""

    @extend_schema(
        request=None,
        responses={200: ContestantSerializer, 403: PROBLEM, 404: PROBLEM, 409: PROBLEM},
    )
    def post(self, request: Request, contestant_id: uuid.UUID) -> Response:
        """Publish its rating and make it public. Votes before never count in its public rating."""
        return _end(request, contestant_id, variants.launch)


class ContestantWithdraw(APIView):
    """A private variant leaves."""

    @extend_schema(
        request=None,
        responses={200: ContestantSerializer, 403: PROBLEM, 404: PROBLEM, 409: PROBLEM},
    )
    def post(self, request: Request, contestant_id: uuid.UUID) -> Response:
        """Publish its rating and take it out of new battles; it stays listed."""
        return _end(request, contestant_id, variants.withdraw)


def _end(request: Request, contestant_id: uuid.UUID, end: Any) -> Response:
    author = author_of(request)
    contestant = variants.find_contestant(contestant_id, author=author)
    variants.check_may_act(contestant.provider, author)
    end(contestant)
    return Response(ContestantSerializer(variants.find_contestant(contestant_id, author=author)).data)
