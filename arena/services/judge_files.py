"""A judge's verdicts from a file: JSON lines, all of them or nothing."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Sequence
from typing import Any

from django.db import transaction

from arena.models import Judge
from arena.services.judges import MAX_VERDICTS, GivenVerdict, Receipt, check_once, submit_verdicts
from webapp.errors import BadInputError
from webapp.ownership import Author


def read_verdicts(lines: Iterable[str]) -> list[GivenVerdict]:
    """Return the verdicts of JSON lines {battle, verdict, is_swapped?}. Raises `BadInputError` naming the line."""
    found = [_verdict(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise BadInputError("The file has no verdict.")
    return found


def _verdict(number: int, line: str) -> GivenVerdict:
    try:
        row: Any = json.loads(line)
    except json.JSONDecodeError as error:
        raise BadInputError(f"Line {number} is not JSON: {error}.") from error
    if not isinstance(row, dict) or not {"battle", "verdict"} <= row.keys() <= {"battle", "verdict", "is_swapped"}:
        raise BadInputError(f"Line {number}: a verdict is a map of battle, verdict and, if need be, is_swapped.")
    is_swapped = row.get("is_swapped", False)
    if not isinstance(is_swapped, bool) or not isinstance(row["verdict"], str):
        raise BadInputError(f"Line {number}: verdict is a string, is_swapped true or false.")
    try:
        return GivenVerdict(uuid.UUID(str(row["battle"])), row["verdict"], is_swapped)
    except ValueError as error:
        raise BadInputError(f"Line {number}: {row['battle']!r} is no battle's id.") from error


def submit_all(*, judge: Judge, release_id: uuid.UUID, verdicts: Sequence[GivenVerdict]) -> Receipt:
    """Give any number of verdicts in the owner's name, all or none. Raises as `submit_verdicts` does."""
    author = Author(user_id=judge.owner_id)
    check_once(verdicts)
    with transaction.atomic():
        parts = [
            submit_verdicts(
                judge=judge,
                author=author,
                release_id=release_id,
                verdicts=verdicts[start : start + MAX_VERDICTS],
                first=start,
            )
            for start in range(0, len(verdicts), MAX_VERDICTS)
        ]
    return Receipt(
        sum(part.n_new for part in parts), sum(part.n_known for part in parts), sum(part.n_held_out for part in parts)
    )
