"""Redis databases that test processes do not share."""

from __future__ import annotations

import os
import re


def own_database(url: str) -> str:
    """Return the address with this test process's own database: of two that share one, each would empty the other's."""
    worker = re.fullmatch(r"gw(\d+)", os.environ.get("PYTEST_XDIST_WORKER", ""))
    address = re.fullmatch(r"(redis://.+/)(\d+)", url)
    return f"{address[1]}{max(0, int(address[2]) - int(worker[1]))}" if worker and address else url
