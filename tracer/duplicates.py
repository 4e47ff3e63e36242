"""Tells documents of a trace that have the same text as one, with the others as its copies.

Works on what its viewer may see, after `tracer.disclosure`: a document that is not shown is no copy of another.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

COPY_FACTS = ("id", "corpus", "title", "is_readable")
Document = dict[str, Any]


def merge_copies(documents: Sequence[Document], spans: Sequence[dict[str, Any]]) -> list[Document]:
    """Return the documents with `n_copies` and `copies`; matches in `spans` then name the document that stands.

    That is a readable one if any is, else the most relevant. One that was taken down stands for itself.
    """
    groups: dict[int | str, list[Document]] = defaultdict(list)
    for document in documents:
        number = document.pop("same_text", None)  # traces made before it was told have none
        groups[document["id"] if number is None or document["removed"] else number].append(document)
    merged: list[Document] = []
    standing: dict[str, Document] = {}
    for group in groups.values():
        kept = max(group, key=lambda document: document["is_readable"])  # of equals the first
        copies = [document for document in group if document is not kept]
        kept["n_copies"] = len(copies)
        kept["copies"] = [{name: copy[name] for name in COPY_FACTS} for copy in copies]
        standing |= {copy["id"]: kept for copy in copies}
        merged.append(kept)
    for span in spans if standing else ():
        span["matches"] = _renamed(span["matches"], standing)
    return merged


def standing_for(documents: Sequence[Document], document: str) -> str:
    """Return the id of the document that stands for one of these, itself if it is no copy."""
    return next((d["id"] for d in documents if any(copy["id"] == document for copy in d["copies"])), document)


def _renamed(matches: Sequence[dict[str, Any]], standing: dict[str, Document]) -> list[dict[str, Any]]:
    """Return one match a document: the text is the same, so a copy's match is its document's, too."""
    kept: dict[str, dict[str, Any]] = {}
    for match in matches:
        document = standing.get(match["document"])
        if document is not None:
            match = {**match, "document": document["id"], "corpus": document["corpus"]}
        kept.setdefault(match["document"], match)
    return list(kept.values())
