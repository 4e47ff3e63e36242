"""Pages."""

from __future__ import annotations

from django.urls import path

from tracer import views, views_search

app_name = "tracer"
urlpatterns = [
    path("corpora/", views.corpus_list, name="corpus-list"),
    path("corpora/<slug:slug>/", views.corpus_detail, name="corpus-detail"),
    path("corpora/<slug:slug>/search/", views_search.corpus_search, name="corpus-search"),
    path("documents/<slug:corpus>/<path:key>/", views.document_detail, name="document-detail"),
    path("traces/", views.trace_list, name="trace-list"),
    path("traces/<uuid:trace_id>/", views.trace_detail, name="trace-detail"),
    path("traces/<uuid:trace_id>/share/", views.trace_share, name="trace-share"),
    path("traces/<uuid:trace_id>/delete/", views.trace_delete, name="trace-delete"),
]
