"""REST resources under /api/v1/."""

from __future__ import annotations

from django.urls import path

from webapp.transparency import api

urlpatterns = [
    path("log/entries/", api.LogEntryList.as_view(), name="api-log-entries"),
    path("log/entries/<str:entry>/", api.LogEntryDetail.as_view(), name="api-log-entry"),
    path("log/entries/<str:entry>/proof/", api.LogEntryProof.as_view(), name="api-log-proof"),
    path("log/checkpoints/", api.LogCheckpointList.as_view(), name="api-log-checkpoints"),
    path("log/checkpoints/<int:tree_size>/", api.LogCheckpointDetail.as_view(), name="api-log-checkpoint"),
    path("log/checkpoint", api.LogCheckpointNewest.as_view(), name="api-log-checkpoint-newest"),
    path("log/consistency/", api.LogConsistency.as_view(), name="api-log-consistency"),
    path("log/key/", api.LogKey.as_view(), name="api-log-key"),
    path("log/export/", api.LogExport.as_view(), name="api-log-export"),
]
