"""`manage.py doctor`: is everything there that the site needs, and what to do where it is not."""

from __future__ import annotations

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from webapp.operations.checks import ALL
from webapp.operations.findings import Finding, Level, run_checks

SIGNS = {Level.OK: "ok   ", Level.WARNING: "warn ", Level.FAULT: "FAULT"}


class Command(BaseCommand):
    """Print one line a finding; end with 1 when there is a fault."""

    help = "Check database, migrations, broker, workers, indexes, checkpoints, disk, clock and settings."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--format", choices=["text", "json"], default="text")
        parser.add_argument("--only", choices=sorted(ALL), action="append", help="run only this check (repeatable)")

    def handle(self, *args: Any, **options: Any) -> None:
        wanted = options["only"] or list(ALL)
        findings = list(run_checks({name: ALL[name] for name in ALL if name in wanted}))
        if options["format"] == "json":
            self.stdout.write(json.dumps([finding.to_dict() for finding in findings], indent=2))
        else:
            for finding in findings:
                self.stdout.write(_line(finding))
        if any(finding.level is Level.FAULT for finding in findings):
            sys.exit(1)


def _line(finding: Finding) -> str:
    remedy = f"\n        → {finding.remedy}" if finding.remedy else ""
    return f"{SIGNS[finding.level]}  {finding.check}: {finding.detail}{remedy}"
