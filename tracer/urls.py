"""Pages."""

from __future__ import annotations

from django.urls import path

from tracer import views, views_builds, views_bulletins, views_compare, views_corpora, views_search

app_name = "tracer"
urlpatterns = [
    path("corpora/", views_corpora.corpus_list, name="corpus-list"),
    path("corpora/<slug:slug>/", views_corpora.corpus_detail, name="corpus-detail"),
    path("corpora/<slug:slug>/builds/", views_builds.build_start, name="build-start"),
    path("builds/<uuid:build_id>/<str:action>/", views_builds.build_act, name="build-act"),
    path("corpora/<slug:slug>/search/", views_search.corpus_search, name="corpus-search"),
    path("documents/<slug:corpus>/<path:key>/", views.document_detail, name="document-detail"),
    path("bulletins/", views_bulletins.bulletin_list, name="bulletin-list"),
    path("bulletins/<uuid:bulletin_id>/", views_bulletins.bulletin_detail, name="bulletin-detail"),
    path("bulletins/<uuid:bulletin_id>/share/", views_bulletins.bulletin_share, name="bulletin-share"),
    path("bulletins/<uuid:bulletin_id>/cancel/", views_bulletins.bulletin_cancel, name="bulletin-cancel"),
    path("bulletins/<uuid:bulletin_id>/resume/", views_bulletins.bulletin_resume, name="bulletin-resume"),
    path("bulletins/<uuid:bulletin_id>/delete/", views_bulletins.bulletin_delete, name="bulletin-delete"),
    path("traces/", views.trace_list, name="trace-list"),
    path("traces/compare/", views_compare.trace_compare, name="trace-compare"),
    path("traces/<uuid:trace_id>/", views.trace_detail, name="trace-detail"),
    path("traces/<uuid:trace_id>/share/", views.trace_share, name="trace-share"),
    path("traces/<uuid:trace_id>/delete/", views.trace_delete, name="trace-delete"),
]
