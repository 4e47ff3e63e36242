"""Puts what a remote index answered into a trace's result. Knows neither network nor database."""

from __future__ import annotations

from typing import Any

from tracer.numbers import covered_share
from tracer.remote_answers import RemoteAnswer


def merge_answer(result: dict[str, Any], answer: RemoteAnswer, *, corpus: str, n_characters: int) -> None:
    """Add a remote corpus's spans, counts and documents to a result; a span at the same place is told once."""
    at = {(span["start"], span["end"]): span for span in result["spans"]}
    for span in answer.spans:
        known = at.setdefault((span["start"], span["end"]), span)
        if known is not span:
            known["counts"].update(span["counts"])
            known["matches"] = sorted([*known["matches"], *span["matches"]], key=lambda m: -m["relevance_score"])
    result["spans"] = sorted(at.values(), key=lambda span: (span["start"], -span["end"]))
    result["documents"] = sorted(
        [*result["documents"], *answer.documents], key=lambda document: (-document["relevance_score"], document["id"])
    )
    result["corpora"].append({"slug": corpus, "indexes": answer.digests, "remote": True})
    result["coverage"] = covered_share(result["spans"], n_characters)
    result["coverage_by_corpus"][corpus] = covered_share(answer.spans, n_characters)
