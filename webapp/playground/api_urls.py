"""REST resources under /api/v1/."""

from __future__ import annotations

from django.urls import path

from webapp.playground import api, api_comparisons, api_opt_outs
from webapp.playground.streaming import generation_stream, matches_stream_view
from webapp.playground.streaming_comparisons import comparison_stream

urlpatterns = [
    path("experts/", api.ExpertList.as_view(), name="api-expert-list"),
    path("opt-outs/", api_opt_outs.OptOutCollection.as_view(), name="api-opt-out-list"),
    path("opt-outs/<uuid:opt_out_id>/end/", api_opt_outs.OptOutEnd.as_view(), name="api-opt-out-end"),
    path("checkpoints/", api.CheckpointList.as_view(), name="api-checkpoint-list"),
    path("comparisons/", api_comparisons.ComparisonCreate.as_view(), name="api-comparison-create"),
    path("comparisons/<uuid:comparison_id>/", api_comparisons.ComparisonDetail.as_view(), name="api-comparison-detail"),
    path("comparisons/<uuid:comparison_id>/stream/", comparison_stream, name="api-comparison-stream"),
    path(
        "comparisons/<uuid:comparison_id>/trace/",
        api_comparisons.ComparisonTrace.as_view(),
        name="api-comparison-trace",
    ),
    path("generations/", api.GenerationCreate.as_view(), name="api-generation-create"),
    path("generations/<uuid:generation_id>/", api.GenerationDetail.as_view(), name="api-generation-detail"),
    path("generations/<uuid:generation_id>/stream/", generation_stream, name="api-generation-stream"),
    path("generations/<uuid:generation_id>/matches/", matches_stream_view, name="api-generation-matches"),
    path("generations/<uuid:generation_id>/cancel/", api.GenerationCancel.as_view(), name="api-generation-cancel"),
    path("generations/<uuid:generation_id>/routing/", api.GenerationRouting.as_view(), name="api-generation-routing"),
    path("generations/<uuid:generation_id>/trace/", api.GenerationTrace.as_view(), name="api-generation-trace"),
]
