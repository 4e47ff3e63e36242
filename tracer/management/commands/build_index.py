"""`manage.py build_index`: build an infini-gram index over a corpus."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from tracer import build_progress, builds
from tracer.build_requests import DEMONSTRATION
from tracer.models import IndexBuild
from webapp.commands import FairgroundCommand

QUIET_S = 10.0


class Command(FairgroundCommand):
    """Show progress on standard error, print the index's digest."""

    help = "Build an index over a corpus, here or on the workers of the queue build; an interrupted one is resumed."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug", nargs="?", help="the corpus; not with --resume")
        parser.add_argument("--tokenizer", type=Path, help="tokenizer.json, byte-level (default: the demonstration's)")
        parser.add_argument("--bytes", action="store_true", help="index UTF-8 bytes, without a tokenizer")
        parser.add_argument("--fold-case", action="store_true", help="with --bytes: match without regard to case")
        parser.add_argument("--shards", type=int, help="default: one for each 256 MiB of text")
        parser.add_argument("--workers", action="store_true", help="one task a shard, for the workers of queue build")
        parser.add_argument("--no-wait", action="store_true", help="with --workers: print the build's id and end")
        parser.add_argument("--resume", metavar="BUILD", help="go on with a build that failed or was interrupted")
        parser.add_argument("--discard", metavar="BUILD", help="give a build up and remove its files")

    def run(self, **options: Any) -> None:
        if options["discard"]:
            builds.discard_build(options["discard"])
            return
        build = self._build(options)
        if options["workers"]:
            builds.queue_build(build)
            if options["no_wait"]:
                self.stdout.write(str(build.pk))
                return
        self._last_shown = 0.0
        do = builds.wait_for_build if options["workers"] else builds.run_build
        try:
            index = do(build, self._show)
        except KeyboardInterrupt:
            raise CommandError(f"Interrupted. Resume it: manage.py build_index --resume {build.pk}") from None
        self.stdout.write(index.digest)

    def _build(self, options: dict[str, Any]) -> IndexBuild:
        if (options["slug"] is None) == (options["resume"] is None):
            raise CommandError("Name a corpus, or a build with --resume.")
        if options["resume"]:
            return builds.resume_build(options["resume"])
        if options["bytes"] and options["tokenizer"]:
            raise CommandError("Give either --tokenizer or --bytes.")
        if options["fold_case"] and not options["bytes"]:
            raise CommandError("--fold-case needs --bytes: a tokenizer's vocabulary knows upper and lower case.")
        return builds.start_build(
            slug=options["slug"],
            tokenizer=None if options["bytes"] else options["tokenizer"] or DEMONSTRATION,
            n_shards=options["shards"],
            folds_case=options["fold_case"],
        )

    def _show(self, build: IndexBuild) -> None:
        """Write where the build stands: on a terminal over the last line, else every ten seconds."""
        is_terminal = self.stderr.isatty()
        if not is_terminal and time.monotonic() - self._last_shown < QUIET_S:
            return
        self._last_shown = time.monotonic()
        ending = "\r" if is_terminal and not build.is_finished else "\n"
        self.stderr.write(build_progress.progress_line(build), self.style.NOTICE, ending=ending)
