"""REST resources of owners: the same as their pages, for the same people."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.generics import ListAPIView
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tracer.api import PROBLEM
from tracer.models import Corpus
from webapp.errors import ForbiddenError
from webapp.owners.reading import ContestantUse, ExpertView, OwnerView, find_owner, last_day, list_owners, read_owner
from webapp.ownership import author_of
from webapp.pagination import CreatedCursorPagination
from webapp.playground import optout
from webapp.playground.expert_days import figures_of, with_totals
from webapp.playground.models import Expert, ExpertDay

EXPERT = OpenApiParameter("expert", OpenApiTypes.STR, description="checkpoint/expert; all of the owner's without.")


class OwnerLineSerializer(serializers.Serializer[Any]):
    """An owner, with how many experts and corpora the asker can see; `is_mine`: some are of the asker's groups."""

    slug = serializers.CharField()
    name = serializers.CharField()
    n_experts = serializers.IntegerField()
    n_corpora = serializers.IntegerField()
    is_mine = serializers.BooleanField()


class OwnerListSerializer(serializers.Serializer[Any]):
    """All owners by name."""

    results = OwnerLineSerializer(many=True)


class ContributionSerializer(serializers.Serializer[Any]):
    """What the owner declared with the weights, and who merged them when; null is what was not kept."""

    title = serializers.CharField()
    owner = serializers.CharField()
    licence = serializers.CharField()
    corpus = serializers.CharField(allow_null=True)
    weights_sha256 = serializers.CharField(allow_null=True, help_text="Of the file that was sent.")
    matrices_sha256 = serializers.CharField(
        allow_null=True, default=None, help_text="Of the matrices in it, which the merged weights hold bit for bit."
    )
    base_digest = serializers.CharField(help_text="Of the public model that it was trained from.")
    n_corpus_tokens = serializers.IntegerField()
    n_training_tokens = serializers.IntegerField()
    public_share = serializers.FloatField(help_text="Share of public text in its training.")
    seed = serializers.IntegerField()
    measured = serializers.DictField(
        child=serializers.ListField(child=serializers.FloatField()),
        help_text='"own" and "public": loss in nats per token before and after training.',
    )
    merged_at = serializers.CharField(allow_null=True)
    merged_by = serializers.CharField()
    note = serializers.CharField(default="", help_text="How a record came about that was not written while merging.")


class ContestantUseSerializer(serializers.Serializer[ContestantUse]):
    """A contestant that needs the expert."""

    id = serializers.UUIDField(source="contestant.pk")
    title = serializers.CharField()
    season = serializers.CharField(source="contestant.season.slug")
    state = serializers.CharField()


class OwnedExpertSerializer(serializers.Serializer[ExpertView]):
    """An expert, what was contributed, and where it is used.

    `contribution` is null where the checkpoint's folder has no record; `is_mine`: the asker may withdraw it and see
    its days; `withdrawn_since` is null while it may be used.
    """

    expert = serializers.CharField(help_text="checkpoint/expert.")
    title = serializers.CharField(source="expert.title")
    licence = serializers.CharField(source="expert.licence")
    corpus = serializers.CharField(source="expert.corpus_slug")
    checkpoint = serializers.CharField(source="expert.checkpoint.slug")
    checkpoint_digest = serializers.CharField(source="expert.checkpoint.digest")
    opt_out_exact = serializers.BooleanField(source="expert.checkpoint.opt_out_exact")
    registered_at = serializers.DateTimeField(source="expert.checkpoint.created_at")
    is_mine = serializers.BooleanField()
    withdrawn_since = serializers.DateTimeField(source="opt_out.created_at", default=None, allow_null=True)
    opt_out = serializers.UUIDField(source="opt_out.pk", default=None, allow_null=True, help_text="In /opt-outs/.")
    contribution = serializers.SerializerMethodField()
    contestants = ContestantUseSerializer(many=True)

    @extend_schema_field(ContributionSerializer(allow_null=True))
    def get_contribution(self, view: ExpertView) -> dict[str, Any] | None:
        """Return the record, None without."""
        record = view.expert.contribution
        return dict(ContributionSerializer(record).data) if record else None


class OwnedCorpusSerializer(serializers.ModelSerializer[Corpus]):
    """A corpus of the owner, in short."""

    class Meta:
        model = Corpus
        fields = ["slug", "title", "licence", "disclosure", "n_documents"]


class OwnerSerializer(serializers.Serializer[OwnerView]):
    """An owner with all that the asker may see."""

    slug = serializers.CharField()
    name = serializers.CharField()
    experts = OwnedExpertSerializer(many=True)
    corpora = OwnedCorpusSerializer(many=True)


class ExpertDaySerializer(serializers.Serializer[ExpertDay]):
    """One expert on one day (UTC): answers with it on, their tokens, its share of routing weight.

    `share` is of all answers of its checkpoint, `share_when_on` of those in which it was switched on.
    """

    expert = serializers.CharField()
    day = serializers.DateField()
    n_answers = serializers.IntegerField()
    n_tokens = serializers.IntegerField()
    share = serializers.FloatField()
    share_when_on = serializers.FloatField()

    def to_representation(self, row: ExpertDay) -> dict[str, Any]:
        """Return the row with its shares."""
        figures = figures_of(row)
        return {
            "expert": str(row.expert),
            "day": row.day.isoformat(),
            "n_answers": row.n_answers,
            "n_tokens": row.n_tokens,
            "share": round(figures.share, 6),
            "share_when_on": round(figures.share_when_on, 6),
        }


class OwnerList(APIView):
    """All owners."""

    @extend_schema(operation_id="owners_list", responses=OwnerListSerializer)
    def get(self, request: Request) -> Response:
        """Return the owners of experts and corpora by name."""
        return Response(OwnerListSerializer({"results": list_owners(author_of(request))}).data)


class OwnerDetail(APIView):
    """One owner."""

    @extend_schema(responses={200: OwnerSerializer, 404: PROBLEM})
    def get(self, request: Request, slug: str) -> Response:
        """Return what was contributed, where it is used, and the owner's corpora."""
        return Response(OwnerSerializer(read_owner(slug, author_of(request))).data)


class DayCursorPagination(CreatedCursorPagination, CursorPagination):
    """Newest day first."""

    ordering = ("-day", "expert_id")  # type: ignore[assignment]


class OwnerDays(ListAPIView[ExpertDay]):
    """Figures of use by day."""

    serializer_class = ExpertDaySerializer
    pagination_class = DayCursorPagination
    queryset = ExpertDay.objects.none()

    def get_queryset(self) -> Any:
        """Return the days of the owner's experts that the asker may see."""
        author = author_of(self.request)
        experts = Expert.objects.select_related("checkpoint").filter(owner=find_owner(self.kwargs["slug"]))
        wanted = self.request.query_params.get("expert")
        mine = [e for e in optout.switchable(experts, author) if wanted in (None, "", str(e))]
        if not mine:
            raise ForbiddenError("Figures of use are for the groups that own the expert, and for operators.")
        rows = ExpertDay.objects.filter(expert__in=mine, day__lte=last_day(author))
        return with_totals(rows).select_related("expert__checkpoint")

    @extend_schema(parameters=[EXPERT], responses={200: ExpertDaySerializer, 403: PROBLEM, 404: PROBLEM})
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Return the days that are over, newest first; operators see today's too."""
        return super().get(request, *args, **kwargs)
