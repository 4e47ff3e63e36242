"""Pieces of a highlighted text join to it and never make a link without a name."""

from __future__ import annotations

from typing import Any

from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from tests.tracer.conftest import MakeCorpus
from tracer import services
from tracer.highlighting import segments
from tracer.models import Trace


@st.composite
def texts_with_spans(draw: st.DrawFn) -> tuple[str, list[dict[str, Any]]]:
    text = draw(st.text(max_size=40))
    offsets = st.tuples(st.integers(0, len(text)), st.integers(0, len(text))).map(sorted)
    levels = st.sampled_from(["low", "medium", "high"])
    spans = [{"start": a, "end": b, "relevance": draw(levels)} for a, b in draw(st.lists(offsets, max_size=6))]
    return text, spans


@given(texts_with_spans())
def test_pieces_join_to_the_text_and_name_the_spans_over_each_character(
    case: tuple[str, list[dict[str, Any]]],
) -> None:
    text, spans = case
    pieces = segments(text, spans)
    assert "".join(piece.text for piece in pieces) == text
    over = [piece.spans for piece in pieces for _ in piece.text]
    for place, found in enumerate(over):
        assert found == tuple(i for i, span in enumerate(spans) if span["start"] <= place < span["end"])


def test_page_makes_no_link_of_white_space_when_a_span_is_blank(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus(texts=("a\n\n\n\nb", "c"))
    trace = services.request_trace(text="x\n\n\n\ny")
    services.run_trace(trace.pk)
    trace.refresh_from_db()
    span = {"start": 1, "end": 5, "text": "\n\n\n\n", "length_tokens": 4, "unigram_logprob": -1.0}
    assert trace.result is not None
    result = {**trace.result, "spans": [{**span, "relevance": "low", "counts": {"fair": 1}, "matches": []}]}
    Trace.objects.filter(pk=trace.pk).update(result=result)
    body = client.get(trace.get_absolute_url()).content.decode()
    assert '<span class="span relevance-low">\n\n\n\n</span>' in body
    assert ">white space</a>" in body
