"""Addresses under /v1/, as OpenAI's clients know them."""

from __future__ import annotations

from django.urls import path, re_path

from webapp.playground.openai import views

urlpatterns = [
    path("models", views.model_list, name="openai-model-list"),
    path("models/<str:slug>", views.model_detail, name="openai-model-detail"),
    path("chat/completions", views.chat_completions, name="openai-chat-completions"),
    path("completions", views.completions, name="openai-completions"),
    re_path(r"^.*$", views.unknown),
]
