"""REST resources under /api/v1/."""

from __future__ import annotations

from django.urls import path

from webapp.owners import api

urlpatterns = [
    path("owners/", api.OwnerList.as_view(), name="api-owner-list"),
    path("owners/<slug:slug>/", api.OwnerDetail.as_view(), name="api-owner-detail"),
    path("owners/<slug:slug>/days/", api.OwnerDays.as_view(), name="api-owner-days"),
]
