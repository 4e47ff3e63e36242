"""REST resource of what each expert adds."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from arena.api.fields import PROBLEM, SEASON
from arena.services.effects import expert_effects
from arena.services.seasons import get_season


class EffectSerializer(serializers.Serializer[Any]):
    """Rating points that an expert adds, with the interval, and in how many votes it differed."""

    effect = serializers.FloatField()
    lower = serializers.FloatField()
    upper = serializers.FloatField()
    n_votes = serializers.IntegerField()


class CategoryEffectsSerializer(serializers.Serializer[Any]):
    """One category: effects by expert, and why those of others cannot be told."""

    category = serializers.CharField()
    n_votes = serializers.IntegerField()
    effects = serializers.DictField(child=EffectSerializer())
    untold = serializers.DictField(child=serializers.CharField())
    fault = serializers.CharField(allow_blank=True)


class FamilyEffectsSerializer(serializers.Serializer[Any]):
    """Contestants of one checkpoint that differ in their experts alone."""

    checkpoint = serializers.CharField(source="checkpoint.slug")
    n_contestants = serializers.IntegerField()
    categories = CategoryEffectsSerializer(many=True)


class EffectsSerializer(serializers.Serializer[Any]):
    """All families, at the state of a published leaderboard."""

    board = serializers.UUIDField(allow_null=True)
    families = FamilyEffectsSerializer(many=True)


class EffectsDetail(APIView):
    """What each expert adds."""

    @extend_schema(parameters=[SEASON], responses={200: EffectsSerializer, 404: PROBLEM})
    def get(self, request: Request) -> Response:
        """Return each expert's effect on people's preference, over all prompts and by category."""
        report = expert_effects(get_season(request.query_params.get("season")))
        families = [
            {
                "checkpoint": {"slug": family.checkpoint.slug},
                "n_contestants": family.n_contestants,
                "categories": [asdict(category) for category in family.categories],
            }
            for family in report.families
        ]
        board = report.board.pk if report.board else None
        return Response(EffectsSerializer({"board": board, "families": families}).data)
