"""REST resources under /api/v1/."""

from __future__ import annotations

from django.urls import path

from arena.api import quality
from arena.streaming import battle_stream

urlpatterns = [
    path("arena/battles/<uuid:battle_id>/stream/", battle_stream, name="api-arena-battle-stream"),
    path("arena/quality/", quality.QualityDetail.as_view(), name="api-arena-quality"),
]
