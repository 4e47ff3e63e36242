"""Makes a release: one at a time on the whole site, table by table, so that a killed worker's successor goes on.

Memory holds one batch of votes. A finished table is kept with its digest in the job's row; making
it again would give the same bytes.
"""

from __future__ import annotations

import json
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import structlog
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from arena.models import ArenaExport
from arena.releases.cards import CONTESTANT_COLUMNS, Facts, croissant_card, readme
from arena.releases.records import Record
from arena.releases.schemas import Row, Schema
from arena.releases.tables import TABLES
from arena.services import boards
from arena.services.release_records import Extent, contestant_rows
from arena.services.releases import folder_of, publish
from arena.services.seasons import current_policy, rules_of
from arena.services.slices import OVERLAP, Slice
from webapp.errors import FairgroundError
from webapp.jobs import JobStatus
from webapp.queueing import requeue_jobs
from webapp.transparency.services import public_key, sequence_entries

log = structlog.get_logger(__name__)
MAX_STARTS = 3
PULSE_S = 2.0


class ReleaseTakenError(Exception):
    """Another worker has taken the release over, or a text in it was erased: what this one made is void."""


def run_release(release_id: uuid.UUID | str) -> None:
    """Make a release that waits, then the next one. May run twice: what is taken or done is left alone."""
    waiting: uuid.UUID | str | None = release_id
    while waiting is not None:
        release = _claim(waiting)
        if release is None:
            return
        _make(release)
        waiting = (
            ArenaExport.objects.filter(status=JobStatus.PENDING)
            .order_by("created_at")
            .values_list("pk", flat=True)
            .first()
        )


def _claim(release_id: uuid.UUID | str) -> ArenaExport | None:
    """Take a release that waits, unless another one is being made; None when there is nothing to do."""
    with transaction.atomic():
        unfinished = list(
            ArenaExport.objects.select_for_update(of=("self",))
            .filter(status__in=[JobStatus.PENDING, JobStatus.RUNNING])
            .select_related("season")
            .order_by("created_at")
        )
        if any(row.status == JobStatus.RUNNING for row in unfinished):
            return None
        release: ArenaExport | None = next((row for row in unfinished if str(row.pk) == str(release_id)), None)
        if release is None:
            return None
        if release.n_starts >= MAX_STARTS:
            _fail(release, f"Making it ended the worker {release.n_starts} times; the operator finds why in the log.")
            return None
        if release.erased_at and release.started_at and release.erased_at >= release.started_at:
            release.files = []
        release.n_starts += 1
        release.status, release.error = JobStatus.RUNNING, ""
        release.started_at = release.heartbeat_at = timezone.now()
        release.save()
    return release


def _make(release: ArenaExport) -> None:
    try:
        files = _Maker(release).make()
        if publish(release, files):
            sequence_entries()
            log.info("release is open", release=str(release.pk), season=release.season.slug)
        else:
            _again(release)
    except ReleaseTakenError:
        _again(release)
    except (FairgroundError, OSError) as error:
        _fail(release, str(error))
    except Exception:
        log.exception("release failed", release=str(release.pk))
        _fail(release, f"An unexpected error; the operator finds it in the log under {release.pk}.")


def _again(release: ArenaExport) -> None:
    """Let a release whose text was erased meanwhile be made from the beginning."""
    own = ArenaExport.objects.filter(pk=release.pk, status=JobStatus.RUNNING, started_at=release.started_at)
    own.update(status=JobStatus.PENDING, files=[], n_starts=0)


def _fail(release: ArenaExport, error: str) -> None:
    log.warning("release failed", release=str(release.pk), error=error)
    own = ArenaExport.objects.filter(pk=release.pk, started_at=release.started_at).exclude(status=JobStatus.DONE)
    own.update(status=JobStatus.FAILED, error=error, finished_at=timezone.now())


def requeue_unfinished(*, older_than_s: float) -> int:
    """Queue releases again that the queue lost or whose worker shows no life; return how many."""
    from arena import tasks

    return requeue_jobs(ArenaExport.objects.all(), tasks.make_release, older_than_s=older_than_s)


