"""The verbatim overlap of answers with corpora: measured once after the close.

Before the close nothing is measured, since a search could tell who answered. A battle's numbers are those
of the settings that the policy of its epoch publishes; a board counts those of the policy in force.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import rfc8785
import structlog
from django.db import IntegrityError, transaction
from django.utils import timezone

from arena import answers
from arena.models import Battle, Overlap, OverlapJob, OverlapOutcome, Policy
from arena.services.seasons import rules_of
from tracer.engine import EngineError
from tracer.overlap import MeasuredOverlap, has_indexes, measure_overlap
from webapp.away import AWAY
from webapp.jobs import JobStatus
from webapp.queueing import enqueue_on_commit, requeue_jobs
from webapp.signs_of_life import signs_of_life
from webapp.transparency.services import append_entry

log = structlog.get_logger(__name__)
MAX_STARTS = 3
SIDES = answers.SIDES


class Unmeasured(Exception):
    """The answers cannot be measured, now or later; the message is the reason as the log says it."""


def settings_of(policy: Policy) -> dict[str, Any]:
    """Return the settings that a policy publishes; a policy from before overlap was measured has none."""
    return rules_of(policy).overlap_settings() if "overlap_min_tokens" in policy.rules else {}


def settings_digest(settings: Mapping[str, Any]) -> str:
    """Return the SHA-256 of settings, as log entries name them."""
    return hashlib.sha256(rfc8785.dumps(dict(settings))).hexdigest()


def request_overlap(battle: Battle) -> None:
    """Queue the measurement of a battle that closes with a vote, in the transaction of its close."""
    if battle.season.is_simulated or battle.is_pre_release or not settings_of(battle.epoch.policy) or not has_indexes():
        return
    from arena import tasks

    job = OverlapJob.objects.create(battle=battle)
    enqueue_on_commit(tasks.measure_overlap, job.pk)


def run_overlap(job_id: int | str) -> None:
    """Measure a battle's answers and write the one entry about them. May run twice; what is finished is left alone.

    A measurement that fails is tried again when its row has shown no life for a while, and told as
    unmeasured after `MAX_STARTS` times.
    """
    job = _claim(job_id)
    if job is None:
        return
    found: MeasuredOverlap | str
    try:
        with signs_of_life(job):
            found = _measure(job.battle) if job.n_starts <= MAX_STARTS else "failed"
    except Unmeasured as reason:
        found = str(reason)
    except AWAY as error:
        log.warning("the database or Redis is away; the overlap waits", battle=str(job.battle_id), error=str(error))
        return
    except EngineError as error:
        log.warning("overlap not measured", battle=str(job.battle_id), error=str(error), n_starts=job.n_starts)
        if job.n_starts < MAX_STARTS:
            return
        found = "index-damaged"
    except Exception:
        log.exception("overlap not measured", battle=str(job.battle_id), n_starts=job.n_starts)
        if job.n_starts < MAX_STARTS:
            return
        found = "failed"
    _finish(job, found)


def _claim(job_id: int | str) -> OverlapJob | None:
    with transaction.atomic():
        jobs = OverlapJob.objects.select_for_update(of=("self",)).select_related(
            "battle__season", "battle__epoch__policy"
        )
        job: OverlapJob | None = jobs.filter(pk=job_id).first()
        if job is None or job.is_finished:
            return None
        job.n_starts += 1
        job.status = JobStatus.RUNNING
        job.started_at = job.heartbeat_at = timezone.now()
        job.save(update_fields=["n_starts", "status", "started_at", "heartbeat_at"])
    return job


def _measure(battle: Battle) -> MeasuredOverlap:
    turns = answers.turns_of(battle)
    if any(not hasattr(turn, "text") for turn in turns):
        raise Unmeasured("erased")
    texts = [answers.side_text(turns, side) for side in SIDES]
    found = measure_overlap(texts, parameters=settings_of(battle.epoch.policy))
    if not found.indexes:
        raise Unmeasured("no-index")
    return found


def _finish(job: OverlapJob, found: MeasuredOverlap | str) -> None:
    """Write what was found, or why nothing was, and end the job; another worker may have done so meanwhile."""
    try:
        with transaction.atomic():
            locked = OverlapJob.objects.select_for_update(of=("self",)).get(pk=job.pk)
            if not locked.is_finished:
                write_overlap(job.battle, found)
            OverlapJob.objects.filter(pk=job.pk).update(status=JobStatus.DONE, finished_at=timezone.now())
    except IntegrityError as error:
        log.warning("overlap not written", battle=str(job.battle_id), error=str(error))
        OverlapJob.objects.filter(pk=job.pk).update(status=JobStatus.DONE, finished_at=timezone.now())


def write_overlap(battle: Battle, found: MeasuredOverlap | str) -> Overlap:
    """Write the entry of a closed battle's overlap, in the caller's transaction. found: or the reason for none.

    Raises `IntegrityError` when there is one already, or the battle did not close with a vote.
    """
    settings = settings_digest(settings_of(battle.epoch.policy))
    outcome = OverlapOutcome.UNMEASURED if isinstance(found, str) else OverlapOutcome.MEASURED
    body: dict[str, Any] = {"season": battle.season.slug, "battle": str(battle.pk), "settings": settings}
    values: dict[str, Any] = {}
    if isinstance(found, str):
        body["reason"] = values["reason"] = found
    else:
        for side, covered, characters in zip(SIDES, found.covered, found.characters, strict=True):
            body[side] = {"covered": covered, "characters": characters}
            values |= {f"covered_{side}": covered, f"characters_{side}": characters}
        body["indexes"] = values["indexes"] = [{"corpus": slug, "index": digest} for slug, digest in found.indexes]
    entry = append_entry(kind="overlap", body={**body, "outcome": outcome.value})
    row: Overlap = Overlap.objects.create(battle=battle, outcome=outcome, settings=settings, entry=entry, **values)
    return row


def requeue_unfinished(*, older_than_s: float) -> int:
    """Queue measurements again that the queue lost or whose worker shows no life; return how many."""
    from arena import tasks

    return requeue_jobs(OverlapJob.objects.all(), tasks.measure_overlap, older_than_s=older_than_s)


def share(covered: int | None, characters: int | None) -> float:
    """Return which share of an answer is covered; of no characters none is."""
    return covered / characters if covered and characters else 0.0
