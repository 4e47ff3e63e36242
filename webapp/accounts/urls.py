"""Pages of one's account; django-allauth's stand beside them under /account/."""

from __future__ import annotations

from django.urls import path

from webapp.accounts import views

app_name = "accounts"
urlpatterns = [
    path("account/", views.overview, name="overview"),
    path("account/tokens/", views.tokens, name="tokens"),
    path("account/tokens/<str:digest>/revoke/", views.revoke, name="token-revoke"),
    path("account/data/", views.export, name="export"),
    path("account/delete/", views.delete, name="delete"),
]
