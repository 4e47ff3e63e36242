"""`manage.py submit_verdicts FILE --judge SLUG`: give an automatic judge's verdicts from a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import CommandError, CommandParser

from arena.models import Judge
from arena.services.judge_files import read_verdicts, submit_all
from arena.services.judges import add_judge, get_judge
from arena.services.releases import get_release, latest_release
from arena.services.seasons import MAIN, get_season
from webapp.commands import FairgroundCommand


class Command(FairgroundCommand):
    """The same rules as over REST hold: verdicts stand, and agreement is shown when people's verdicts are told."""

    help = (
        "Give an automatic judge's verdicts on a release, from JSON lines with battle, verdict and, optionally, "
        "is_swapped; all of the file or nothing. The verdicts are given in the name of the judge's owner."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--judge", required=True, metavar="SLUG")
        parser.add_argument("--release", help="id of the release that was judged; the newest one by default")
        parser.add_argument("--season", default=MAIN, help="whose newest release is taken")
        parser.add_argument("--owner", metavar="USERNAME", help="register the judge for this account")
        parser.add_argument("--title", default="", help="of the judge that is registered; its slug by default")

    def run(self, **options: Any) -> None:
        release = (
            get_release(options["release"]) if options["release"] else latest_release(get_season(options["season"]))
        )
        if release is None:
            raise CommandError("There is no release yet. Make one with manage.py export_arena.")
        with options["file"].open(encoding="utf-8") as lines:
            verdicts = read_verdicts(lines)
        if options["owner"]:
            self._register(options["judge"], options["title"], options["owner"])
        receipt = submit_all(judge=get_judge(options["judge"]), release_id=release.pk, verdicts=verdicts)
        self.stdout.write(f"{receipt.n_new} new, {receipt.n_known} known, {receipt.n_held_out} held-out")

    def _register(self, slug: str, title: str, owner: str) -> None:
        user = User.objects.filter(username=owner).first()
        if user is None:
            raise CommandError(f"There is no account {owner!r}.")
        if not Judge.objects.filter(slug=slug, owner=user).exists():
            add_judge(user=user, slug=slug, title=title or slug)
