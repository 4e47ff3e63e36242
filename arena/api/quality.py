"""REST resource of the quality of votes, as counts."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from arena.api.fields import PROBLEM, SEASON
from arena.quality import Outcome
from arena.services.quality import quality_report
from arena.services.seasons import get_season


class AgreementSerializer(serializers.Serializer[Any]):
    """A coefficient with its 95 % interval; null where there is too little to say."""

    value = serializers.FloatField(allow_null=True)
    lower = serializers.FloatField(allow_null=True)
    upper = serializers.FloatField(allow_null=True)
    n_items = serializers.IntegerField()
    n_verdicts = serializers.IntegerField()


class GateSerializer(serializers.Serializer[Any]):
    """A gate: it passes, fails, or could not decide."""

    name = serializers.CharField()
    outcome = serializers.ChoiceField(choices=[o.value for o in Outcome])
    reason = serializers.CharField()


class RuleCountSerializer(serializers.Serializer[Any]):
    """What one rule has set aside: now, and how often ever."""

    rule = serializers.CharField()
    n_voters = serializers.IntegerField()
    n_battles = serializers.IntegerField()
    n_votes = serializers.IntegerField()
    n_ever = serializers.IntegerField()


class QualitySerializer(serializers.Serializer[Any]):
    """Counts alone: no voter can be told from them. `overlap` is Krippendorff's α, `consistency` Cohen's κ."""

    tree_size = serializers.IntegerField()
    n_votes = serializers.IntegerField()
    voters = serializers.DictField(child=serializers.IntegerField(), help_text="Voters by outcome.")
    exclusions = RuleCountSerializer(many=True)
    overlap = AgreementSerializer()
    consistency = AgreementSerializer()
    gates = GateSerializer(many=True)


class QualityDetail(APIView):
    """The quality of a season's votes."""

    @extend_schema(parameters=[SEASON], responses={200: QualitySerializer, 404: PROBLEM})
    def get(self, request: Request) -> Response:
        """Return gates, counts of voters by outcome, what each rule has set aside, and agreement."""
        report = quality_report(get_season(request.query_params.get("season")))
        return Response(QualitySerializer(report).data)
