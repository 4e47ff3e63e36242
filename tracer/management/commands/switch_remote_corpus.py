"""`manage.py switch_remote_corpus`: ask a remote index from now on, or no more."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from tracer import remotes
from webapp.commands import FairgroundCommand


class Command(FairgroundCommand):
    """Switch the remote index of a corpus; earlier traces keep what they found."""

    help = "Ask a remote index in new traces, or no more."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug")
        parser.add_argument("state", choices=["on", "off"])

    def run(self, **options: Any) -> None:
        remote = remotes.switch_remote(slug=options["slug"], is_enabled=options["state"] == "on")
        self.stdout.write(f"{remote.corpus.slug}: {options['state']}")
