"""REST resources under /api/v1/."""

from __future__ import annotations

from django.urls import path

from arena.streaming import battle_stream

urlpatterns = [
    path("arena/battles/<uuid:battle_id>/stream/", battle_stream, name="api-arena-battle-stream"),
]
