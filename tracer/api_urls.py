"""REST resources under /api/v1/."""

from __future__ import annotations

from django.urls import path, re_path

from tracer import api

urlpatterns = [
    path("corpora/", api.CorpusList.as_view(), name="api-corpus-list"),
    path("corpora/<slug:slug>/", api.CorpusDetail.as_view(), name="api-corpus-detail"),
    path("traces/", api.TraceCreate.as_view(), name="api-trace-create"),
    path("traces/<uuid:trace_id>/", api.TraceDetail.as_view(), name="api-trace-detail"),
    re_path(
        r"^traces/(?P<trace_id>[0-9a-f-]{36})/export\.(?P<kind>csv|md)$",
        api.TraceExport.as_view(),
        name="api-trace-export",
    ),
    path("documents/<slug:corpus>/<path:key>/", api.DocumentDetail.as_view(), name="api-document-detail"),
]
