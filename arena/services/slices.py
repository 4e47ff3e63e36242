"""Slices: which votes a board counts and how."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

import rfc8785

from webapp.errors import BadInputError
from webapp.text import storable

FILTERS = ("category", "discipline", "language", "community")
OVERLAP = "overlap"


@dataclass(frozen=True)
class Slice:
    """Which votes a board counts and how. The default is the published leaderboard.

    filters: values that votes must have. since, until: days of the vote, `until` exclusive.
    style: control for length and layout of the answers. overlap: control for how much of the answers
    stands word for word in corpora, by the votes for which that was measured. pre_release: private variants
    whose early votes are counted, only to publish their own rating.
    """

    filters: tuple[tuple[str, str], ...] = ()
    both_bad: bool = True
    include_excluded: bool = False
    style: bool = False
    overlap: bool = False
    since: date | None = None
    until: date | None = None
    pre_release: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, value in self.filters:
            if name not in FILTERS:
                raise BadInputError(f"There is no slice by {name!r}. Slices: {', '.join(FILTERS)}.", field=name)
            if not value or len(value) > 60:
                raise BadInputError(f"{name} is empty or longer than 60 characters.", field=name)
            if storable(value) != value:
                raise BadInputError(f"{name} holds a character that no text here can have (NUL).", field=name)
        if self.since and self.until and self.since >= self.until:
            raise BadInputError("The period ends before it begins.", field="until")

    def to_json(self) -> dict[str, Any]:
        """Return the slice as plain values."""
        values = asdict(self)
        values["filters"] = dict(self.filters)
        values["pre_release"] = sorted(self.pre_release)
        return {k: v.isoformat() if isinstance(v, date) else v for k, v in values.items()}

    @property
    def key(self) -> str:
        """Return a digest that names the slice: what was added later stands in it only where it is used."""
        values = {k: v for k, v in self.to_json().items() if k != OVERLAP or v}
        return hashlib.sha256(rfc8785.dumps(values)).hexdigest()

    @property
    def is_default(self) -> bool:
        """Tell whether this is the published leaderboard."""
        return self == Slice()

    @property
    def is_published(self) -> bool:
        """Tell whether snapshots of it are published by themselves."""
        return self in (Slice(), Slice(overlap=True))