def facts_of(release: ArenaExport) -> Facts:
    """Return what the card and the README say."""
    season = release.season
    then = season.policies.filter(entry__index__lt=release.votes_size).order_by("-version").first()
    rules = rules_of(then or current_policy(season))
    return Facts(
        id=str(release.pk),
        season=season.slug,
        title=season.title,
        is_simulated=season.is_simulated,
        tree_size=release.tree_size,
        votes_size=release.votes_size,
        n_votes=release.n_votes,
        n_withheld=release.n_withheld,
        date=release.created_at.date().isoformat(),
        licence=settings.RELEASE_LICENCE,
        level=str(rules.level),
        min_votes=rules.min_votes,
        log_key=public_key().to_text(),
    )


class _Maker:
    """Writes the files of one claimed release."""

    def __init__(self, release: ArenaExport) -> None:
        self.release = release
        self.folder = folder_of(release)
        self.extent = Extent(release.season, release.tree_size, release.votes_size, release.created_at)
        self.files: list[dict[str, Any]] = list(release.files)
        self._seen = time.monotonic()

    def make(self) -> list[dict[str, Any]]:
        """Write what is missing; return all files."""
        if not self.files:
            shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        for schema in TABLES:
            if not self._has(f"{schema.name}.jsonl", f"{schema.name}.parquet"):
                records = self.extent.told() if schema.is_open else self.extent.withheld()
                self._table(schema.name, schema.all_columns, self._rows(schema, records))
        if not self._has("contestants.jsonl", "contestants.parquet"):
            self._table("contestants", CONTESTANT_COLUMNS, [contestant_rows(self.extent)])
        self._leaderboard()
        self._cards()
        return self.files

    def _has(self, *names: str) -> bool:
        known = {file["name"]: file["n_bytes"] for file in self.files}
        paths = [self.folder / name for name in names]
        return all(path.name in known and path.is_file() and path.stat().st_size == known[path.name] for path in paths)

    def _rows(self, schema: Schema, batches: Iterable[list[Record]]) -> Iterator[list[Row]]:
        for batch in batches:
            self._pulse()
            yield [schema.row(record) for record in batch]

    def _table(self, name: str, columns: Any, batches: Iterable[Sequence[Row]]) -> None:
        from arena.releases.files import write_table

        self._keep(*(file.to_json() for file in write_table(self.folder, name, columns, batches)))

    def _text(self, name: str, text: str) -> None:
        from arena.releases.files import write_text

        self._keep(write_text(self.folder, name, text).to_json())

    def _keep(self, *files: dict[str, Any]) -> None:
        names = {file["name"] for file in files}
        self.files = sorted([f for f in self.files if f["name"] not in names] + list(files), key=lambda f: f["name"])
        self._pulse(force=True, files=self.files)

    def _pulse(self, *, force: bool = False, **values: Any) -> None:
        """Show a sign of life; stop when the release is another's now, or a text in it was erased."""
        if not force and time.monotonic() - self._seen < PULSE_S:
            return
        self._seen = time.monotonic()
        own = ArenaExport.objects.filter(
            pk=self.release.pk, status=JobStatus.RUNNING, started_at=self.release.started_at
        ).exclude(erased_at__gte=self.release.started_at)
        if not own.update(heartbeat_at=timezone.now(), **values):
            raise ReleaseTakenError

    def _leaderboard(self) -> None:
        self._board("leaderboard.json", Slice())
        self._board("leaderboard-overlap.json", Slice(overlap=True))

    def _board(self, name: str, chosen: Slice) -> None:
        """Write a board of the votes told; one controlled for overlap only if they can tell what overlap does."""
        board = boards.compute_board(self.release.season, chosen, size=self.release.votes_size)
        if chosen.overlap and OVERLAP not in board.result["method"]["covariates"]:
            return
        names = self.extent.names
        shown = {
            "season": board.season.slug,
            "simulated": board.season.is_simulated,
            "tree_size": board.tree_size,
            "policy": board.policy.version,
            "n_votes": board.n_votes,
            "input_digest": board.input_digest,
            **board.result,
            "names": {row["contestant"]: names[row["contestant"]] for row in board.result["ratings"]},
        }
        self._text(name, json.dumps(shown, indent=1, ensure_ascii=False) + "\n")

    def _cards(self) -> None:
        facts = facts_of(self.release)
        self._text("README.md", readme(facts, self.files))
        card = croissant_card(facts, [f for f in self.files if f["name"] != "croissant.json"])
        self._text("croissant.json", json.dumps(card, indent=1, ensure_ascii=False) + "\n")
