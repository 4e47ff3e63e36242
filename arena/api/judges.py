"""REST resources of automatic judges: register one, give its verdicts, read how it agrees with people."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from arena.api.fields import IDEMPOTENCY_KEY, PROBLEM, SEASON
from arena.models import Judge, JudgeVerdict, Verdict
from arena.services import judges
from arena.services.judges import MAX_VERDICTS, GivenVerdict
from arena.services.seasons import get_season
from webapp.idempotency import answer_once
from webapp.ownership import author_of
from webapp.pagination import CreatedCursorPagination


class ShareSerializer(serializers.Serializer[Any]):
    """A value with its 95 % interval; null where there is too little to say. `n`: battles that it is of."""

    value = serializers.FloatField(allow_null=True)
    lower = serializers.FloatField(allow_null=True)
    upper = serializers.FloatField(allow_null=True)
    n = serializers.IntegerField(source="n_items")


class JudgeAgreementSerializer(serializers.Serializer[Any]):
    """Agreement over some battles; docs/arena-judges.md tells what each figure is."""

    n_battles = serializers.IntegerField()
    accuracy = ShareSerializer()
    kappa = ShareSerializer()
    consistency = ShareSerializer()
    first_shown = ShareSerializer()


class JudgeReportSerializer(serializers.Serializer[Any]):
    """A judge in a season. `held_out` is over verdicts given before any release told the human one."""

    slug = serializers.SlugField(source="judge.slug")
    title = serializers.CharField(source="judge.title")
    description = serializers.CharField(source="judge.description")
    created_at = serializers.DateTimeField(source="judge.created_at")
    n_judged = serializers.IntegerField()
    n_waiting = serializers.IntegerField(help_text="Battles whose human verdict no release has told yet.")
    held_out = JudgeAgreementSerializer()
    categories = serializers.DictField(child=JudgeAgreementSerializer(), help_text="Of the held-out ones.")
    afterwards = JudgeAgreementSerializer(help_text="Over battles judged when the human verdict was known.")


class JudgeRequestSerializer(serializers.Serializer[Any]):
    """A judge: one model with one prompt. Another version is another judge."""

    slug = serializers.CharField()
    title = serializers.CharField()
    description = serializers.CharField(required=False, default="", allow_blank=True)


class JudgeNameSerializer(serializers.ModelSerializer[Judge]):
    """A judge as it was registered."""

    class Meta:
        model = Judge
        fields = ["slug", "title", "description", "created_at"]


class GivenVerdictSerializer(serializers.Serializer[Any]):
    """A verdict. `is_swapped`: side b was shown to the judge first; `verdict` names the battle's sides all the same."""

    battle = serializers.UUIDField()
    verdict = serializers.ChoiceField(choices=Verdict.choices)
    is_swapped = serializers.BooleanField(required=False, default=False)


class VerdictsRequestSerializer(serializers.Serializer[Any]):
    """Verdicts on battles of one release; all are taken or none."""

    release = serializers.UUIDField()
    verdicts = GivenVerdictSerializer(many=True, allow_empty=False, help_text=f"1 to {MAX_VERDICTS}.")


class VerdictsReceiptSerializer(serializers.Serializer[Any]):
    """What became of them."""

    n_new = serializers.IntegerField()
    n_known = serializers.IntegerField(help_text="Given before with the same verdict.")
    n_held_out = serializers.IntegerField(help_text="Of the new ones: no release has told the human verdict.")


class ToldVerdictSerializer(serializers.ModelSerializer[JudgeVerdict]):
    """A judge's verdict on a battle whose human verdict was released."""

    battle = serializers.UUIDField(source="battle_id")

    class Meta:
        model = JudgeVerdict
        fields = ["battle", "is_swapped", "verdict", "is_held_out", "created_at"]


def user_of(request: Request) -> User | None:
    """Return who is signed in."""
    return request.user if request.user.is_authenticated else None


class JudgeCollection(APIView):
    """Judges."""

    @extend_schema(
        operation_id="arena_judges_list",
        parameters=[SEASON],
        responses={200: JudgeReportSerializer(many=True), 404: PROBLEM},
    )
    def get(self, request: Request) -> Response:
        """Return the judges of a season, the most accurate on held-out verdicts first."""
        reports = judges.report_judges(get_season(request.query_params.get("season")))
        return Response(JudgeReportSerializer(reports, many=True).data)

    @extend_schema(
        request=JudgeRequestSerializer,
        parameters=[IDEMPOTENCY_KEY],
        responses={201: JudgeNameSerializer, 400: PROBLEM, 403: PROBLEM, 409: PROBLEM},
    )
    def post(self, request: Request) -> Response:
        """Register a judge in the asker's name."""
        asked = JudgeRequestSerializer(data=request.data)
        asked.is_valid(raise_exception=True)

        def create() -> Response:
            judge = judges.add_judge(user=user_of(request), **asked.validated_data)
            answer = Response(JudgeNameSerializer(judge).data, status=201)
            answer["Location"] = reverse("api-arena-judge", args=[judge.slug])
            return answer

        return answer_once(request, create)


class JudgeDetail(APIView):
    """One judge."""

    @extend_schema(parameters=[SEASON], responses={200: JudgeReportSerializer, 404: PROBLEM})
    def get(self, request: Request, slug: str) -> Response:
        """Return how a judge agrees with people in a season."""
        season = get_season(request.query_params.get("season"))
        return Response(JudgeReportSerializer(judges.report_judge(judges.get_judge(slug), season)).data)


class JudgeVerdictCollection(ListAPIView[JudgeVerdict]):
    """A judge's verdicts."""

    serializer_class = ToldVerdictSerializer
    pagination_class = CreatedCursorPagination
    queryset = JudgeVerdict.objects.none()

    def get_queryset(self) -> Any:
        """Return verdicts whose human verdict was told."""
        season = get_season(self.request.query_params.get("season"))
        return judges.told_verdicts(judges.get_judge(self.kwargs["slug"]), season)

    @extend_schema(parameters=[SEASON])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Return a judge's verdicts on battles whose human verdicts were released; the others follow with these."""
        return super().get(request, *args, **kwargs)

    @extend_schema(
        request=VerdictsRequestSerializer,
        parameters=[IDEMPOTENCY_KEY],
        responses={200: VerdictsReceiptSerializer, 400: PROBLEM, 403: PROBLEM, 404: PROBLEM, 409: PROBLEM},
    )
    def post(self, request: Request, slug: str) -> Response:
        """Give verdicts on battles of a release, in one order of the answers or both, as the judge's owner.

        A verdict stands: the same again changes nothing, another one is 409.
        """
        judge = judges.get_judge(slug)
        asked = VerdictsRequestSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        values = asked.validated_data

        def create() -> Response:
            receipt = judges.submit_verdicts(
                judge=judge,
                author=author_of(request),
                release_id=values["release"],
                verdicts=[GivenVerdict(**given) for given in values["verdicts"]],
            )
            return Response(VerdictsReceiptSerializer(receipt).data)

        return answer_once(request, create)
