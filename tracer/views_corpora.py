"""Pages of the corpora: the list with its filters, and one corpus with samples of its documents."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_GET

from tracer import build_progress, build_requests, registry
from tracer.disclosure import Policy, policy_for
from tracer.engine import IndexFileError, IndexReader
from tracer.engine.occurrences import read_passage
from tracer.models import Corpus, DisclosureChoice
from webapp.ownership import author_of

N_SAMPLES, N_TRIES, SAMPLE_TOKENS = 5, 20, 60


@require_GET
def corpus_list(request: HttpRequest) -> HttpResponse:
    """List the corpora that fit `?q=`, `?licence=` and `?disclosure=`."""
    everything = Corpus.objects.all()
    corpora = list(_filtered(everything, request).prefetch_related("indexes", "remotes"))
    context = {
        "corpora": corpora,
        "licences": everything.order_by("licence").values_list("licence", flat=True).distinct(),
        "disclosures": DisclosureChoice.choices,
        "asked": {name: request.GET.get(name, "") for name in ("q", "licence", "disclosure")},
        "is_empty": not corpora and not everything.exists(),
    }
    return render(request, "tracer/corpus_list.html", context)


def _filtered(corpora: QuerySet[Corpus], request: HttpRequest) -> QuerySet[Corpus]:
    words = request.GET.get("q", "").replace("\0", "").strip()
    if words:
        corpora = corpora.filter(
            Q(title__icontains=words)
            | Q(owner__icontains=words)
            | Q(slug__icontains=words)
            | Q(provenance__icontains=words)
        )
    if licence := request.GET.get("licence", "").replace("\0", ""):
        corpora = corpora.filter(licence=licence)
    if request.GET.get("disclosure") in DisclosureChoice.values:
        corpora = corpora.filter(disclosure=request.GET["disclosure"])
    return corpora


@dataclass(frozen=True)
class Sample:
    """The beginning of a document."""

    key: str
    title: str
    licence: str
    text: str


@require_GET
def corpus_detail(request: HttpRequest, slug: str) -> HttpResponse:
    """Show a corpus: owner, licence, provenance, indexes, and documents drawn by `?sample=` where they may be read."""
    corpus = get_object_or_404(Corpus.objects.prefetch_related("indexes", "remotes"), slug=slug)
    policy = policy_for(corpus, author_of(request))
    number = request.GET.get("sample", "")
    draw = int(number) if number.isascii() and number.isdecimal() and len(number) < 9 else 1
    context: dict[str, Any] = {
        "corpus": corpus,
        "policy": policy,
        "n_removed": corpus.takedowns.count(),
        "next_draw": draw + 1,
        "builds": build_progress.current_builds(corpus, author=author_of(request)),
        "enabled": [index for index in corpus.indexes.all() if index.is_enabled],
        "searched": registry.searched_indexes(corpus.indexes.all()),
    }
    context["may_build"] = author_of(request).is_operator and bool(corpus.file)
    if context["may_build"]:
        context["tokenizers"] = list(build_requests.tokenizers())
    context["is_building"] = any(build.status in build_progress.UNFINISHED for build in context["builds"])
    try:
        context["samples"] = _samples(corpus, policy, draw)
    except IndexFileError as error:
        context["damage"] = str(error)
    return render(request, "tracer/corpus_detail.html", context)


def _samples(corpus: Corpus, policy: Policy, draw: int) -> list[Sample]:
    """Return the beginnings of up to five documents; the same draw of the same index gives the same ones."""
    index = next(iter(registry.readable_first(corpus.indexes.all())), None)
    if index is None or not policy.may_read_documents:
        return []
    reader, hidden = registry.open_index(index), registry.hidden_documents(corpus)
    n = reader.n_documents
    numbers = random.Random(f"{index.digest}/{draw}").sample(range(n), min(n, N_TRIES))
    found = (_sample(reader, number, corpus) for number in numbers)
    return [sample for sample in found if sample.key not in hidden][:N_SAMPLES]


def _sample(reader: IndexReader, number: int, corpus: Corpus) -> Sample:
    shard, pointer = registry.pointer_of(reader, number, 0)
    passage = read_passage(reader, shard, pointer, 0, SAMPLE_TOKENS)
    facts = passage.facts
    return Sample(
        passage.key,
        str(facts.get("title", "")),
        str(facts.get("licence", "")) or corpus.licence,
        passage.text,
    )
