"""What all commands share: a domain error is one line on standard error and exit code 1."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from webapp.errors import FairgroundError


class FairgroundCommand(BaseCommand):
    """A command whose result alone stands on standard output. Implement `run`."""

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self.run(**options)
        except FairgroundError as error:
            raise CommandError(str(error)) from error
        except OSError as error:
            raise CommandError(f"{error.filename or 'file'}: {error.strerror or error}") from error

    def run(self, **options: Any) -> None:
        """Do the work and print the result."""
        raise NotImplementedError
