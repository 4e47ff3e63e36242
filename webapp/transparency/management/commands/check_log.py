"""`manage.py check_log`: hold the stored log against its checkpoints."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from webapp.commands import FairgroundCommand
from webapp.transparency.soundness import check_log


class Command(FairgroundCommand):
    """Say whether the stored log is the one that was signed; name the first wrong leaf when it is not."""

    help = "Check the stored log: the newest leaves against the last checkpoint, or everything with --whole."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--whole", action="store_true", help="compute every leaf, node and checkpoint again")

    def run(self, **options: Any) -> None:
        n_leaves = check_log(whole=options["whole"])
        self.stdout.write(f"{n_leaves} leaves are what the last checkpoint signed")
