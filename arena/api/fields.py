"""Parameters and fields that several of the arena's resources share."""

from __future__ import annotations

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter

from tracer.api import IDEMPOTENCY_KEY, PROBLEM

SEASON = OpenApiParameter("season", OpenApiTypes.STR, description="Slug of the season; by default the main one.")
VOTER = OpenApiParameter(
    "Arena-Voter",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    description="Who someone without an account is, as an earlier answer's header of this name said.",
)

__all__ = ["IDEMPOTENCY_KEY", "PROBLEM", "SEASON", "VOTER"]
