"""How PostgreSQL keeps the results of traces."""

from __future__ import annotations

import json

import pytest
from django.db import connection

from tracer.models import Trace


@pytest.mark.django_db
@pytest.mark.skipif(connection.vendor != "postgresql", reason="PostgreSQL's compression")
def test_results_are_compressed_by_lz4_where_the_server_can() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT enumvals FROM pg_settings WHERE name = 'default_toast_compression'")
        methods = cursor.fetchone()[0]
        cursor.execute(
            "SELECT attcompression FROM pg_attribute WHERE attrelid = 'tracer_trace'::regclass AND attname = 'result'"
        )
        assert cursor.fetchone()[0] == ("l" if "lz4" in methods else "")
        result = {"spans": [{"text": "The carousel turns and the music plays on."}] * 1000}
        trace = Trace.objects.create(text="a", corpora=[], parameters={}, result=result)
        cursor.execute("SELECT pg_column_compression(result) FROM tracer_trace")
        assert cursor.fetchone()[0] == ("lz4" if "lz4" in methods else "pglz")
    assert json.dumps(Trace.objects.get(pk=trace.pk).result) == json.dumps(result)
