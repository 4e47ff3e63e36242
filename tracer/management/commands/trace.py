"""`manage.py trace`: trace a file's text now and print the result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from tracer import services
from tracer.presentation import present_trace
from tracer.rendering import render_text
from webapp.commands import FairgroundCommand
from webapp.jobs import JobStatus


class Command(FairgroundCommand):
    """Trace one text in this process."""

    help = "Find where the words of a text stand in the corpora."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--file", type=Path, required=True, help="UTF-8 text to trace")
        parser.add_argument("--prompt", type=Path, help="UTF-8 text of the question, for relevance")
        parser.add_argument("--corpora", help="comma-separated slugs (default: all with an index)")
        parser.add_argument("--parameters", default="{}", help="JSON object of trace parameters")
        parser.add_argument("--format", choices=["json", "text"], default="text")

    def run(self, **options: Any) -> None:
        try:
            parameters = json.loads(options["parameters"])
        except ValueError as error:
            raise CommandError(f"--parameters is not JSON: {error}") from error
        trace = services.request_trace(
            text=_read(options["file"]),
            prompt=_read(options["prompt"]) if options["prompt"] else "",
            corpora=options["corpora"].split(",") if options["corpora"] else None,
            parameters=parameters,
        )
        services.run_trace(trace.id)
        trace.refresh_from_db()
        if trace.status != JobStatus.DONE:
            raise CommandError(trace.error)
        if options["format"] == "json":
            self.stdout.write(json.dumps(present_trace(trace), ensure_ascii=False, indent=1))
        else:
            self.stdout.write(render_text(trace))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise CommandError(f"{path} is not UTF-8 (byte {error.start}). Convert it first.") from error
