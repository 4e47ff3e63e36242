"""REST resources of opt-outs: which owners withdrew what, and withdrawing."""

from __future__ import annotations

import uuid
from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tracer.api import IDEMPOTENCY_KEY, PROBLEM
from webapp.accounts.models import Scope
from webapp.idempotency import answer_once
from webapp.ownership import author_of
from webapp.playground import optout
from webapp.playground.models import OptOut


class OptOutSerializer(serializers.ModelSerializer[OptOut]):
    """An owner's withdrawal of one `expert` (checkpoint/expert), or of all they own when that is null.

    In force until `ended_at`. The reason is for owners and operators; the log holds its salted hash.
    """

    expert = serializers.SerializerMethodField()

    class Meta:
        model = OptOut
        fields = ["id", "owner", "expert", "created_at", "ended_at"]

    def get_expert(self, row: OptOut) -> str | None:
        """Return checkpoint/expert."""
        return str(row.expert) if row.expert else None


class OptOutRequestSerializer(serializers.Serializer[Any]):
    """What is withdrawn, and why."""

    subject = serializers.CharField(help_text="checkpoint/expert, an expert's slug, or an owner's name for all theirs.")
    reason = serializers.CharField(max_length=optout.MAX_REASON)


class OptOutCollection(ListAPIView[OptOut]):
    """Opt-outs, newest first."""

    scope: ClassVar = Scope.MANAGE
    queryset = OptOut.objects.select_related("expert__checkpoint")
    serializer_class = OptOutSerializer

    @extend_schema(
        request=OptOutRequestSerializer,
        parameters=[IDEMPOTENCY_KEY],
        responses={201: OptOutSerializer, 400: PROBLEM, 403: PROBLEM, 404: PROBLEM, 409: PROBLEM},
    )
    def post(self, request: Request) -> Response:
        """Withdraw an expert, or all of an owner. For their owners and for operators; needs the scope manage."""
        asked = OptOutRequestSerializer(data=request.data)
        asked.is_valid(raise_exception=True)

        def create() -> Response:
            row = optout.opt_out(**asked.validated_data, author=author_of(request))
            return Response(OptOutSerializer(row).data, status=201)

        return answer_once(request, create)


class OptOutEnd(APIView):
    """The end of an opt-out."""

    scope: ClassVar = Scope.MANAGE

    @extend_schema(request=None, responses={200: OptOutSerializer, 403: PROBLEM, 404: PROBLEM, 409: PROBLEM})
    def post(self, request: Request, opt_out_id: uuid.UUID) -> Response:
        """Let the experts be used again. For those who may withdraw them."""
        row = optout.end_opt_out(opt_out_id, author=author_of(request))
        return Response(OptOutSerializer(row).data)
