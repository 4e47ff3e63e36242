"""REST resources under /api/v1/."""

from __future__ import annotations

from django.urls import path, re_path

from tracer import api, api_batches, api_builds, api_bulletins, api_ngrams
from tracer.api_settings import TraceSettings

urlpatterns = [
    path("corpora/", api.CorpusList.as_view(), name="api-corpus-list"),
    path("corpora/<slug:slug>/", api.CorpusDetail.as_view(), name="api-corpus-detail"),
    path("corpora/<slug:slug>/builds/", api_builds.BuildList.as_view(), name="api-build-list"),
    path("builds/<uuid:build_id>/", api_builds.BuildDetail.as_view(), name="api-build-detail"),
    path("builds/<uuid:build_id>/resume/", api_builds.BuildResume.as_view(), name="api-build-resume"),
    path("builds/<uuid:build_id>/discard/", api_builds.BuildDiscard.as_view(), name="api-build-discard"),
    path("corpora/<slug:slug>/search/", api_ngrams.CorpusSearch.as_view(), name="api-corpus-search"),
    path("corpora/<slug:slug>/ngrams/count/", api_ngrams.NgramCount.as_view(), name="api-ngram-count"),
    path("corpora/<slug:slug>/ngrams/next/", api_ngrams.NgramNext.as_view(), name="api-ngram-next"),
    path(
        "corpora/<slug:slug>/ngrams/probability/", api_ngrams.NgramProbability.as_view(), name="api-ngram-probability"
    ),
    path("traces/", api.TraceCreate.as_view(), name="api-trace-create"),
    path("traces/settings/", TraceSettings.as_view(), name="api-trace-settings"),
    path("traces/batch/", api_batches.BatchCreate.as_view(), name="api-batch-create"),
    path("traces/batch/<uuid:batch_id>/", api_batches.BatchDetail.as_view(), name="api-batch-detail"),
    path("traces/batch/<uuid:batch_id>/results.jsonl", api_batches.BatchResults.as_view(), name="api-batch-results"),
    path("traces/<uuid:trace_id>/spans/", api.TraceSpans.as_view(), name="api-trace-spans"),
    path("traces/<uuid:trace_id>/documents/", api.TraceDocuments.as_view(), name="api-trace-documents"),
    path("traces/<uuid:trace_id>/", api.TraceDetail.as_view(), name="api-trace-detail"),
    re_path(
        r"^traces/(?P<trace_id>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/export\.(?P<kind>json|csv|md)$",
        api.TraceExport.as_view(),
        name="api-trace-export",
    ),
    path("benchmarks/", api_bulletins.BenchmarkList.as_view(), name="api-benchmark-list"),
    path("bulletins/", api_bulletins.BulletinList.as_view(), name="api-bulletin-list"),
    path("bulletins/<uuid:bulletin_id>/", api_bulletins.BulletinDetail.as_view(), name="api-bulletin-detail"),
    path("bulletins/<uuid:bulletin_id>/cancel/", api_bulletins.BulletinCancel.as_view(), name="api-bulletin-cancel"),
    path("bulletins/<uuid:bulletin_id>/resume/", api_bulletins.BulletinResume.as_view(), name="api-bulletin-resume"),
    path("bulletins/<uuid:bulletin_id>/items/", api_bulletins.BulletinItems.as_view(), name="api-bulletin-items"),
    re_path(
        r"^bulletins/(?P<bulletin_id>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/export\.(?P<kind>json|csv)$",
        api_bulletins.BulletinExport.as_view(),
        name="api-bulletin-export",
    ),
    path("documents/<slug:corpus>/<path:key>/", api.DocumentDetail.as_view(), name="api-document-detail"),
]
