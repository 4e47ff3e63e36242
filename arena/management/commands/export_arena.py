"""`manage.py export_arena DIR`: release a season's votes to everyone, and copy the release into a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from arena.models import ArenaExport
from arena.services.release_jobs import run_release
from arena.services.releases import copy_release, get_release, latest_release, request_release
from arena.services.seasons import MAIN, get_season
from webapp.commands import FairgroundCommand
from webapp.errors import ConflictError


class Command(FairgroundCommand):
    """Nothing is exported that is not released: the files open to everyone before they are copied."""

    help = (
        "Release a season's votes to everyone (a page, REST, the log), and copy the files into a new folder. "
        "Where nothing changed since the last release, that one is copied."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=Path)
        parser.add_argument("--season", default=MAIN)
        parser.add_argument("--release", help="id of an earlier release to copy instead of making one")

    def run(self, **options: Any) -> None:
        release = get_release(options["release"]) if options["release"] else self._newest(options["season"])
        names = copy_release(release, options["folder"])
        self.stdout.write(f"{release.pk}")
        self.stderr.write(f"{options['folder']}: {len(names)} files, {release.n_votes} votes, digest {release.digest}")

    def _newest(self, slug: str) -> ArenaExport:
        season = get_season(slug)
        try:
            release = request_release(season=season)
        except ConflictError:
            last = latest_release(season)
            if last is None:
                raise
            release = last
        if not release.is_open:
            run_release(release.pk)
            release = get_release(release.pk)
        if not release.is_open:
            why = release.error or "Another release is being made; it is the next one's turn then. Ask again later."
            raise CommandError(f"Release {release.pk} is {release.status}. {why}")
        return release
