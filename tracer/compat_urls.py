"""Addresses for clients of other tracing services, under /compat/."""

from __future__ import annotations

from django.urls import path

from tracer.compat_counts import Counts
from tracer.compat_infinigram import InfiniGram
from tracer.compat_infinigram_api import Attribution, Indexes
from tracer.compat_windows import Windows

urlpatterns = [
    path("infini-gram/", InfiniGram.as_view(), name="compat-infini-gram"),
    path("infinigram-api/indexes", Indexes.as_view(), name="compat-infinigram-api-indexes"),
    path("infinigram-api/<slug:index>/attribution", Attribution.as_view(), name="compat-infinigram-api-attribution"),
    path("infinigram-api/<slug:index>/counts", Counts.as_view(), name="compat-infinigram-api-counts"),
    path("infinigram-api/<slug:index>/windows", Windows.as_view(), name="compat-infinigram-api-windows"),
]
