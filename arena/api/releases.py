"""REST resources of releases: the list, one release, its files; operators begin one."""

from __future__ import annotations

import uuid
from typing import Any

from django.http import StreamingHttpResponse
from django.urls import reverse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from arena.api.fields import IDEMPOTENCY_KEY, PROBLEM, SEASON
from arena.models import ArenaExport
from arena.services import releases
from arena.services.seasons import get_season
from arena.views.downloads import send_file
from webapp.errors import ForbiddenError
from webapp.idempotency import answer_once
from webapp.jobs import JobStatus
from webapp.ownership import author_of
from webapp.pagination import CreatedCursorPagination
from webapp.transparency.services import sequence_entries


class ReleasedFileSerializer(serializers.Serializer[Any]):
    """A file with its address; `n_rows` is null where it holds no table."""

    name = serializers.CharField()
    n_bytes = serializers.IntegerField()
    sha256 = serializers.CharField()
    n_rows = serializers.IntegerField(allow_null=True)
    url = serializers.CharField()


class ReleaseSerializer(serializers.Serializer[Any]):
    """A release. Verdicts of votes closed below `votes_size` are told, `n_withheld` later ones are not.

    `files` is empty until the release is done, and while it is made again because a text was erased.
    """

    id = serializers.UUIDField()
    season = serializers.CharField()
    is_simulated = serializers.BooleanField()
    status = serializers.ChoiceField(choices=JobStatus.choices)
    error = serializers.CharField()
    tree_size = serializers.IntegerField()
    votes_size = serializers.IntegerField()
    n_votes = serializers.IntegerField()
    n_withheld = serializers.IntegerField()
    digest = serializers.CharField()
    entry = serializers.UUIDField(allow_null=True)
    files = ReleasedFileSerializer(many=True)
    created_at = serializers.DateTimeField()
    released_at = serializers.DateTimeField(allow_null=True)
    erased_at = serializers.DateTimeField(allow_null=True)

    def to_representation(self, instance: ArenaExport) -> dict[str, Any]:
        """Return a release as its JSON says it."""
        return dict(super().to_representation(present_release(instance)))


class ReleaseRequestSerializer(serializers.Serializer[Any]):
    """Of which season."""

    season = serializers.CharField(required=False, default="", allow_blank=True)


def present_release(release: ArenaExport) -> dict[str, Any]:
    """Return a release as plain values."""
    same = ("id", "status", "error", "tree_size", "votes_size", "n_votes", "n_withheld", "created_at", "released_at")
    files = release.files if release.is_open else []
    return {
        **{name: getattr(release, name) for name in same},
        "season": release.season.slug,
        "is_simulated": release.season.is_simulated,
        "digest": release.digest if release.is_open else "",
        "entry": release.entry_id,
        "erased_at": release.erased_at,
        "files": [
            {**file, "url": reverse("api-arena-release-file", args=[release.pk, file["name"]])} for file in files
        ],
    }


class ReleaseCollection(ListAPIView[ArenaExport]):
    """Releases of all seasons, or of one."""

    serializer_class = ReleaseSerializer
    pagination_class = CreatedCursorPagination
    queryset = ArenaExport.objects.none()

    def get_queryset(self) -> Any:
        """Return what was released."""
        rows = ArenaExport.objects.filter(released_at__isnull=False).select_related("season")
        slug = self.request.query_params.get("season")
        return rows.filter(season=get_season(slug)) if slug else rows

    @extend_schema(parameters=[SEASON])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Return releases, newest first; without `season`, of every season."""
        return super().get(request, *args, **kwargs)

    @extend_schema(
        request=ReleaseRequestSerializer,
        parameters=[IDEMPOTENCY_KEY],
        responses={202: ReleaseSerializer, 400: PROBLEM, 403: PROBLEM, 404: PROBLEM, 409: PROBLEM},
    )
    def post(self, request: Request) -> Response:
        """Begin a release, as an operator. It opens to everyone at the same moment, this asker included."""
        if not author_of(request).is_operator:
            raise ForbiddenError("Operators begin a release; everybody may have it when it is done.")
        asked = ReleaseRequestSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        season = get_season(asked.validated_data["season"])

        def create() -> Response:
            release = releases.request_release(season=season, is_sequenced=True)
            answer = Response(ReleaseSerializer(release).data, status=202)
            answer["Location"] = reverse("api-arena-release", args=[release.pk])
            return answer

        sequence_entries()
        return answer_once(request, create)


class ReleaseDetail(APIView):
    """One release."""

    @extend_schema(responses={200: ReleaseSerializer, 404: PROBLEM})
    def get(self, request: Request, release_id: uuid.UUID) -> Response:
        """Return a release, or one in the making."""
        return Response(ReleaseSerializer(releases.get_release(release_id)).data)


class ReleaseFile(APIView):
    """A file."""

    @extend_schema(
        operation_id="arena_releases_file",
        responses={(200, "application/octet-stream"): OpenApiTypes.BINARY, 404: PROBLEM, 409: PROBLEM},
    )
    def get(self, request: Request, release_id: uuid.UUID, name: str) -> StreamingHttpResponse:
        """Return a released file; 409 while the release is made."""
        return send_file(releases.open_file(releases.get_release(release_id), name))
