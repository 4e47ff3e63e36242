"""`manage.py measure_contamination`: measure a benchmark against corpora, here or on the workers of queue build."""

from __future__ import annotations

import sys
import uuid
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from tracer import benchmark_files, bulletins
from tracer.bulletin_report import FORMATS, LEVELS, present_bulletin
from tracer.models import Bulletin
from webapp.commands import FairgroundCommand
from webapp.jobs import JobStatus
from webapp.ownership import Author

OPERATOR = Author(is_operator=True)


class Command(FairgroundCommand):
    """Show progress on standard error, print the bulletin."""

    help = "Measure how many items of a benchmark stand in the corpora, by 50-character windows."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", nargs="?", type=Path, help="JSON lines; not with --benchmark or --resume")
        parser.add_argument("--field", default="question", help='of each line, the text; "doc.text" goes into objects')
        parser.add_argument("--title", default="", help="default: the file's name")
        parser.add_argument("--name", default="", help="slug under which everybody may measure the benchmark later")
        parser.add_argument("--benchmark", default="", help="slug or id of a benchmark that is stored already")
        parser.add_argument("--corpora", help="slugs (default: all with an index here; others' servers get the items)")
        parser.add_argument("--visibility", default="link", choices=["link", "public"], help="public ones are listed")
        parser.add_argument("--workers", action="store_true", help="leave it to the workers; print the bulletin's id")
        parser.add_argument("--resume", metavar="BULLETIN", help="go on with one that failed or was interrupted")
        parser.add_argument("--format", choices=["text", *FORMATS], default="text")

    def run(self, **options: Any) -> None:
        bulletin = self._bulletin(options)
        if options["workers"]:
            bulletins.queue_bulletin(bulletin)
            self.stdout.write(str(bulletin.pk))
            return
        try:
            bulletins.run_bulletin(bulletin.pk, watch=lambda: self._show(bulletin))
        except KeyboardInterrupt:
            raise CommandError(
                f"Interrupted. Go on with it: manage.py measure_contamination --resume {bulletin.pk}"
            ) from None
        bulletin.refresh_from_db()
        if bulletin.status != JobStatus.DONE:
            raise CommandError(bulletin.error or f"The bulletin is {bulletin.status}.")
        if options["format"] == "text":
            self._print(bulletin)
        else:
            self.stdout.write(FORMATS[options["format"]][1](bulletin, OPERATOR))

    def _bulletin(self, options: dict[str, Any]) -> Bulletin:
        if sum(map(bool, (options["file"], options["benchmark"], options["resume"]))) != 1:
            raise CommandError("Give one of a file, --benchmark and --resume.")
        if options["resume"]:
            try:
                return bulletins.resume_bulletin(uuid.UUID(options["resume"]), author=OPERATOR)
            except ValueError:
                raise CommandError(f"{options['resume']!r} is no id of a bulletin.") from None
        file: Path | None = options["file"]
        return bulletins.measure_benchmark(
            content=None if file is None else _read(file),
            field=options["field"],
            title=options["title"] or (file.name if file else ""),
            slug=options["name"],
            benchmark=options["benchmark"],
            corpora=options["corpora"].split(",") if options["corpora"] else None,
            visibility=options["visibility"],
            is_queued=False,
        )

    def _show(self, bulletin: Bulletin) -> None:
        fraction = present_bulletin(bulletin, author=OPERATOR)["fraction"]
        end = "\r" if self.stderr.isatty() else "\n"
        sys.stderr.write(f"{100 * fraction:5.1f} % measured{end}")

    def _print(self, bulletin: Bulletin) -> None:
        shown = present_bulletin(bulletin, author=OPERATOR)
        self.stdout.write(f"{bulletin.pk}  {shown['benchmark']['title']}: {shown['benchmark']['n_items']:,} items")
        self.stdout.write(
            "  ".join(f"{name:>20}" if n == 0 else f"{name:>10}" for n, name in enumerate(["corpus", *LEVELS]))
        )
        for part in shown["parts"]:
            if part["unavailable"]:
                self.stdout.write(f"{part['corpus']:>20}  {part['unavailable']}")
                continue
            counts = "  ".join(f"{'–' if n is None else n:>10}" for n in part["levels"].values())
            self.stdout.write(f"{part['corpus']:>20}  {counts}")


def _read(file: Path) -> bytes:
    with file.open("rb") as stream:
        return stream.read(benchmark_files.MAX_UPLOAD_BYTES + 1)
