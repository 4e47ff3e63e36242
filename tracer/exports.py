"""A trace, as it may be shown, as a file: CSV rows of matches, Markdown quotations with licence and provenance."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from typing import Any

Shown = dict[str, Any]
COLUMNS = (
    "start",
    "end",
    "text",
    "corpus",
    "count",
    "document",
    "title",
    "owner",
    "licence",
    "url",
    "relevance",
    "copies",
)


def as_json(shown: Shown) -> str:
    """Return the interface's JSON."""
    return json.dumps(shown, ensure_ascii=False, indent=1)


def as_csv(shown: Shown) -> str:
    """Return one row a match, and one for a span of which only the count may be shown."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    documents = {document["id"]: document for document in shown["documents"]}
    for span in shown["spans"]:
        head = [span["start"], span["end"], span["text"]]
        for match in span["matches"]:
            document = documents[match["document"]]
            count = span["counts"].get(match["corpus"], "")
            names = ("id", "title", "owner", "licence", "url", "relevance", "n_copies")
            facts = [document[name] for name in names]
            writer.writerow(without_formulas([*head, match["corpus"], count, *facts]))
        seen = {match["corpus"] for match in span["matches"]}
        for corpus, count in span["counts"].items():
            if corpus not in seen:
                writer.writerow(without_formulas([*head, corpus, count, *[""] * 7]))
    return out.getvalue()


def without_formulas(row: list[Any]) -> list[Any]:
    """Keep spreadsheets from running a cell that begins like a formula."""
    return [f"'{cell}" if isinstance(cell, str) and cell[:1] in "=+-@\t\r" and cell else cell for cell in row]


def as_markdown(shown: Shown) -> str:
    """Return each span with its counts, then quotations: document, owner, licence, address."""
    indexes = "; ".join(f"{c['slug']} {', '.join(d[:16] for d in c['indexes'])}" for c in shown["corpora"])
    lines = [f"# Trace {shown['id']}", "", f"Made {shown['finished_at']}. Indexes: {indexes}.", ""]
    lines += ["The same words stand in these documents; that does not show that they were copied from there.", ""]
    documents = {document["id"]: document for document in shown["documents"]}
    for span in shown["spans"]:
        counts = ", ".join(f"{corpus} {count}" for corpus, count in span["counts"].items())
        lines += [f"## {span['start']}–{span['end']}: {_plain(span['text'])}", "", f"Times: {counts}.", ""]
        for match in span["matches"]:
            lines += _quotation(match, documents[match["document"]])
    return "\n".join(lines)


def _quotation(match: dict[str, Any], document: dict[str, Any]) -> list[str]:
    place = (
        f"{_plain(document['title'] or document['id'])} ({_plain(document['owner'])}, {_plain(document['licence'])})"
    )
    if match["removed"]:
        return [f"- {place}", ""]
    address = f" <{document['url']}>" if document["url"].startswith(("https://", "http://")) else ""
    copies = ", ".join(_plain(copy["id"]) for copy in document["copies"])
    also = f"; also {document['n_copies']} with the same text: {copies}" if copies else ""
    return [f"- {place}{address}{also}", "", f"  > {_plain(match['snippet'])}", ""]


def _plain(text: str) -> str:
    """Return one line that Markdown renders as it is written."""
    line = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return "".join(f"\\{c}" if c in "\\`*_[]#|~" else c for c in line)


FORMATS: dict[str, tuple[str, Callable[[Shown], str]]] = {
    "json": ("application/json", as_json),
    "csv": ("text/csv", as_csv),
    "md": ("text/markdown", as_markdown),
}
