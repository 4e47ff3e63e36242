"""Pages."""

from __future__ import annotations

from django.urls import path

from webapp.owners import views

app_name = "owners"
urlpatterns = [
    path("owners/", views.owner_list, name="owner-list"),
    path("owners/<slug:slug>/", views.owner_detail, name="owner-detail"),
]
