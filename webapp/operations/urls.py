"""Health, metrics, and the operator's page."""

from __future__ import annotations

from django.urls import path

from webapp.operations import health, metrics, views

app_name = "operations"
urlpatterns = [
    path("health/live", health.live, name="live"),
    path("health/ready", health.ready, name="ready"),
    path("metrics", metrics.metrics, name="metrics"),
    path("operations/", views.overview, name="overview"),
    path("operations/<slug:kind>/<uuid:job_id>/<slug:action>/", views.act, name="act"),
]
