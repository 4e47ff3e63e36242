"""Releases of a season's votes: asked for, made by a job, opened to everyone at once, made again after an erasure.

A release is fixed by two tree sizes. Verdicts of votes closed below `votes_size` are told; those
from there to `tree_size` stand in the set for judges, without verdict, and are told by the next
release. Nobody gets one earlier than others: it is open when its row says so, in one transaction
with its log entry. Knows nothing of HTTP.
"""

from __future__ import annotations

import hashlib
import shutil
import uuid
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import rfc8785
import structlog
from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from arena.models import ArenaExport, Battle, BattleClose, Season, Vote
from arena.services.epochs import tree_size
from arena.services.release_records import close_index_at, season_changed_since
from arena.services.seasons import lock_season
from webapp.errors import BadInputError, ConflictError, NotFoundError
from webapp.jobs import JobStatus
from webapp.queueing import enqueue_on_commit
from webapp.transparency.services import append_entry, sequence_entries

log = structlog.get_logger(__name__)
WITHHELD_SHARE = 10  # the newest tenth of the votes
EVERY_DAYS = 7
RETRY_HOURS = 1


def request_release(*, season: Season, is_sequenced: bool = False) -> ArenaExport:
    """Queue a release of all that is in the log now; the one in the making is returned instead, if there is one.

    is_sequenced: a caller that holds a transaction has called `sequence_entries` before it. Raises
    `ConflictError` when nothing that a release holds has changed since the last one.
    """
    if not is_sequenced:
        sequence_entries()
    with transaction.atomic():
        lock_season(season)
        unfinished = ArenaExport.objects.filter(season=season, released_at=None, status__in=("pending", "running"))
        going: ArenaExport | None = unfinished.first()
        if going is not None:
            return going
        _retry_failed(season)
        last = latest_release(season)
        if last is not None and not season_changed_since(season, last.tree_size):
            raise ConflictError("Nothing has changed since the last release.", code="no-change")
        size = tree_size()
        n_votes, votes_size = split(season, size, last.tree_size if last else 0)
        closed = Vote.objects.closed().filter(battle__season=season, battle__close__entry__index__lt=size).count()
        try:
            with transaction.atomic():
                release: ArenaExport = ArenaExport.objects.create(
                    season=season,
                    tree_size=size,
                    votes_size=votes_size,
                    n_votes=n_votes,
                    n_withheld=closed - n_votes,
                )
        except IntegrityError as error:
            raise ConflictError("Another release of the season has just begun.", code="busy") from error
        _enqueue(release)
    return release


def split(season: Season, size: int, told_before: int) -> tuple[int, int]:
    """Return how many votes are told at a tree size, and the tree size below which they closed.

    The newest tenth is withheld, but nothing that the release before held (`told_before`, its tree
    size): what it withheld is told now. Simulated votes hold nothing to judge and are all told.
    """
    closed = Vote.objects.closed().filter(battle__season=season, battle__close__entry__index__lt=size)
    n = closed.count()
    told = n if season.is_simulated else n - n // WITHHELD_SHARE
    first_withheld = close_index_at(season, told, size) if told < n else None
    votes_size = max(size if first_withheld is None else first_withheld, told_before)
    return closed.filter(battle__close__entry__index__lt=votes_size).count(), votes_size


def latest_release(season: Season) -> ArenaExport | None:
    """Return the newest release that everyone may have, or could until a text in it was erased."""
    rows = ArenaExport.objects.filter(season=season, released_at__isnull=False)
    return rows.order_by("-tree_size").first()


def get_release(release_id: uuid.UUID | str) -> ArenaExport:
    """Return a release, or one in the making. Raises `NotFoundError`."""
    rows = ArenaExport.objects.select_related("season", "entry").filter(pk=release_id)
    release: ArenaExport | None = rows.first()
    if release is None:
        raise NotFoundError("There is no such release.")
    return release


def folder_of(release: ArenaExport) -> Path:
    """Return where a release's files are."""
    return Path(settings.DATA_DIR) / "releases" / str(release.pk)


