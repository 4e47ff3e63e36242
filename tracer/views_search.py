"""The page that searches one corpus: documents with a phrase, counts, next words, probabilities."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_GET

from tracer import ngrams
from tracer.models import Corpus
from webapp.errors import FairgroundError
from webapp.ownership import author_of

KINDS = {
    "documents": "Documents with it",
    "next": "Words that follow it",
    "infinite": "Words that follow its longest known ending",
    "probability": "Probability of its last token",
}
MAX_LISTED_TOKENS = 20


@require_GET
def corpus_search(request: HttpRequest, slug: str) -> HttpResponse:
    """Answer `?query=` of a `?kind=`; without a query show the form."""
    corpus = get_object_or_404(Corpus, slug=slug)
    query = request.GET.get("query", "")
    kind = request.GET.get("kind", "documents")
    context: dict[str, Any] = {"corpus": corpus, "query": query, "kinds": KINDS, "kind": kind if kind in KINDS else ""}
    status = 200
    if query:
        try:
            opened = ngrams.open_corpus(slug, author_of(request))
            context |= {"policy": opened.policy, **_answer(opened, context["kind"] or "documents", query)}
        except FairgroundError as error:
            context["error"], status = error, error.status
    return render(request, "tracer/corpus_search.html", context, status=status)


def _answer(opened: ngrams.Opened, kind: str, query: str) -> dict[str, Any]:
    if kind == "documents":
        found = ngrams.find_documents(opened, query)
        hits = [(hit, *_pieces(hit)) for hit in found.documents or ()]
        return {"found": found, "hits": hits}
    ids = ngrams.tokenize(opened, query, field="query")
    tokens = [ngrams.token_text(opened, token) for token in ids]
    if kind == "probability":
        return {"probability": ngrams.probability(opened, ids, is_infinite=True), "tokens": tokens}
    following = ngrams.next_tokens(opened, ids, is_infinite=kind == "infinite")
    suffix = "".join(tokens[len(tokens) - following.n_suffix_tokens :])
    return {"following": following, "listed": following.tokens[:MAX_LISTED_TOKENS], "tokens": tokens, "suffix": suffix}


def _pieces(hit: ngrams.Hit) -> tuple[str, str, str]:
    text, start, end = hit.snippet, hit.snippet_start, hit.snippet_end
    return text[:start], text[start:end], text[end:]
