"""`manage.py export_log`: write the log for the offline verifier."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from webapp.commands import FairgroundCommand
from webapp.transparency.exports import write_export
from webapp.transparency.sequencer import sequence_entries


class Command(FairgroundCommand):
    """Sequence what is committed, write leaves, checkpoints, key and verifier."""

    help = "Export the log as JSON lines; check it with: python FOLDER/verify.py FOLDER"

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=Path)

    def run(self, **options: Any) -> None:
        sequence_entries()
        last = write_export(options["folder"])
        self.stdout.write(f"{options['folder']}: {last.tree_size} leaves, {last.number + 1} checkpoints")
