"""Addresses for clients of other tracing services, under /compat/."""

from __future__ import annotations

from django.urls import path

from tracer.compat_infinigram import InfiniGram

urlpatterns = [
    path("infini-gram/", InfiniGram.as_view(), name="compat-infini-gram"),
]
