"""REST resources of contamination bulletins and of the benchmarks that the site keeps by name."""

from __future__ import annotations

import uuid
from typing import Any

from django.db.models import Q, QuerySet
from django.http import HttpResponse
from django.urls import reverse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.generics import ListAPIView
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tracer import benchmark_files, bulletins
from tracer.api import IDEMPOTENCY_KEY, PROBLEM, PageSerializer, PartSerializer, SharingSerializer
from tracer.bulletin_report import FORMATS, LEVELS, list_items, present_bulletin
from tracer.engine.tokens import as_encodable
from tracer.models import Benchmark, Bulletin
from webapp.errors import BadInputError
from webapp.idempotency import answer_once
from webapp.jobs import JobStatus
from webapp.ownership import Visibility, author_of
from webapp.parsing import ShallowJSONParser


class BulletinRequestSerializer(serializers.Serializer[Any]):
    """A benchmark, new or known, and the corpora to look in."""

    title = serializers.CharField(max_length=200, required=False, help_text="Of a new benchmark.")
    lines = serializers.CharField(
        required=False, trim_whitespace=False, help_text="A new benchmark: JSON lines, one item on each, up to 2.5 MiB."
    )
    file = serializers.FileField(
        required=False, help_text="The same as a file, up to 10 MiB; send the body as multipart/form-data."
    )
    field = serializers.CharField(
        max_length=100,
        required=False,
        help_text='Of each line, the field to measure; dots go into objects: "doc.text".',
    )
    benchmark = serializers.CharField(
        max_length=100, required=False, help_text="Instead of lines: slug or id of a benchmark that is here already."
    )
    corpora = serializers.ListField(
        child=serializers.CharField(),
        required=False,
        allow_null=True,
        default=None,
        help_text="Slugs; default: all with an index here. The server of a remote index gets the items if it is named.",
    )
    visibility = serializers.ChoiceField(
        choices=Visibility.choices, required=False, default=Visibility.LINK.value, help_text="Who may read it."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Ask for either a new benchmark or a known one."""
        if sum(name in attrs for name in ("lines", "file", "benchmark")) != 1:
            raise serializers.ValidationError(
                {"lines": ["Give one of lines and file (each with title and field) and benchmark."]}
            )
        if "benchmark" not in attrs and (missing := [name for name in ("title", "field") if name not in attrs]):
            raise serializers.ValidationError({name: ["A new benchmark needs it."] for name in missing})
        return attrs


class BenchmarkSerializer(serializers.Serializer[Benchmark]):
    """A benchmark by its digest."""

    id = serializers.UUIDField()
    slug = serializers.CharField(allow_null=True)
    title = serializers.CharField()
    field = serializers.CharField()
    digest = serializers.CharField(help_text="SHA-256 of its items.")
    n_items = serializers.IntegerField()


class LevelsSerializer(serializers.Serializer[Any]):
    """How many items have each level: a number, "<k" where small numbers are blurred, null where none is told."""

    clean = serializers.JSONField()
    suspicious = serializers.JSONField()
    dirty = serializers.JSONField()
    short = serializers.JSONField(help_text="Items shorter than a window, which are not judged.")


class BulletinPartSerializer(serializers.Serializer[Any]):
    """One corpus of a bulletin; `is_open` tells whether items and examples may be seen."""

    corpus = serializers.CharField()
    title = serializers.CharField()
    owner = serializers.CharField(allow_blank=True)
    licence = serializers.CharField(allow_blank=True)
    index = serializers.CharField(allow_blank=True, help_text="Digest of the index that was searched.")
    unit = serializers.CharField(allow_blank=True)
    unavailable = serializers.CharField(allow_blank=True, help_text="Why it could not be measured.")
    is_open = serializers.BooleanField()
    n_measured = serializers.IntegerField(allow_null=True)
    n_undecided = serializers.IntegerField(allow_null=True, help_text="Windows that would have cost too much.")
    levels = LevelsSerializer()
    examples = serializers.ListField(child=serializers.DictField())


class BulletinSerializer(serializers.Serializer[Any]):
    """A bulletin as it may be shown now."""

    id = serializers.UUIDField()
    status = serializers.ChoiceField(choices=JobStatus.choices)
    error = serializers.CharField(allow_blank=True)
    created_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)
    visibility = serializers.ChoiceField(choices=Visibility.choices)
    benchmark = BenchmarkSerializer()
    window_characters = serializers.IntegerField()
    suspicious_from_percent = serializers.IntegerField()
    dirty_from_percent = serializers.IntegerField()
    fraction = serializers.FloatField(help_text="How much of the work is done.")
    parts = BulletinPartSerializer(many=True)


class BulletinEntrySerializer(serializers.Serializer[Bulletin]):
    """A bulletin in a list."""

    id = serializers.UUIDField()
    status = serializers.ChoiceField(choices=JobStatus.choices)
    benchmark = BenchmarkSerializer()
    visibility = serializers.ChoiceField(choices=Visibility.choices)
    created_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)


class ItemQuerySerializer(PageSerializer):
    """Which items of which corpus."""

    corpus = serializers.CharField(max_length=60)
    level = serializers.ChoiceField(choices=LEVELS, required=False, allow_blank=True, default="")


class BenchmarkList(ListAPIView[Benchmark]):
    """The benchmarks that the site keeps by name."""

    serializer_class = BenchmarkSerializer
    queryset = Benchmark.objects.exclude(slug=None).defer("n_windows")


class BulletinList(ListAPIView[Bulletin]):
    """Bulletins."""

    serializer_class = BulletinEntrySerializer
    queryset = Bulletin.objects.all()
    parser_classes = [ShallowJSONParser, MultiPartParser]

    def get_queryset(self) -> QuerySet[Bulletin]:
        """Return one's own bulletins and those listed for everyone."""
        own = Bulletin.objects.owned_by(author_of(self.request)).values("pk")
        found = Bulletin.objects.filter(Q(pk__in=own) | Q(visibility=Visibility.PUBLIC))
        return found.select_related("benchmark").defer("benchmark__n_windows")

    @extend_schema(responses={200: BulletinEntrySerializer(many=True)})
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Return a page of one's own bulletins and those listed for everyone, newest first."""
        return self.list(request, *args, **kwargs)

    @extend_schema(
        request=BulletinRequestSerializer,
        parameters=[IDEMPOTENCY_KEY],
        responses={202: BulletinSerializer, 400: PROBLEM, 404: PROBLEM, 409: PROBLEM, 413: PROBLEM, 503: PROBLEM},
    )
    def post(self, request: Request) -> Response:
        """Queue a bulletin; the answer's Location is where it will be."""
        asked = BulletinRequestSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        values, author = asked.validated_data, author_of(request)
        content = _content(values)

        def create() -> Response:
            bulletin = bulletins.measure_benchmark(
                content=content,
                field=values.get("field", ""),
                title=values.get("title", ""),
                benchmark=values.get("benchmark", ""),
                corpora=values["corpora"],
                author=author,
                visibility=values["visibility"],
            )
            location = reverse("api-bulletin-detail", args=[bulletin.pk])
            return Response(present_bulletin(bulletin, author=author), status=202, headers={"Location": location})

        return answer_once(request, create, content=content or b"")


def _content(values: dict[str, Any]) -> bytes | None:
    """Return the benchmark that came along, or None; of a file one byte more than may be taken is enough."""
    if "file" in values:
        read: bytes = values["file"].read(benchmark_files.MAX_UPLOAD_BYTES + 1)
        return read
    return as_encodable(values["lines"]).encode() if "lines" in values else None


class BulletinDetail(APIView):
    """One bulletin."""

    @extend_schema(responses={200: BulletinSerializer, 404: PROBLEM})
    def get(self, request: Request, bulletin_id: uuid.UUID) -> Response:
        """Return a bulletin; poll until its status is done, failed or cancelled."""
        author = author_of(request)
        return Response(present_bulletin(bulletins.get_bulletin(bulletin_id, author=author), author=author))

    @extend_schema(
        request=SharingSerializer, responses={200: BulletinSerializer, 400: PROBLEM, 403: PROBLEM, 404: PROBLEM}
    )
    def patch(self, request: Request, bulletin_id: uuid.UUID) -> Response:
        """Change who may read one's own bulletin."""
        asked = SharingSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        author = author_of(request)
        bulletin = bulletins.share_bulletin(bulletin_id, author=author, **asked.validated_data)
        return Response(present_bulletin(bulletin, author=author))

    @extend_schema(responses={204: None, 403: PROBLEM, 404: PROBLEM})
    def delete(self, request: Request, bulletin_id: uuid.UUID) -> Response:
        """Delete one's own bulletin for good, with its benchmark unless others measure it."""
        bulletins.delete_bulletin(bulletin_id, author=author_of(request))
        return Response(status=204)


class BulletinCancel(APIView):
    """The end of a bulletin."""

    @extend_schema(request=None, responses={200: BulletinSerializer, 403: PROBLEM, 404: PROBLEM, 409: PROBLEM})
    def post(self, request: Request, bulletin_id: uuid.UUID) -> Response:
        """Stop one's own bulletin; what was measured is kept."""
        author = author_of(request)
        return Response(present_bulletin(bulletins.cancel_bulletin(bulletin_id, author=author), author=author))


class BulletinResume(APIView):
    """Another try."""

    @extend_schema(
        request=None, responses={202: BulletinSerializer, 403: PROBLEM, 404: PROBLEM, 409: PROBLEM, 503: PROBLEM}
    )
    def post(self, request: Request, bulletin_id: uuid.UUID) -> Response:
        """Let one's own bulletin that failed or was cancelled go on where it ended."""
        author = author_of(request)
        bulletin = bulletins.request_resume(bulletin_id, author=author)
        return Response(present_bulletin(bulletin, author=author), status=202)


class BulletinItems(APIView):
    """The items of a bulletin."""

    @extend_schema(
        parameters=[ItemQuerySerializer], responses={200: PartSerializer, 400: PROBLEM, 403: PROBLEM, 404: PROBLEM}
    )
    def get(self, request: Request, bulletin_id: uuid.UUID) -> Response:
        """Return a page of items measured in a corpus that is open to the asker: windows, found, share, level."""
        asked = ItemQuerySerializer(data=request.query_params.dict())
        asked.is_valid(raise_exception=True)
        values, author = asked.validated_data, author_of(request)
        bulletin = bulletins.get_bulletin(bulletin_id, author=author)
        start, size, corpus, level = (values[name] for name in ("start", "page_size", "corpus", "level"))
        count, page = list_items(bulletin, corpus=corpus, level=level, author=author, start=start, size=size)
        query = f"corpus={corpus}&level={level}&start={start + size}&page_size={size}"
        following = request.build_absolute_uri(f"{request.path}?{query}") if start + size < count else None
        return Response({"count": count, "next": following, "results": page})


class BulletinExport(APIView):
    """A finished bulletin as a file."""

    @extend_schema(
        parameters=[OpenApiParameter("kind", str, OpenApiParameter.PATH, enum=["json", "csv"])],
        responses={
            (200, "application/json"): OpenApiTypes.OBJECT,
            (200, "text/csv"): OpenApiResponse(OpenApiTypes.STR),
            400: PROBLEM,
            404: PROBLEM,
        },
    )
    def get(self, request: Request, bulletin_id: uuid.UUID, kind: str) -> HttpResponse:
        """Return the bulletin with every item of the corpora that are open to the asker."""
        author = author_of(request)
        bulletin = bulletins.get_bulletin(bulletin_id, author=author)
        if not bulletin.is_finished:
            raise BadInputError("The bulletin is not finished. Ask again when its status is done.")
        content_type, render = FORMATS[kind]
        response = HttpResponse(render(bulletin, author), content_type=f"{content_type}; charset=utf-8")
        response["Content-Disposition"] = f'attachment; filename="bulletin-{bulletin_id}.{kind}"'
        return response
