"""Pages."""

from __future__ import annotations

from django.urls import path

from webapp.playground import views, views_comparisons, views_opt_outs

app_name = "playground"
urlpatterns = [
    path("opt-outs/", views_opt_outs.opt_outs, name="opt-outs"),
    path("opt-outs/out/", views_opt_outs.opt_out, name="opt-out"),
    path("opt-outs/in/", views_opt_outs.opt_in, name="opt-in"),
    path("playground/", views.home, name="home"),
    path("playground/compare/", views_comparisons.compare, name="compare"),
    path("playground/comparisons/<uuid:comparison_id>/", views_comparisons.comparison, name="comparison"),
    path(
        "playground/comparisons/<uuid:comparison_id>/matches/",
        views_comparisons.show_matches,
        name="comparison-matches",
    ),
    path("playground/comparisons/<uuid:comparison_id>/stop/", views_comparisons.stop, name="comparison-stop"),
    path("playground/comparisons/<uuid:comparison_id>/share/", views_comparisons.share, name="comparison-share"),
    path("playground/comparisons/<uuid:comparison_id>/delete/", views_comparisons.delete, name="comparison-delete"),
    path("playground/history/", views.history, name="history"),
    path("playground/<uuid:generation_id>/", views.generation, name="generation"),
    path("playground/<uuid:generation_id>/stop/", views.stop, name="stop"),
    path("playground/<uuid:generation_id>/share/", views.share, name="share"),
    path("playground/<uuid:generation_id>/delete/", views.delete, name="delete"),
    path("playground/<uuid:generation_id>/matches/", views.show_matches, name="show-matches"),
]
