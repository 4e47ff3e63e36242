"""REST resource of the arena's audit of itself."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from arena.api.fields import PROBLEM, SEASON
from arena.quality import Outcome
from arena.services.audit.findings import NOT_TOLD
from arena.services.audit.report import self_audit
from arena.services.seasons import get_season
from arena.services.transparency.scope import scope_of


class AuditRowSerializer(serializers.Serializer[Any]):
    """An item of the Agentic Benchmark Checklist (arXiv 2507.02825), by the paper's number."""

    item = serializers.CharField()
    asks = serializers.CharField()
    outcome = serializers.ChoiceField(choices=[*(o.value for o in Outcome), NOT_TOLD])
    is_evaluated = serializers.BooleanField(help_text="Whether a check looked at the data; else it is a statement.")
    reason = serializers.CharField()
    numbers = serializers.DictField(help_text="What the outcome rests on.")


class NotApplicableSerializer(serializers.Serializer[Any]):
    """Items that don't apply to an arena, and why."""

    items = serializers.CharField()
    reason = serializers.CharField()


class LimitSerializer(serializers.Serializer[Any]):
    """What cannot be proven, how far it matters here, and what helps."""

    claim = serializers.CharField()
    here = serializers.CharField()
    helps = serializers.CharField()


class AuditSerializer(serializers.Serializer[Any]):
    """The audit of a season as it is now."""

    season = serializers.CharField()
    tree_size = serializers.IntegerField()
    counts = serializers.DictField(child=serializers.IntegerField(), help_text="Items by outcome.")
    items = AuditRowSerializer(many=True)
    not_applicable = NotApplicableSerializer(many=True)
    cannot_be_proven = LimitSerializer(many=True)


class AuditDetail(APIView):
    """The arena's audit of itself."""

    @extend_schema(parameters=[SEASON], responses={200: AuditSerializer, 404: PROBLEM})
    def get(self, request: Request) -> Response:
        """Return a season's audit against the Agentic Benchmark Checklist, and what cannot be proven."""
        season = get_season(request.query_params.get("season"))
        audit = self_audit(scope_of(season))
        values = {
            "season": season.slug,
            "tree_size": audit.tree_size,
            "counts": audit.counts,
            "items": audit.rows,
            "not_applicable": [{"items": items, "reason": reason} for items, reason in audit.not_applicable],
            "cannot_be_proven": audit.limits,
        }
        return Response(AuditSerializer(values).data)
