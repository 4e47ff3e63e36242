"""Reads the operator's limits. Knows nothing of Django settings, like `environment`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from django.core.exceptions import ImproperlyConfigured

READ, TRACE, GENERATE, ARENA, MANAGE = "read", "trace", "generate", "arena", "manage"
#: Requests a minute; 0 means no limit. On a laptop nobody is limited.
PRODUCTION = {READ: 3000, TRACE: 600, GENERATE: 120, ARENA: 240, MANAGE: 120}
LAPTOP = dict.fromkeys(PRODUCTION, 0)


def read_limits(text: str, defaults: Mapping[str, int]) -> dict[str, int]:
    """Return the limits with those of `read=3000,trace=600` in place of the defaults.

    Raises `ImproperlyConfigured` for an unknown resource or what is no number.
    """
    limits = dict(defaults)
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, number = part.partition("=")
        if name not in limits or not re.fullmatch(r"\d{1,9}", number):
            raise ImproperlyConfigured(
                f"FAIRGROUND_LIMITS: {part!r} is no limit. Write requests a minute as in "
                f"{','.join(f'{name}={limit}' for name, limit in PRODUCTION.items())}; 0 means none."
            )
        limits[name] = int(number)
    return limits
