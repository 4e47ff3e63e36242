"""The settings of a trace as a field of requests, and the REST resource that explains them."""

from __future__ import annotations

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tracer.engine.parameters import PRESETS
from tracer.trace_form import settings_schema


@extend_schema_field(settings_schema())
class ParametersField(serializers.DictField):
    """Settings by name; the service checks them."""


class TraceSettings(APIView):
    """What a trace can be told."""

    @extend_schema(responses={200: OpenApiTypes.OBJECT})
    def get(self, request: Request) -> Response:
        """Return the JSON schema of `parameters`: each setting's default, bounds and explanation, and the presets."""
        return Response({"parameters": settings_schema(), "presets": PRESETS})