def open_file(release: ArenaExport, name: str) -> Path:
    """Return the path of a file that everyone may have. Raises `NotFoundError`, `ConflictError` while it is made."""
    if not release.is_open:
        raise ConflictError("The release is being made. Ask again in a few minutes.", code="in-the-making")
    if name not in {file["name"] for file in release.files}:
        raise NotFoundError(f"The release holds no file {name}.")
    return folder_of(release) / name


def copy_release(release: ArenaExport, target: Path) -> list[str]:
    """Copy an open release's files into a new or empty folder; return their names."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise BadInputError(f"{target} holds something already. Give a new or empty folder.")
    paths = [open_file(release, file["name"]) for file in release.files]
    target.mkdir(parents=True, exist_ok=True)
    for path in paths:
        shutil.copyfile(path, target / path.name)
    return [path.name for path in paths]


def publish(release: ArenaExport, files: list[dict[str, object]]) -> bool:
    """Open a finished release to everyone with its log entry; False when a text was erased while it was made."""
    digests = {str(file["name"]): str(file["sha256"]) for file in files}
    with transaction.atomic():
        row = ArenaExport.objects.select_for_update().get(pk=release.pk)
        if row.status != JobStatus.RUNNING or row.started_at != release.started_at:
            return False
        if row.erased_at is not None and row.started_at is not None and row.erased_at >= row.started_at:
            return False
        body = {
            "season": release.season.slug,
            "release": str(row.pk),
            "tree_size": row.tree_size,
            "votes_size": row.votes_size,
            "n_votes": row.n_votes,
            "n_withheld": row.n_withheld,
            "files": digests,
        }
        if row.entry_id is not None:
            body["replaces"] = str(row.entry_id)
        now = timezone.now()
        row.entry = append_entry(kind="release", body=body)
        row.files, row.digest = files, hashlib.sha256(rfc8785.dumps(digests)).hexdigest()
        row.folder = f"releases/{row.pk}"
        row.status, row.error, row.finished_at = JobStatus.DONE, "", now
        row.released_at = row.released_at or now
        row.save()
    return True


def take_out_texts(battle: Battle) -> int:
    """Close every release that holds a battle's texts and have its files made again; in the caller's transaction."""
    lock_season(battle.season)  # no release begins meanwhile
    closed_at = BattleClose.objects.values_list("entry__index", flat=True).get(battle=battle)
    if closed_at is None:
        return 0
    n = 0
    for release in ArenaExport.objects.select_for_update().filter(season=battle.season, tree_size__gt=closed_at):
        release.erased_at = timezone.now()
        if release.status == JobStatus.DONE:
            release.status, release.n_starts, release.files = JobStatus.PENDING, 0, []
            transaction.on_commit(partial(shutil.rmtree, folder_of(release), ignore_errors=True))
            _enqueue(release)
        release.save(update_fields=["erased_at", "status", "n_starts", "files"])
        n += 1
    return n


def release_when_due(season: Season) -> ArenaExport | None:
    """Queue a release when the last one is a week old and there is something new; try again what failed an hour ago."""
    now = timezone.now()
    rest = now - timedelta(hours=RETRY_HOURS)
    _retry_failed(season, before=rest)
    last = latest_release(season)
    if last is not None and last.created_at > now - timedelta(days=EVERY_DAYS):
        return None
    if ArenaExport.objects.filter(season=season, created_at__gt=rest).exists():
        return None
    if not Vote.objects.closed().filter(battle__season=season).exists():
        return None
    try:
        return request_release(season=season)
    except ConflictError:
        return None


def _retry_failed(season: Season, *, before: datetime | None = None) -> None:
    """Let releases whose files could not be made again, before a time if one is given, have another try."""
    failed = ArenaExport.objects.filter(season=season, released_at__isnull=False, status=JobStatus.FAILED)
    for release in failed.filter(finished_at__lt=before) if before else failed:
        release.status, release.n_starts = JobStatus.PENDING, 0
        release.save(update_fields=["status", "n_starts"])
        _enqueue(release)


def _enqueue(release: ArenaExport) -> None:
    from arena import tasks

    enqueue_on_commit(tasks.make_release, release.pk)
