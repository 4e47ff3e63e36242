"""`manage.py sample_indexes`: make the side files that let a search of an index on disk read few pages."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from tracer.engine import EngineError
from tracer.models import Index
from tracer.sampling import sample_folder
from webapp.commands import FairgroundCommand
from webapp.errors import BadInputError


class Command(FairgroundCommand):
    """Make samples for enabled indexes that have none now, rather than when a worker of the queue `build` does."""

    help = "Make the samples of indexes built by an earlier version."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("corpora", nargs="*", metavar="CORPUS", help="all, when none is named")

    def run(self, **options: Any) -> None:
        indexes = Index.objects.filter(is_enabled=True).select_related("corpus")
        if options["corpora"]:
            indexes = indexes.filter(corpus__slug__in=options["corpora"])
        for index in indexes:
            try:
                n_made = sample_folder(index.folder)
            except (EngineError, OSError) as error:
                raise BadInputError(f"{index}: {error}") from error
            self.stdout.write(f"{index}: {n_made} of {index.n_shards} shards sampled, the others had been before")
