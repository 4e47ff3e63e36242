"""Opt-out: an owner's expert leaves this site, everywhere at once, and comes back when they want.

The row decides. Questions are refused by it from its commit on; each process that holds weights
looks at it before every answer and every second or two (`engines.honour_opt_outs`), takes the
expert out of memory and ends the answers that use it. Other apps follow by name
(`settings.OPT_OUT_FOLLOWERS`).
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable

import structlog
from django.conf import settings
from django.contrib.auth.models import Group
from django.db import transaction
from django.utils import timezone
from django.utils.module_loading import import_string

from tracer.models import Corpus
from webapp.errors import BadInputError, ConflictError, ForbiddenError, NotFoundError
from webapp.ownership import Author
from webapp.playground import engines
from webapp.playground.models import Expert, OptOut
from webapp.playground.publication import log_opt_out
from webapp.text import storable
from webapp.transparency.services import salted_text_hash

log = structlog.get_logger(__name__)
OPERATOR = Author(is_operator=True)
MAX_REASON = 2000


def opt_out(*, subject: str, reason: str, author: Author) -> OptOut:
    """Withdraw an expert (`checkpoint/expert`, or its slug alone) or all experts of an owner (the owner's name).

    An owner's withdrawal also holds for checkpoints that are added later. Raises `NotFoundError`
    for an unknown subject, `BadInputError` for an ambiguous one or no reason, `ForbiddenError` unless
    the author is an operator or belongs to the expert's owners, `ConflictError` when it is out already.
    """
    reason = storable(reason).strip()
    if not reason:
        raise BadInputError("Give the reason. It is kept here; the log holds its hash alone.", field="reason")
    if len(reason) > MAX_REASON:
        raise BadInputError(f"The reason has {len(reason)} characters; at most {MAX_REASON} are taken.", field="reason")
    owner, expert = find_subject(subject)
    with transaction.atomic():
        affected = _lock(owner, expert)
        check_may_switch(affected, author, is_whole_owner=expert is None)
        if OptOut.objects.in_force().filter(owner=owner, expert=expert).exists():
            raise ConflictError(f"{expert or owner} has opted out already.")
        before = _available(affected)
        salt, digest = salted_text_hash(reason)
        row = OptOut.objects.create(
            owner=owner, expert=expert, reason=reason, reason_salt=salt, created_by_id=author.user_id
        )
        for gone in before - _available(affected):
            log_opt_out(gone, "out", digest)
        transaction.on_commit(_announce)
    log.info("opted out", owner=owner, expert=str(expert or "all"))
    return row


def opt_in(*, subject: str, author: Author) -> OptOut:
    """End an opt-out. Raises as `opt_out` does; `ConflictError` when it is not in force."""
    owner, expert = find_subject(subject)
    with transaction.atomic():
        affected = _lock(owner, expert)
        check_may_switch(affected, author, is_whole_owner=expert is None)
        row = OptOut.objects.in_force().filter(owner=owner, expert=expert).first()
        if row is None:
            through = OptOut.objects.in_force().filter(owner=owner, expert=None).exists()
            advice = f" {owner} has opted out as a whole: take that back." if through else ""
            raise ConflictError(f"{expert or owner} has not opted out.{advice}")
        before = _available(affected)
        row.ended_at, row.ended_by_id = timezone.now(), author.user_id
        row.save(update_fields=["ended_at", "ended_by"])
        for back in _available(affected) - before:
            log_opt_out(back, "in")
        transaction.on_commit(_announce)
    log.info("opted in", owner=owner, expert=str(expert or "all"))
    return row


def end_opt_out(opt_out_id: uuid.UUID, *, author: Author) -> OptOut:
    """End an opt-out by its id, as `opt_in` does; raises `NotFoundError` for an unknown id."""
    row = OptOut.objects.select_related("expert__checkpoint").filter(pk=opt_out_id).first()
    if row is None:
        raise NotFoundError("There is no such opt-out.")
    if row.ended_at is not None:
        raise ConflictError(f"The opt-out of {row} has ended already.")
    return opt_in(subject=str(row), author=author)


def find_subject(subject: str) -> tuple[str, Expert | None]:
    """Return an owner's name and the expert meant, None for all of the owner's.

    An owner is known by experts, or by an opt-out that stands although no expert is left.
    """
    subject = storable(subject.strip())
    experts = Expert.objects.select_related("checkpoint")
    checkpoint, _, slug = subject.rpartition("/")
    if checkpoint and (expert := experts.filter(checkpoint__slug=checkpoint, slug=slug).first()):
        return expert.owner, expert
    if experts.filter(owner=subject).exists() or OptOut.objects.filter(owner=subject, expert=None).exists():
        return subject, None
    found = list(experts.filter(slug=subject))
    if len(found) > 1:
        raise BadInputError(f"{subject!r} is an expert of several checkpoints. Say {', '.join(map(str, found))}.")
    if not found:
        owners = ", ".join(sorted(set(experts.values_list("owner", flat=True)))) or "none"
        raise NotFoundError(f"There is no owner, expert or checkpoint/expert {subject!r}. Owners: {owners}.")
    return found[0].owner, found[0]


def switchable(experts: Iterable[Expert], author: Author) -> list[Expert]:
    """Return those that somebody may withdraw, and whose use they may see.

    Operators may all, others those of which, or of whose corpus, their group is the owner.
    """
    if author.is_operator:
        return list(experts)
    if author.user_id is None:
        return []
    groups = set(Group.objects.filter(user=author.user_id).values_list("pk", flat=True))
    own = set(Corpus.objects.filter(owner_group__in=groups).values_list("slug", flat=True)) if groups else set()
    return [expert for expert in experts if expert.owner_group_id in groups or expert.corpus_slug in own]


def may_switch(expert: Expert, author: Author) -> bool:
    """Tell whether somebody may withdraw an expert."""
    return bool(switchable([expert], author))


def may_end(row: OptOut, author: Author) -> bool:
    """Tell whether somebody may end an opt-out."""
    return author.is_operator or (row.expert is not None and may_switch(row.expert, author))


def check_may_switch(experts: list[Expert], author: Author, *, is_whole_owner: bool) -> None:
    """Raise `ForbiddenError` unless the author may withdraw them; an owner's name as such only the operator may."""
    if author.is_operator:
        return
    if is_whole_owner or not all(may_switch(expert, author) for expert in experts):
        raise ForbiddenError("Only the expert's owners and the operators may do this.")


def _lock(owner: str, expert: Expert | None) -> list[Expert]:
    rows = Expert.objects.select_for_update(of=("self",)).select_related("checkpoint").filter(owner=owner)
    return list(rows.filter(pk=expert.pk) if expert else rows)


def _available(experts: list[Expert]) -> set[Expert]:
    there = set(Expert.objects.available().values_list("pk", flat=True))
    return {expert for expert in experts if expert.pk in there}


def _announce() -> None:
    """Tell this process's engines and the apps that follow; whoever fails catches up by itself later."""
    for follow in (engines.honour_opt_outs, *map(import_string, settings.OPT_OUT_FOLLOWERS)):
        try:
            follow()
        except Exception:
            log.exception("an opt-out could not be followed at once", follower=follow.__qualname__)
