"""REST resource of what the arena shows of itself."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from arena.api.fields import PROBLEM, SEASON
from arena.services.transparency.report import transparency_report
from arena.views.boards import contestants_of
from arena.views.transparency import read_scope, shown_names

PERIOD = [
    SEASON,
    OpenApiParameter("from", OpenApiTypes.DATE, description="First day (UTC); by default the season's first."),
    OpenApiParameter("to", OpenApiTypes.DATE, description="Last day (UTC), included; by default the newest."),
    OpenApiParameter("tree_size", OpenApiTypes.INT, description="Go back to that many entries of the log."),
]


class SampledSerializer(serializers.Serializer[Any]):
    """Planned: sum of the exact probabilities of the draws; realised: number of draws that took it.

    `lower` and `upper` are planned ± z times the root of the Poisson-binomial variance.
    """

    name = serializers.CharField(help_text="Contestant's id, provider's slug, or licence group.")
    title = serializers.CharField()
    n_draws = serializers.IntegerField(help_text="Draws of epochs on whose roster it stood.")
    planned = serializers.FloatField()
    lower = serializers.FloatField()
    upper = serializers.FloatField()
    realised = serializers.IntegerField()
    planned_rate = serializers.FloatField(help_text="Of all draws of the period.")
    realised_rate = serializers.FloatField()
    is_within = serializers.BooleanField()


class SamplingSerializer(serializers.Serializer[Any]):
    """By grouping. A provider or group is in a draw when at least one of its contestants is."""

    contestant = SampledSerializer(many=True)
    provider = SampledSerializer(many=True)
    licence_group = SampledSerializer(many=True)


class DataShareSerializer(serializers.Serializer[Any]):
    """Whose answers the voted battles of the period are about."""

    name = serializers.CharField()
    title = serializers.CharField()
    n_votes = serializers.IntegerField(help_text="Voted battles with at least one of its contestants.")
    n_sides = serializers.IntegerField(help_text="Its answers in voted battles; each battle has two.")
    share = serializers.FloatField(help_text="Of all answers in voted battles.")


class DataSharesSerializer(serializers.Serializer[Any]):
    """By grouping, largest first."""

    provider = DataShareSerializer(many=True)
    licence_group = DataShareSerializer(many=True)


class RuleExclusionsSerializer(serializers.Serializer[Any]):
    """What one rule has set aside."""

    rule = serializers.CharField()
    n_entered = serializers.IntegerField(help_text="Exclusions that began within the period.")
    n_ended = serializers.IntegerField(help_text="Exclusions that ended within the period.")
    n_voters = serializers.IntegerField(help_text="Voters set aside at the tree size.")
    n_battles = serializers.IntegerField(help_text="Battles set aside at the tree size.")
    n_votes = serializers.IntegerField(help_text="The period's votes that these set aside.")


class ExclusionsSerializer(serializers.Serializer[Any]):
    """All rules that were ever used, and the period's votes."""

    rules = RuleExclusionsSerializer(many=True)
    n_votes = serializers.IntegerField()
    n_set_aside = serializers.IntegerField()
    share = serializers.FloatField()


class TestedSerializer(serializers.Serializer[Any]):
    """A contestant entered before the period's end, and its state then. A private variant keeps its name to itself."""

    contestant = serializers.UUIDField()
    title = serializers.CharField()
    provider = serializers.CharField()
    licence_group = serializers.CharField()
    visibility = serializers.CharField()
    state = serializers.CharField()
    is_paused = serializers.BooleanField()
    entered_at = serializers.DateTimeField()
    entry = serializers.UUIDField()
    index = serializers.IntegerField()


class RemovalSerializer(serializers.Serializer[Any]):
    """A retirement within the period."""

    contestant = serializers.UUIDField()
    licence_group = serializers.CharField()
    rule = serializers.CharField()
    numbers = serializers.DictField()
    at = serializers.DateTimeField()
    entry = serializers.UUIDField()


