"""REST resources of seasons, policies, epochs and closed votes."""

from __future__ import annotations

import json
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from arena.api.fields import SEASON
from arena.models import Epoch, Overlap, Policy, Season, Vote
from arena.services.seasons import get_season


class SeasonSerializer(serializers.ModelSerializer[Season]):
    """A season; one with simulated votes holds no others."""

    class Meta:
        model = Season
        fields = ["slug", "title", "is_simulated", "created_at"]


class PolicySerializer(serializers.ModelSerializer[Policy]):
    """A version of a season's rules: as sentences and as parameters."""

    season: serializers.SlugRelatedField[Any] = serializers.SlugRelatedField(slug_field="slug", read_only=True)
    rules = serializers.DictField()
    entry = serializers.UUIDField(source="entry_id")

    class Meta:
        model = Policy
        fields = ["season", "version", "document", "rules", "entry", "created_at"]


class EpochSerializer(serializers.ModelSerializer[Epoch]):
    """A stretch of draws. `seed` is null until its reveal; `commitment` is its SHA-256."""

    season: serializers.SlugRelatedField[Any] = serializers.SlugRelatedField(slug_field="slug", read_only=True)
    policy: serializers.SlugRelatedField[Any] = serializers.SlugRelatedField(slug_field="version", read_only=True)
    seed = serializers.SerializerMethodField()
    n_draws = serializers.SerializerMethodField(help_text="Null until the reveal.")
    weights = serializers.SerializerMethodField(help_text="The integer weight table: docs/arena-sampling.md.")
    entry = serializers.UUIDField(source="entry_id")

    class Meta:
        model = Epoch
        fields = [
            "season", "number", "policy", "commitment", "seed", "n_draws", "tree_size", "n_votes", "table_digest",
            "roster_hash", "weights", "entry", "created_at",
        ]  # fmt: skip

    @extend_schema_field(OpenApiTypes.STR)
    def get_seed(self, epoch: Epoch) -> str | None:
        """Return the seed once it is revealed."""
        return epoch.reveal.seed if hasattr(epoch, "reveal") else None

    @extend_schema_field(OpenApiTypes.INT)
    def get_n_draws(self, epoch: Epoch) -> int | None:
        """Return the number of draws once all are closed."""
        return epoch.reveal.n_draws if hasattr(epoch, "reveal") else None

    @extend_schema_field(OpenApiTypes.OBJECT)
    def get_weights(self, epoch: Epoch) -> Any:
        """Return the table."""
        return json.loads(epoch.table)


class CoverageSerializer(serializers.Serializer[Any]):
    """How much of an answer stands word for word in the corpora, in characters."""

    covered = serializers.IntegerField()
    characters = serializers.IntegerField()


class OverlapSerializer(serializers.Serializer[Overlap]):
    """The overlap of a battle's answers as the log has it; `a` and `b` are null where it could not be measured."""

    a = CoverageSerializer(allow_null=True)
    b = CoverageSerializer(allow_null=True)
    reason = serializers.CharField(help_text="Why it could not be measured; empty where it was.")
    indexes = serializers.ListField(child=serializers.DictField())
    settings = serializers.CharField(help_text="SHA-256 of the settings, which the policy's log entry has.")
    entry = serializers.UUIDField()

    def to_representation(self, instance: Overlap) -> dict[str, Any]:
        """Return both sides apart."""
        sides = {
            side: None
            if instance.share(side) is None
            else {name: getattr(instance, f"{name}_{side}") for name in ("covered", "characters")}
            for side in ("a", "b")
        }
        about = {"reason": instance.reason, "indexes": instance.indexes, "settings": instance.settings}
        return {**sides, **about, "entry": str(instance.entry_id)}


class ClosedVoteSerializer(serializers.ModelSerializer[Vote]):
    """A vote that stands. `voter` is the season's digest; `p_pair` the exact chance of the pair."""

    battle = serializers.UUIDField(source="battle_id")
    season = serializers.CharField(source="battle.season.slug")
    contestant_a = serializers.UUIDField(source="battle.contestant_a_id")
    contestant_b = serializers.UUIDField(source="battle.contestant_b_id")
    p_pair = serializers.SerializerMethodField()
    category = serializers.CharField(source="battle.category")
    is_pre_release = serializers.BooleanField(source="battle.is_pre_release")
    voter = serializers.SerializerMethodField()
    entry = serializers.UUIDField(source="entry_id")
    overlap = OverlapSerializer(source="battle.overlap", default=None, allow_null=True)

    class Meta:
        model = Vote
        fields = [
            "battle", "season", "contestant_a", "contestant_b", "verdict", "p_pair", "category", "is_pre_release",
            "voter", "entry", "overlap", "created_at",
        ]  # fmt: skip

    def get_p_pair(self, vote: Vote) -> str:
        """Return the fraction."""
        return f"{vote.battle.p_numerator}/{vote.battle.p_denominator}"

    def get_voter(self, vote: Vote) -> str:
        """Return what stands for the voter in the season's log."""
        return vote.voter.digest(vote.battle.season)


class OfSeason(ListAPIView[Any]):
    """A list of one season, by default of the main one."""

    queryset: Any = Season.objects.none()

    @extend_schema(parameters=[SEASON])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Return the list, newest first."""
        return super().get(request, *args, **kwargs)

    def season(self) -> Season:
        """Return the season that the query names."""
        return get_season(self.request.query_params.get("season"))


class SeasonList(ListAPIView[Season]):
    """All seasons."""

    queryset = Season.objects.all()
    serializer_class = SeasonSerializer


class PolicyList(OfSeason):
    """Every version of a season's rules; the first of the list is in force."""

    serializer_class = PolicySerializer

    def get_queryset(self) -> Any:
        """Return the policies."""
        return self.season().policies.select_related("season")


class EpochList(OfSeason):
    """Epochs with weight tables, commitments, and the seeds of those that ended."""

    serializer_class = EpochSerializer

    def get_queryset(self) -> Any:
        """Return the epochs."""
        return self.season().epochs.select_related("season", "policy", "reveal")


class VoteList(OfSeason):
    """Votes of closed battles; those that a rule has set aside are among them."""

    serializer_class = ClosedVoteSerializer

    def get_queryset(self) -> Any:
        """Return the votes."""
        return (
            Vote.objects.closed()
            .filter(battle__season=self.season())
            .select_related("battle__season", "battle__overlap", "voter")
        )
