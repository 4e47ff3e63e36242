"""What a test needs of the machine: CI demands it, elsewhere the test is skipped without it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.conftest import REQUIRED


@contextmanager
def unless_missing(need: str, *errors: type[Exception]) -> Iterator[None]:
    """Skip the test at one of these errors, or fail it where FAIRGROUND_TEST_REQUIRE has `need`."""
    try:
        yield
    except errors as error:
        if need in REQUIRED:
            pytest.fail(str(error))
        pytest.skip(str(error))
