"""Fields of requests to the interface that REST framework's own would be slow for."""

from __future__ import annotations

from typing import Any

from rest_framework.serializers import CharField
from rest_framework.validators import ProhibitSurrogateCharactersValidator


class LongTextField(CharField):
    """Text that is looked through for lone surrogates as a whole, not character by character in Python."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        slow = ProhibitSurrogateCharactersValidator
        self.validators = [NoSurrogates() if type(check) is slow else check for check in self.validators]


class NoSurrogates(ProhibitSurrogateCharactersValidator):
    """Refuses what its base does; UTF-8 can tell everything else."""

    def __call__(self, value: Any) -> None:
        """Raise `ValidationError` that names the first surrogate."""
        try:
            str(value).encode()
        except UnicodeEncodeError:
            super().__call__(value)