class GroupRemovalsSerializer(serializers.Serializer[Any]):
    """Removals of one licence group."""

    licence_group = serializers.CharField()
    n_tested = serializers.IntegerField(help_text="Contestants ever entered until the period's end.")
    n_removed = serializers.IntegerField(help_text="Retired within the period.")
    n_removed_ever = serializers.IntegerField()
    share_removed = serializers.FloatField()


class VariantCountSerializer(serializers.Serializer[Any]):
    """A provider's private variants against the cap."""

    provider = serializers.CharField()
    n_active = serializers.IntegerField(help_text="Under test at the period's end.")
    n_most = serializers.IntegerField(help_text="Under test at once within the period, at most.")
    cap = serializers.IntegerField()
    n_entered = serializers.IntegerField(help_text="Within the period.")
    n_ever = serializers.IntegerField()
    n_launched = serializers.IntegerField()
    n_withdrawn = serializers.IntegerField()
    n_expired = serializers.IntegerField()


class ChangedSerializer(serializers.Serializer[Any]):
    """A parameter that a version set anew."""

    name = serializers.CharField()
    before = serializers.JSONField(allow_null=True)
    after = serializers.JSONField(allow_null=True)


class PolicyVersionSerializer(serializers.Serializer[Any]):
    """A version of the rules and what it changed."""

    version = serializers.IntegerField()
    at = serializers.DateTimeField()
    entry = serializers.UUIDField()
    document = serializers.CharField()
    document_digest = serializers.CharField()
    rules = serializers.DictField()
    changes = ChangedSerializer(many=True)
    was_in_force = serializers.BooleanField(help_text="At some time of the period.")


class TransparencySerializer(serializers.Serializer[Any]):
    """The report. Every number follows from log entries below `tree_size`: docs/arena-transparency.md."""

    season = serializers.CharField()
    is_simulated = serializers.BooleanField()
    tree_size = serializers.IntegerField()
    first_day = serializers.DateField(allow_null=True)
    last_day = serializers.DateField(allow_null=True)
    level = serializers.FloatField(help_text="Of the intervals of sampling.")
    n_draws = serializers.IntegerField(help_text="Closed draws of the period.")
    n_votes = serializers.IntegerField(help_text="Those that ended with a vote.")
    sampling = SamplingSerializer()
    data_shares = DataSharesSerializer()
    exclusions = ExclusionsSerializer()
    removals = RemovalSerializer(many=True)
    removals_by_group = GroupRemovalsSerializer(many=True)
    variants = VariantCountSerializer(many=True)
    policies = PolicyVersionSerializer(many=True)
    contestants = TestedSerializer(many=True)


class TransparencyDetail(APIView):
    """What the arena shows of itself."""

    @extend_schema(parameters=PERIOD, responses={200: TransparencySerializer, 400: PROBLEM, 404: PROBLEM})
    def get(self, request: Request) -> Response:
        """Return a season's transparency report for any days, at any tree size."""
        scope = read_scope(request.query_params)
        report = transparency_report(scope)
        names = shown_names(contestants_of(scope.season))

        def titled(rows: Any, grouping: str) -> list[dict[str, Any]]:
            known = names[grouping]
            return [{**asdict(row), "title": known[row.name]} for row in rows]

        values = {
            "season": scope.season.slug,
            "is_simulated": scope.season.is_simulated,
            "tree_size": scope.tree_size,
            "first_day": scope.first,
            "last_day": scope.last,
            "level": report.level,
            "n_draws": report.n_draws,
            "n_votes": report.n_votes,
            "sampling": {
                grouping: [
                    {**shown, "is_within": row.is_within}
                    for shown, row in zip(titled(rows, grouping), rows, strict=True)
                ]
                for grouping, rows in report.sampling.items()
            },
            "data_shares": {grouping: titled(rows, grouping) for grouping, rows in report.shares.items()},
            "exclusions": report.exclusions,
            "removals": report.roster.removals,
            "removals_by_group": report.roster.groups,
            "variants": report.roster.variants,
            "policies": report.policies,
            "contestants": [{**asdict(t), "title": names["contestant"][t.contestant]} for t in report.roster.tested],
        }
        return Response(TransparencySerializer(values).data)
