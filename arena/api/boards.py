"""REST resources of leaderboards: published snapshots, and any slice at any tree size."""

from __future__ import annotations

import uuid
from typing import Any

from django.shortcuts import get_object_or_404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from arena.api.fields import PROBLEM, SEASON
from arena.models import Leaderboard
from arena.services.boards import Board
from arena.services.seasons import get_season
from arena.views.boards import board_rows, contestants_of
from arena.views.slices import find_board, published_board

SLICE = [
    SEASON,
    *(
        OpenApiParameter(name, OpenApiTypes.STR, description="Only votes with this value.")
        for name in ("category", "discipline", "language", "community")
    ),
    OpenApiParameter("since", OpenApiTypes.DATE, description="First day of the votes."),
    OpenApiParameter("until", OpenApiTypes.DATE, description="Day before which the votes were given."),
    OpenApiParameter("style", OpenApiTypes.STR, enum=["0", "1"], description="1: control for length and layout."),
    OpenApiParameter(
        "overlap", OpenApiTypes.STR, enum=["0", "1"], description="1: control for words that stand in corpora."
    ),
    OpenApiParameter("both_bad", OpenApiTypes.STR, enum=["0", "1"], description="0: without “both are bad”."),
    OpenApiParameter("include_excluded", OpenApiTypes.STR, enum=["0", "1"], description="1: with set-aside votes."),
    OpenApiParameter("tree_size", OpenApiTypes.INT, description="Go back to that many entries of the log."),
]


class RowSerializer(serializers.Serializer[Any]):
    """A ranked contestant."""

    contestant = serializers.UUIDField()
    title = serializers.CharField()
    provider = serializers.CharField()
    licence_group = serializers.CharField()
    state = serializers.CharField()
    rank_low = serializers.IntegerField()
    rank_high = serializers.IntegerField()
    rating = serializers.FloatField()
    lower = serializers.FloatField()
    upper = serializers.FloatField()
    n_votes = serializers.IntegerField()
    win_percent = serializers.FloatField(allow_null=True)
    votes_to_flip = serializers.IntegerField(
        allow_null=True,
        help_text="Further direct votes that would swap it with the next; null for the last, and on controlled boards.",
    )
    overlap = serializers.FloatField(
        allow_null=True, help_text="Mean share of its answers' characters that stand word for word in the corpora."
    )
    n_overlap = serializers.IntegerField(help_text="Votes for which that was measured.")


class UnrankableSerializer(serializers.Serializer[Any]):
    """A contestant without rank, and why."""

    contestant = serializers.UUIDField()
    reason = serializers.CharField()


class PlainList(serializers.ListField):
    """A list of plain values as it is: looking at each of 20,000 pairs takes longer than all the rest."""

    def to_representation(self, data: Any) -> Any:
        """Return the list."""
        return data


class BoardSerializer(serializers.Serializer[Any]):
    """A leaderboard with all that is needed to compute it again. `id` is null for one made on demand.

    `pairs`: first, second, first won, second won, ties, both bad.
    """

    id = serializers.UUIDField(allow_null=True)
    season = serializers.CharField()
    is_simulated = serializers.BooleanField()
    slice = serializers.DictField()
    tree_size = serializers.IntegerField()
    policy = serializers.IntegerField()
    n_votes = serializers.IntegerField()
    input_digest = serializers.CharField()
    entry = serializers.UUIDField(allow_null=True)
    created_at = serializers.DateTimeField(allow_null=True)
    ratings = RowSerializer(many=True)
    unrankable = UnrankableSerializer(many=True)
    method = serializers.DictField()
    pairs = PlainList(child=serializers.ListField())
    n_without_overlap = serializers.IntegerField(
        allow_null=True, help_text="Votes of the slice without a measured overlap; null where the rules measure none."
    )


class LeaderboardSerializer(serializers.ModelSerializer[Leaderboard]):
    """A published snapshot without its figures."""

    season: serializers.SlugRelatedField[Any] = serializers.SlugRelatedField(slug_field="slug", read_only=True)
    slice = serializers.DictField(source="parameters.slice")
    policy: serializers.SlugRelatedField[Any] = serializers.SlugRelatedField(slug_field="version", read_only=True)
    entry = serializers.UUIDField(source="entry_id")

    class Meta:
        model = Leaderboard
        fields = [
            "id", "season", "slice", "tree_size", "policy", "n_votes", "input_digest", "result_digest", "entry",
            "created_at",
        ]  # fmt: skip


def present_board(board: Board) -> dict[str, Any]:
    """Return a board as its JSON says it."""
    rows = board_rows(board, contestants_of(board.season))
    names = RowSerializer().fields.keys()
    return {
        "id": board.published.pk if board.published else None,
        "season": board.season.slug,
        "is_simulated": board.season.is_simulated,
        "slice": board.chosen.to_json(),
        "tree_size": board.tree_size,
        "policy": board.policy.version,
        "n_votes": board.n_votes,
        "input_digest": board.input_digest,
        "entry": board.published.entry_id if board.published else None,
        "created_at": board.published.created_at if board.published else None,
        "ratings": [
            {
                **{name: row[name] for name in names if name in row},
                "title": row["object"].shown_title,
                "provider": row["object"].provider.slug,
                "licence_group": row["object"].licence_group,
            }
            for row in rows
        ],
        "unrankable": board.result["unrankable"],
        "method": board.result["method"],
        "pairs": board.pairs,
        "n_without_overlap": board.result.get("overlap", {}).get("n_without"),
    }


class LeaderboardNow(APIView):
    """The newest leaderboard, or any slice."""

    @extend_schema(parameters=SLICE, responses={200: BoardSerializer, 400: PROBLEM, 404: PROBLEM})
    def get(self, request: Request) -> Response:
        """Return a season's newest leaderboard, or any slice of it at any tree size, made on demand."""
        query = request.query_params
        board = find_board(get_season(query.get("season")), query)
        return Response(BoardSerializer(present_board(board)).data)


class LeaderboardList(ListAPIView[Leaderboard]):
    """All published snapshots, newest first; none ever goes away."""

    serializer_class = LeaderboardSerializer
    queryset = Leaderboard.objects.none()

    def get_queryset(self) -> Any:
        """Return the snapshots, of one season if one is named."""
        rows = Leaderboard.objects.select_related("season", "policy").defer("result", "pairs")
        slug = self.request.query_params.get("season")
        return rows.filter(season=get_season(slug)) if slug else rows

    @extend_schema(parameters=[SEASON])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Return published leaderboards; those that publish a private variant's rating are among them."""
        return super().get(request, *args, **kwargs)


class LeaderboardDetail(APIView):
    """One published snapshot."""

    @extend_schema(responses={200: BoardSerializer, 404: PROBLEM})
    def get(self, request: Request, board_id: uuid.UUID) -> Response:
        """Return a snapshot, which never changes."""
        row = get_object_or_404(Leaderboard.objects.select_related("season", "policy", "entry"), pk=board_id)
        return Response(BoardSerializer(present_board(published_board(row))).data)
