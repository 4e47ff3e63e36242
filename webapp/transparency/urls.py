"""Pages."""

from __future__ import annotations

from django.urls import path

from webapp.transparency import views

app_name = "transparency"
urlpatterns = [
    path("log/", views.log, name="log"),
    path("log/check/", views.check, name="check"),
    path("log/verify.py", views.offline_verifier, name="offline-verifier"),
    path("log/checkpoints/", views.checkpoints, name="checkpoints"),
    path("log/checkpoints/<int:tree_size>/", views.checkpoint, name="checkpoint"),
    path("log/entries/<str:entry>/", views.entry, name="entry"),
]
