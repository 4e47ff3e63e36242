"""Registers corpora whose index stays with its owner, on another server."""

from __future__ import annotations

from django.conf import settings
from django.db import transaction

from tracer.engine import TraceParameters
from tracer.models import Corpus, RemoteIndex
from tracer.remote_answers import attribution_request, read_attribution
from tracer.remote_client import RemoteIndexError, RemoteServer, ask_remote
from tracer.services import SLUG
from webapp.errors import BadInputError, ConflictError, NotFoundError

DISCLOSURES = ("snippet", "counts")
MAX_TIMEOUT_S = 60.0
PROBE = "the"


def add_remote_corpus(
    *, slug: str, server: RemoteServer, owner: str, licence: str, title: str, disclosure: str = "snippet"
) -> RemoteIndex:
    """Ask the server once and register its index as a new corpus.

    Documents stay where they are, so that the corpus shows snippets or counts, never whole documents.
    Raises `BadInputError` with what is wrong or the server's reason, `ConflictError` when the slug is taken.
    """
    if not SLUG.fullmatch(slug):
        raise BadInputError(f"{slug!r} is no slug: use a–z, 0–9, - and _, at most 60.", field="slug")
    if disclosure not in DISCLOSURES:
        raise BadInputError(f"A remote corpus shows {' or '.join(DISCLOSURES)}.", field="disclosure")
    if not 0 < server.timeout_s <= MAX_TIMEOUT_S:
        raise BadInputError(f"Give a time limit of at most {MAX_TIMEOUT_S:g} seconds.", field="timeout")
    for name, value in (("owner", owner), ("licence", licence), ("title", title)):
        if not value.strip():
            raise BadInputError(f"{name} is empty: say whose text it is and under which licence.", field=name)
    probe_remote(server)
    with transaction.atomic():
        if Corpus.objects.filter(slug=slug).exists():
            raise ConflictError(f"There is a corpus {slug!r} already. Choose another slug.")
        corpus = Corpus.objects.create(
            slug=slug, title=title, owner=owner, licence=licence, disclosure=disclosure, file="", n_documents=0
        )
        return RemoteIndex.objects.create(
            corpus=corpus,
            kind=server.kind,
            url=server.url,
            name=server.name,
            key_env=server.key_env,
            timeout_s=server.timeout_s,
        )


def probe_remote(server: RemoteServer) -> None:
    """Trace one word there. Raises `BadInputError` with the reason when that gives no answer."""
    try:
        asked = attribution_request(PROBE, TraceParameters(), kind=server.kind)
        body = ask_remote(server, asked, private_hosts=settings.REMOTE_PRIVATE_HOSTS)
        read_attribution(body, text=PROBE, prompt="", corpus="probe")
    except RemoteIndexError as error:
        raise BadInputError(f"The server gave no answer: {error}", field="url") from error


def switch_remote(*, slug: str, is_enabled: bool) -> RemoteIndex:
    """Ask a remote index from now on, or no more."""
    remote = RemoteIndex.objects.filter(corpus__slug=slug).first()
    if remote is None:
        raise NotFoundError(f"Corpus {slug!r} has no remote index.")
    remote.is_enabled = is_enabled
    remote.save(update_fields=["is_enabled"])
    return remote
